"""The user's cache, and files of the web fetched into it once: resumed, retried, checked.

A download grows in a ``.part`` file, which later tries go on with by HTTP range; it gets its name
only after its size and hash were checked.
"""

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import time
import urllib.parse
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from l4f_datagen.core.errors import L4FError, NetworkError
from l4f_datagen.core.progress import Meter

if TYPE_CHECKING:
    import httpx2

logger = logging.getLogger(__name__)

TRIES = 5  # without a new byte; tries that bring some do not count
TIMEOUT_S = 30  # without a byte; the clients' usual 5 s fail on a loaded mirror
LONGEST_PAUSE_S = 30.0  # a longer Retry-After is not waited for: somebody sits in front of it
LARGEST_UNKNOWN = 8 << 30  # twenty times NVIDIA's largest file
PASSING_CODES = (408, 425, 429)  # what a server may answer differently a moment later, beside 5xx
YES = ("1", "true", "yes", "on")
MORE_SPACE = "free some space, or set L4F_CACHE to another folder"


def default_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the cache folder: ``L4F_CACHE``, else ``l4f-datagen`` in the XDG cache folder."""
    if environ.get("L4F_CACHE"):
        return Path(environ["L4F_CACHE"]).expanduser()
    base = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "l4f-datagen"


def target_path(name: str, cache_dir: Path | None = None) -> Path:
    """Return where a fetched file of that name belongs (``cache_dir`` None: the default cache).

    Raises:
        ValueError: the name is no plain file name.
    """
    if Path(name).name != name or name in ("", ".", ".."):
        raise ValueError(f"name must be a plain file name, got {name!r}")
    return (cache_dir or default_cache()) / "checkpoints" / name


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_offline(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether ``HF_HUB_OFFLINE`` forbids the network."""
    return environ.get("HF_HUB_OFFLINE", "").strip().lower() in YES


def name_of_url(url: str) -> str:
    """Return the name of an address in the cache: its last part, and a hash that tells it apart."""
    path = urllib.parse.urlsplit(url).path
    last = re.sub(r"[^\w.-]", "_", urllib.parse.unquote(path.rpartition("/")[2]))[-80:]
    return f"{hashlib.sha256(url.encode()).hexdigest()[:10]}-{last or 'file'}"


@dataclass
class _Wanted:
    """One file to fetch, and what is known about it, see ``fetch``.

    ``part`` is what came so far, ``tag`` what the server calls the version of it.
    """

    url: str
    size: int | None
    sha256: str | None
    pinned: bool
    target: Path

    def __post_init__(self) -> None:
        self.part, self.tag = self.beside(".part"), self.beside(".part.etag")

    def beside(self, suffix: str) -> Path:
        return self.target.with_name(self.target.name + suffix)

    @property
    def part_size(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def error(self, problem: str) -> NetworkError:
        by_hand = f"fetch {self.url} by hand and put it at {self.target}"
        return NetworkError(self.target.name, problem, by_hand)

    def discard_part(self) -> None:
        self.part.unlink(missing_ok=True)
        self.tag.unlink(missing_ok=True)

    def difference(self, size: int, digest: str) -> str | None:
        """Return how a file differs from the wanted one; a warning where it may still be used."""
        if self.size is not None and size != self.size:
            return f"has {size} bytes, expected {self.size}"
        if self.sha256 is None or digest == self.sha256:
            return None
        if self.pinned:
            return f"has the sha256 {digest}, expected {self.sha256}"
        problem = "has another sha256 than one mirror reported; used all the same"
        logger.warning("%s %s (%s, not %s)", self.target.name, problem, digest, self.sha256)
        return None


def fetch(
    url: str,
    name: str,
    *,
    size: int | None = None,
    sha256: str | None = None,
    pinned: bool = False,
    offline: bool = False,
    cache_dir: Path | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Path:
    """Return a local file, downloading it where the cache does not hold it under ``name``.

    It must have ``size`` bytes and the hash ``sha256``, where they are known; with another hash it
    is refused where ``pinned``, and used with a warning otherwise. ``offline`` uses the cache only,
    as ``HF_HUB_OFFLINE`` does. ``pause`` waits between tries.

    Raises:
        NetworkError: no network, no such file, or not the file that was asked for; says how to
            fetch it by hand.
        L4FError: the cache cannot be written.
        ValueError: the name is no plain file name.
    """
    wanted = _Wanted(url, size, sha256, pinned, target_path(name, cache_dir))
    try:
        if wanted.target.is_file():
            _check_cached(wanted)
            return wanted.target
        if offline or is_offline():
            raise wanted.error("is not in the cache, and the network is switched off")
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise wanted.error("has an address that is neither http nor https")
        wanted.target.parent.mkdir(parents=True, exist_ok=True)
        with wanted.beside(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Another process may have fetched it while this one waited. A part of an earlier run
            # may be of another version of the file: then once more, from zero.
            while not wanted.target.is_file():
                resumed = wanted.part_size > 0
                _download(wanted, pause)
                _complete(wanted, resumed)
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise L4FError(str(wanted.target), problem, MORE_SPACE) from None
    return wanted.target


def _check_cached(wanted: _Wanted) -> None:
    """Check a file that is in the cache; it may have been put there by hand."""
    state = wanted.target.stat()
    digest = None
    # Size and time of a checked file are noted, so that its hash is not computed each time.
    with suppress(OSError, ValueError, KeyError, TypeError):
        note = json.loads(wanted.beside(".checked.json").read_text("utf-8"))
        if (note["size"], note["mtime_ns"]) == (state.st_size, state.st_mtime_ns):
            digest = str(note["sha256"])
    if digest is None:
        digest = file_hash(wanted.target)
        _note_hash(wanted, digest)
    if problem := wanted.difference(state.st_size, digest):
        raise wanted.error(f"is in the cache, but {problem}")


def _complete(wanted: _Wanted, resumed: bool) -> None:
    """Check a complete part and give it its name; a resumed one that differs is only discarded."""
    size, digest = wanted.part_size, file_hash(wanted.part)
    if problem := wanted.difference(size, digest):
        wanted.discard_part()
        if resumed:
            return
        raise wanted.error(f"is another file: it {problem} (removed)")
    wanted.part.replace(wanted.target)
    wanted.tag.unlink(missing_ok=True)
    _note_hash(wanted, digest)
    logger.info("%s: %d bytes, sha256 %s", wanted.target.name, size, digest)


def _note_hash(wanted: _Wanted, digest: str) -> None:
    state = wanted.target.stat()
    note = {"sha256": digest, "size": state.st_size, "mtime_ns": state.st_mtime_ns}
    with suppress(OSError):  # a read-only cache works too, only slower
        wanted.beside(".checked.json").write_text(json.dumps(note), "utf-8")


def _download(wanted: _Wanted, pause: Callable[[float], None]) -> None:
    """Complete the part; goes on while tries bring bytes, and a few times without."""
    import httpx2

    # A redirect that leads away from the web, in circles, or nowhere.
    no_way = (httpx2.UnsupportedProtocol, httpx2.TooManyRedirects, httpx2.InvalidURL)
    failures = 0
    with httpx2.Client(follow_redirects=True, timeout=TIMEOUT_S) as client:
        while True:
            before, wait = wanted.part_size, ""
            try:
                _try(client, wanted)
                return
            except httpx2.HTTPStatusError as error:
                answer = error.response
                problem = f"the server answered {answer.status_code} {answer.reason_phrase}"
                wait = answer.headers.get("Retry-After", "")
                if answer.status_code < 500 and answer.status_code not in PASSING_CODES:
                    raise wanted.error(f"cannot be downloaded ({problem})") from None
            except no_way as error:
                raise wanted.error(f"cannot be downloaded ({error})") from None
            except (httpx2.TransportError, ConnectionError) as error:
                problem = str(error) or type(error).__name__
            failures = 0 if wanted.part_size > before else failures + 1
            if failures >= TRIES:
                raise wanted.error(f"cannot be downloaded ({problem}; {TRIES} tries)")
            told = wait.isascii() and wait.isdigit()
            delay = min(float(wait) if told else 2.0**failures, LONGEST_PAUSE_S)
            logger.warning("%s: %s; trying again in %.0f s", wanted.target.name, problem, delay)
            pause(delay)


def _try(client: "httpx2.Client", wanted: _Wanted) -> None:
    """Make one request and append its answer to the part."""
    headers = {"User-Agent": "l4f-datagen", "Accept-Encoding": "identity"}
    if wanted.part_size and wanted.tag.is_file():
        # The server sends the whole file where it is no longer the one we have the start of.
        headers["If-Range"] = wanted.tag.read_text("utf-8")
    elif wanted.part_size and not wanted.sha256:
        wanted.discard_part()  # neither tag nor hash could tell a mixture of two versions
    start = wanted.part_size
    if start:
        headers["Range"] = f"bytes={start}-"
    with client.stream("GET", wanted.url, headers=headers) as response:
        if response.status_code == 416:  # no such range
            if start == wanted.size:
                return
            wanted.discard_part()
            raise ConnectionError("the server has no such range")
        response.raise_for_status()
        if response.status_code != 206:
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            wanted.discard_part()
            raise ConnectionError("the server sent another range")
        _receive(wanted, response, start)


def _receive(wanted: _Wanted, response: "httpx2.Response", start: int) -> None:
    """Append what comes to the first ``start`` bytes of the part; never more than announced."""
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isascii() and length.isdigit() else None
    if wanted.size is not None and total not in (None, wanted.size):
        raise wanted.error(f"should have {wanted.size} bytes, the server offers {total}")
    known, name = wanted.size or total, wanted.target.name
    free = shutil.disk_usage(wanted.target.parent).free
    if known and known - start > free:
        problem = f"has {free >> 20} MiB free, {name} needs {(known - start) >> 20} MiB"
        raise L4FError(str(wanted.target.parent), problem, MORE_SPACE)
    tag = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    if tag and not tag.startswith("W/"):  # weak tags do not promise equal bytes
        wanted.tag.write_text(tag, "utf-8")
    else:
        wanted.tag.unlink(missing_ok=True)
    done = start
    meter = Meter(known, name, "bytes", initial=start, in_bytes=True)
    with meter, wanted.part.open("ab" if start else "wb") as file:
        for chunk in response.iter_raw():
            done += len(chunk)
            if done > (known or LARGEST_UNKNOWN):
                wanted.discard_part()
                raise wanted.error(f"should have {known} bytes, the server sends more")
            file.write(chunk)
            meter.advance(len(chunk))
    if known and done < known:
        raise ConnectionError(f"the connection ended after {done} of {known} bytes")
