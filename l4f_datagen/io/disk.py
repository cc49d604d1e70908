"""Disk: files staged and renamed, removal, and failures told in one line."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from l4f_datagen.core.errors import L4FError, UsageError

PART = ".part"  # what a file or folder ends in until it is whole
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomically(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Write a small file under its ``.part`` name and rename it; ``durable`` waits for the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with staged(path, durable=durable) as file:
        file.write(data)


@contextmanager
def staged(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """Open a file under its ``.part`` name and rename it once whole; a failure leaves nothing."""
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def remove(path: Path) -> None:
    """Remove a file or a folder with what is in it, if there, and its parent once empty."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink(missing_ok=True)
    with suppress(OSError):  # not there, or not empty
        path.parent.rmdir()


def has_size(path: Path, size_bytes: int) -> bool:
    """Whether a file is there with so many bytes."""
    try:
        return path.stat().st_size == size_bytes
    except OSError:
        return False


def disk_failure(folder: Path, doing: str, error: OSError) -> L4FError:
    """Word a failure such that a user knows what to do and that nothing is lost."""
    full = error.errno in FULL
    what = "no space left on the disk" if full else error.strerror or str(error)
    remedy = "make room" if full else "check the disk"
    remedy += " and run the same command again: it goes on after the last finished shard"
    return L4FError(os.fspath(folder), f"{what} while {doing}", remedy)


@contextmanager
def disk_failures(folder: Path, doing: str) -> Iterator[None]:
    """Turn failures of the disk inside the block into one line, an ``L4FError``."""
    try:
        yield
    except OSError as error:
        raise disk_failure(folder, doing, error) from error


def write_named(path: Path, data: bytes) -> Path:
    """Write a file, staged and renamed, and return its path; errors as in ``named_place``."""
    remedy = "name another file"
    with named_place(path, remedy):
        if not path.name or path.is_dir():
            raise UsageError(os.fspath(path), "is a folder", remedy)
        write_atomically(path, data)
    return path


@contextmanager
def named_place(path: Path, remedy: str) -> Iterator[None]:
    """Turn a failure to write what the user has named into a ``UsageError``.

    A full or read-only disk, which is no fault of the name, stays an OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (*FULL, errno.EROFS):
            raise
        problem = f"cannot be written ({error.strerror})"
        raise UsageError(os.fspath(path), problem, remedy) from error
