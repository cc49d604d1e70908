"""Fetch weights once, into the user's cache: resumed, retried, checked, and never half there.

A download grows in a ``.part`` file, which later tries go on with by HTTP range; it gets its name
only after its size and hash were checked. Nothing here needs torch.
"""

import logging
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from l4f_datagen.core.errors import L4FError
from l4f_datagen.core.progress import Meter
from l4f_datagen.io.cache import Wanted, check_cached, complete, locked, target_path

log = logging.getLogger(__name__)

TRIES = 5
TIMEOUT_S = 30
CHUNK = 1 << 18
LONGEST_PAUSE_S = 30.0
LARGEST_UNKNOWN = 8 << 30
PASSING_CODES = (408, 425, 429)
YES = ("1", "true", "yes", "on")
MORE_SPACE = "free some space, or set L4F_CACHE to another folder"


def is_offline(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether ``HF_HUB_OFFLINE`` forbids the network."""
    return environ.get("HF_HUB_OFFLINE", "").strip().lower() in YES


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
    """Return a local file, downloading it where the cache does not hold it.

    Args:
        url: http or https address.
        name: file name in the cache.
        size: bytes it must have, None where unknown.
        sha256: hash it must have, None where unknown.
        pinned: refuse a file with another hash; otherwise warn and use it.
        offline: use the cache only, as with ``HF_HUB_OFFLINE``.
        cache_dir: None for the default cache.
        pause: waits between tries.

    Raises:
        NetworkError: no network, no such file, or not the file that was asked for; says how to
            fetch it by hand.
        L4FError: the cache cannot be written.
        ValueError: the name is no plain file name.
    """
    wanted = Wanted(url, size, sha256, pinned, target_path(name, cache_dir))
    try:
        if wanted.target.is_file():
            check_cached(wanted)
            return wanted.target
        if offline or is_offline():
            raise wanted.error("is not in the cache, and the network is switched off")
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise wanted.error("has an address that is neither http nor https")
        wanted.target.parent.mkdir(parents=True, exist_ok=True)
        with locked(wanted):
            if not wanted.target.is_file():  # another process may have fetched it meanwhile
                _download_checked(wanted, pause)
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise L4FError(str(wanted.target), problem, MORE_SPACE) from None
    return wanted.target


def _download_checked(wanted: Wanted, pause: Callable[[float], None]) -> None:
    resumed = wanted.part_size > 0
    _download(wanted, pause)
    if not complete(wanted, resumed):
        # The part was of another version of the file: once more, from zero.
        _download(wanted, pause)
        complete(wanted, resumed=False)


def _download(wanted: Wanted, pause: Callable[[float], None]) -> None:
    """Complete the part file; goes on while tries bring bytes, and a few times without."""
    failures = 0
    while True:
        before, wait = wanted.part_size, None
        try:
            _try(wanted)
            return
        except urllib.error.HTTPError as error:
            problem, wait = f"the server answered {error.code} {error.reason}", _retry_after(error)
            error.close()
            if error.code < 500 and error.code not in PASSING_CODES:
                raise wanted.error(f"cannot be downloaded ({problem})") from None
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            problem = str(getattr(error, "reason", None) or error or type(error).__name__)
        failures = 0 if wanted.part_size > before else failures + 1
        if failures >= TRIES:
            raise wanted.error(f"cannot be downloaded ({problem}; {TRIES} tries)")
        delay = min(2.0**failures if wait is None else wait, LONGEST_PAUSE_S)
        log.warning("%s: %s; trying again in %.0f s", wanted.name, problem, delay)
        pause(delay)


def _try(wanted: Wanted) -> None:
    """One request; appends to the part file. Raises what urllib raises."""
    headers = {"User-Agent": "l4f-datagen", "Accept-Encoding": "identity"}
    if wanted.part_size and wanted.validator.is_file():
        # The server sends the whole file where it is no longer the one we have the start of.
        headers["If-Range"] = wanted.validator.read_text("utf-8")
    elif wanted.part_size and not wanted.sha256:
        wanted.discard_part()  # neither tag nor hash could tell a mixture of two versions
    start = wanted.part_size
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(wanted.url, headers=headers)
    try:
        response = _opener().open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        error.close()
        if start == wanted.size:  # complete already
            return
        wanted.discard_part()
        raise ConnectionError("the server has no such range") from None
    with response:
        if response.status != 206:
            start = 0
        elif not (response.headers.get("Content-Range") or "").startswith(f"bytes {start}-"):
            wanted.discard_part()
            raise ConnectionError("the server sent another range")
        _receive(wanted, response, start)


def _receive(wanted: Wanted, response: HTTPResponse, start: int) -> None:
    """Append what comes to the first ``start`` bytes of the part; never more than announced."""
    length = response.headers.get("Content-Length") or ""
    total = start + int(length) if length.isascii() and length.isdigit() else None
    if wanted.size is not None and total not in (None, wanted.size):
        raise wanted.error(f"should have {wanted.size} bytes, the server offers {total}")
    known = wanted.size or total
    free = shutil.disk_usage(wanted.target.parent).free
    if known and known - start > free:
        problem = f"has {free >> 20} MiB free, {wanted.name} needs {(known - start) >> 20} MiB"
        raise L4FError(str(wanted.target.parent), problem, MORE_SPACE)
    tag = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    if tag and not tag.startswith("W/"):  # weak tags do not promise equal bytes
        wanted.validator.write_text(tag, "utf-8")
    else:
        wanted.validator.unlink(missing_ok=True)
    done = start
    meter = Meter(known, wanted.name, "bytes", initial=start, in_bytes=True)
    with meter, wanted.part.open("ab" if start else "wb") as file:
        while chunk := _chunk(response):
            done += len(chunk)
            if done > (known or LARGEST_UNKNOWN):
                wanted.discard_part()
                raise wanted.error(f"should have {known} bytes, the server sends more")
            file.write(chunk)
            meter.advance(len(chunk))
    if known and done < known:
        raise ConnectionError(f"the connection ended after {done} of {known} bytes")


def _chunk(response: HTTPResponse) -> bytes:
    try:
        return response.read(CHUNK)
    except OSError as error:  # of the connection, not of the disk
        raise ConnectionError(str(error) or "the connection broke") from None


def _retry_after(error: urllib.error.HTTPError) -> float | None:
    text = (error.headers.get("Retry-After") or "") if error.headers else ""
    return float(text) if text.isascii() and text.isdigit() else None


def _opener() -> urllib.request.OpenerDirector:
    """An opener for http and https alone: no redirect may lead to a local file or to ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener
