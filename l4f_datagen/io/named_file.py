"""A file that the user has named: written whole or not at all, or refused in one line."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from l4f_datagen.core.errors import UsageError
from l4f_datagen.io.disk import FULL, write_atomically


def write_named(path: Path, data: bytes) -> Path:
    """Write a file, staged and renamed, and return its path; folders above it are made.

    Raises:
        UsageError: it cannot be written there.
        OSError: the disk is full or read-only.
    """
    remedy = "name another file"
    with named_place(path, remedy):
        if not path.name or path.is_dir():
            raise UsageError(os.fspath(path), "is a folder", remedy)
        write_atomically(path, data)
    return path


@contextmanager
def named_place(path: Path, remedy: str) -> Iterator[None]:
    """Turn a failure to write what the user has named into one line.

    Raises:
        UsageError: it cannot be written there.
        OSError: the disk is full or read-only, which is no fault of the name.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (*FULL, errno.EROFS):
            raise
        problem = f"cannot be written ({error.strerror})"
        raise UsageError(os.fspath(path), problem, remedy) from error
