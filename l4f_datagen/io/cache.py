"""The user's cache of fetched weights: where a file lies, and whether it is the one expected."""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from l4f_datagen.core.errors import NetworkError

try:
    import fcntl
except ImportError:  # no such locks on this system: two downloads of one file may collide
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """One file to fetch, and what is known about it.

    Attributes:
        url: where it is.
        size: bytes it must have, None where unknown.
        sha256: hash it must have, None where unknown.
        pinned: refuse another hash; otherwise warn.
        target: where it belongs in the cache.
    """

    url: str
    size: int | None
    sha256: str | None
    pinned: bool
    target: Path

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.target.name

    @property
    def part(self) -> Path:
        """Where the download grows."""
        return self.target.with_name(self.name + ".part")

    @property
    def part_size(self) -> int:
        """Bytes downloaded so far."""
        return self.part.stat().st_size if self.part.is_file() else 0

    @property
    def validator(self) -> Path:
        """Where the server's tag for the version of the part is kept."""
        return self.target.with_name(self.name + ".part.etag")

    @property
    def note(self) -> Path:
        """Where the hash of the checked file is kept."""
        return self.target.with_name(self.name + ".checked.json")

    def error(self, problem: str) -> NetworkError:
        """Return the error that says how to do it by hand."""
        by_hand = f"fetch {self.url} by hand and put it at {self.target}"
        return NetworkError(self.name, problem, by_hand)

    def discard_part(self) -> None:
        """Remove what has been downloaded so far."""
        self.part.unlink(missing_ok=True)
        self.validator.unlink(missing_ok=True)


def default_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the cache folder: ``L4F_CACHE``, else ``l4f-datagen`` in the XDG cache folder."""
    if environ.get("L4F_CACHE"):
        return Path(environ["L4F_CACHE"]).expanduser()
    base = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "l4f-datagen"


def cached(name: str, cache_dir: Path | None = None) -> Path | None:
    """Return the cached file of that name, None where there is none; nothing is read."""
    target = target_path(name, cache_dir)
    return target if target.is_file() else None


def target_path(name: str, cache_dir: Path | None) -> Path:
    """Return where a file of that name belongs (cache_dir None: the default cache).

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


def difference(wanted: Wanted, size: int, digest: str) -> str | None:
    """Return how a file differs from the wanted one, None where it does not."""
    if wanted.size is not None and size != wanted.size:
        return f"has {size} bytes, expected {wanted.size}"
    if wanted.sha256 is not None and digest != wanted.sha256:
        return f"has the sha256 {digest}, expected {wanted.sha256}"
    return None


def is_refused(wanted: Wanted, size: int) -> bool:
    """Whether a file that differs may not be used; an unpinned hash only calls for a warning."""
    return wanted.pinned or (wanted.size is not None and size != wanted.size)


def check_cached(wanted: Wanted) -> None:
    """Check a file that is in the cache; it may have been put there by hand.

    Raises:
        NetworkError: it is not the wanted file.
    """
    size, digest = wanted.target.stat().st_size, _noted(wanted)
    if digest is None:
        digest = file_hash(wanted.target)
        _take_note(wanted, digest)
    problem = difference(wanted, size, digest)
    if problem and is_refused(wanted, size):
        raise wanted.error(f"is in the cache, but {problem}")
    if problem:
        _warn(wanted, problem)


def complete(wanted: Wanted, resumed: bool) -> bool:
    """Check a complete part file and give it its name.

    Args:
        wanted: the file.
        resumed: the part is older than this download, so another file only means: once more.

    Returns:
        False where the part was discarded and the download is to start again.

    Raises:
        NetworkError: it is not the wanted file; it was removed.
    """
    size, digest = wanted.part_size, file_hash(wanted.part)
    problem = difference(wanted, size, digest)
    if problem and resumed:
        wanted.discard_part()
        return False
    if problem and is_refused(wanted, size):
        wanted.discard_part()
        raise wanted.error(f"is another file: it {problem} (removed)")
    if problem:
        _warn(wanted, problem)
    wanted.part.replace(wanted.target)
    wanted.validator.unlink(missing_ok=True)
    _take_note(wanted, digest)
    return True


@contextmanager
def locked(wanted: Wanted) -> Iterator[None]:
    """Let one process at a time download a file; others wait here."""
    with wanted.target.with_name(wanted.name + ".lock").open("a") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _warn(wanted: Wanted, problem: str) -> None:
    log.warning("%s %s, which one mirror reported; used all the same", wanted.name, problem)


def _take_note(wanted: Wanted, digest: str) -> None:
    """Keep the hash with size and time of the file, so that it is not computed each time."""
    state = wanted.target.stat()
    note = {"sha256": digest, "size": state.st_size, "mtime_ns": state.st_mtime_ns}
    with suppress(OSError):  # a read-only cache works too, only slower
        wanted.note.write_text(json.dumps(note), "utf-8")


def _noted(wanted: Wanted) -> str | None:
    state = wanted.target.stat()
    try:
        note = json.loads(wanted.note.read_text("utf-8"))
        if (note["size"], note["mtime_ns"]) == (state.st_size, state.st_mtime_ns):
            return str(note["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None
