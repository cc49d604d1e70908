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
from contextlib import suppress
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
HEADERS = {"User-Agent": "l4f-datagen", "Accept-Encoding": "identity"}
MORE_SPACE = "free some space, or set L4F_CACHE to another folder"


def default_cache() -> Path:
    """Return the cache folder: ``L4F_CACHE``, else ``l4f-datagen`` in the XDG cache folder."""
    if own := os.environ.get("L4F_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "l4f-datagen"


def target_path(name: str) -> Path:
    """Return where a fetched file of that name belongs; ValueError if it is no plain file name."""
    if Path(name).name != name or name in ("", ".", ".."):
        raise ValueError(f"name must be a plain file name, got {name!r}")
    return default_cache() / "checkpoints" / name


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_offline() -> bool:
    """Whether ``HF_HUB_OFFLINE`` forbids the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on")


def name_of_url(url: str) -> str:
    """Return the name of an address in the cache: its last part, and a hash that tells it apart."""
    path = urllib.parse.urlsplit(url).path
    last = re.sub(r"[^\w.-]", "_", urllib.parse.unquote(path.rpartition("/")[2]))[-80:]
    return f"{hashlib.sha256(url.encode()).hexdigest()[:10]}-{last or 'file'}"


def fetch(
    url: str,
    name: str,
    *,
    size: int | None = None,
    sha256: str | None = None,
    pinned: bool = False,
    offline: bool = False,
) -> Path:
    """Return a local file, downloading it where the cache does not hold it under ``name``.

    It must have ``size`` bytes and the hash ``sha256``, where they are known; with another hash it
    is refused where ``pinned``, and used with a warning otherwise. ``offline`` uses the cache only,
    as ``HF_HUB_OFFLINE`` does.

    NetworkError where there is no network, no such file, or another than was asked for: it says how
    to fetch it by hand. L4FError where the cache cannot be written.
    """
    target = target_path(name)
    download = _Download(url, target, size, sha256, pinned)
    try:
        if target.is_file():
            download.check_cached()
            return target
        if offline or is_offline():
            raise download.error("is not in the cache, and the network is switched off")
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise download.error("has an address that is neither http nor https")
        target.parent.mkdir(parents=True, exist_ok=True)
        with download.beside(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Another process may have fetched it while this one waited. A part of an earlier run
            # may be of another version of the file: then once more, from zero.
            while not target.is_file():
                resumed = download.part_size > 0
                download.fill_part()
                download.complete(resumed)
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise L4FError(str(target), problem, MORE_SPACE) from None
    return target


class _Download:
    """One file to fetch, what is known about it, and the part of it that is there; see ``fetch``.

    ``tag`` holds what the server calls the version of the part.
    """

    def __init__(
        self, url: str, target: Path, size: int | None, sha256: str | None, pinned: bool
    ) -> None:
        self.url, self.target = url, target
        self.size, self.sha256, self.pinned = size, sha256, pinned
        self.part, self.tag = self.beside(".part"), self.beside(".part.etag")
        self.note = self.beside(".checked.json")

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

    def check_cached(self) -> None:
        """Check a file that is in the cache; it may have been put there by hand."""
        state = self.target.stat()
        digest = None
        # Size and time of a checked file are noted, so that its hash is not computed each time.
        with suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads(self.note.read_text("utf-8"))
            if (note["size"], note["mtime_ns"]) == (state.st_size, state.st_mtime_ns):
                digest = str(note["sha256"])
        if digest is None:
            digest = file_hash(self.target)
            self._write_note(digest)
        if problem := self._difference(state.st_size, digest):
            raise self.error(f"is in the cache, but {problem}")

    def complete(self, resumed: bool) -> None:
        """Check a complete part and name it; a resumed one that differs is only discarded."""
        size, digest = self.part_size, file_hash(self.part)
        if problem := self._difference(size, digest):
            self.discard_part()
            if resumed:
                return
            raise self.error(f"is another file: it {problem} (removed)")
        self.part.replace(self.target)
        self.tag.unlink(missing_ok=True)
        self._write_note(digest)
        logger.info("%s: %d bytes, sha256 %s", self.target.name, size, digest)

    def _difference(self, size: int, digest: str) -> str | None:
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

    def _write_note(self, digest: str) -> None:
        state = self.target.stat()
        note = {"sha256": digest, "size": state.st_size, "mtime_ns": state.st_mtime_ns}
        with suppress(OSError):  # a read-only cache works too, only slower
            self.note.write_text(json.dumps(note), "utf-8")

    def fill_part(self) -> None:
        """Complete the part; goes on while tries bring bytes, and a few times without."""
        import httpx2

        # A redirect that leads away from the web, in circles, or nowhere.
        no_way = (httpx2.UnsupportedProtocol, httpx2.TooManyRedirects, httpx2.InvalidURL)
        failures = 0
        with httpx2.Client(follow_redirects=True, timeout=TIMEOUT_S) as client:
            while True:
                before, wait = self.part_size, ""
                try:
                    self._try(client)
                    return
                except httpx2.HTTPStatusError as error:
                    answer = error.response
                    problem = f"the server answered {answer.status_code} {answer.reason_phrase}"
                    wait = answer.headers.get("Retry-After", "")
                    if answer.status_code < 500 and answer.status_code not in PASSING_CODES:
                        raise self.error(f"cannot be downloaded ({problem})") from None
                except no_way as error:
                    raise self.error(f"cannot be downloaded ({error})") from None
                except (httpx2.TransportError, ConnectionError) as error:
                    problem = str(error) or type(error).__name__
                failures = 0 if self.part_size > before else failures + 1
                if failures >= TRIES:
                    raise self.error(f"cannot be downloaded ({problem}; {TRIES} tries)")
                told = wait.isascii() and wait.isdigit()
                delay = min(float(wait) if told else 2.0**failures, LONGEST_PAUSE_S)
                logger.warning("%s: %s; trying again in %.0f s", self.target.name, problem, delay)
                time.sleep(delay)

    def _try(self, client: "httpx2.Client") -> None:
        """Make one request and append its answer to the part."""
        headers = dict(HEADERS)
        if self.part_size and self.tag.is_file():
            # The server sends the whole file where it is no longer the one we have the start of.
            headers["If-Range"] = self.tag.read_text("utf-8")
        elif self.part_size and not self.sha256:
            self.discard_part()  # neither tag nor hash could tell a mixture of two versions
        start = self.part_size
        if start:
            headers["Range"] = f"bytes={start}-"
        with client.stream("GET", self.url, headers=headers) as response:
            if response.status_code == 416:  # no such range
                if start == self.size:
                    return
                self.discard_part()
                raise ConnectionError("the server has no such range")
            response.raise_for_status()
            if response.status_code != 206:
                start = 0
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                self.discard_part()
                raise ConnectionError("the server sent another range")
            self._receive(response, start)

    def _receive(self, response: "httpx2.Response", start: int) -> None:
        """Append what comes to the first ``start`` bytes of the part; no more than announced."""
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isascii() and length.isdigit() else None
        if self.size is not None and total not in (None, self.size):
            raise self.error(f"should have {self.size} bytes, the server offers {total}")
        known, name, folder = self.size or total, self.target.name, self.target.parent
        free = shutil.disk_usage(folder).free
        if known and known - start > free:
            problem = f"has {free >> 20} MiB free, {name} needs {(known - start) >> 20} MiB"
            raise L4FError(str(folder), problem, MORE_SPACE)
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        if tag and not tag.startswith("W/"):  # weak tags do not promise equal bytes
            self.tag.write_text(tag, "utf-8")
        else:
            self.tag.unlink(missing_ok=True)
        done = start
        meter = Meter(known, name, "bytes", initial=start, in_bytes=True)
        with meter, self.part.open("ab" if start else "wb") as file:
            for chunk in response.iter_raw():
                done += len(chunk)
                if done > (known or LARGEST_UNKNOWN):
                    self.discard_part()
                    raise self.error(f"should have {known} bytes, the server sends more")
                file.write(chunk)
                meter.advance(len(chunk))
        if known and done < known:
            raise ConnectionError(f"the connection ended after {done} of {known} bytes")
