"""A file that the user has named: written whole or not at all, or refused in one line."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from l4f_datagen.dataset.disk import FULL, PART, write_atomically
from l4f_datagen.errors import UsageError


def write_named(path: Path, data: bytes) -> Path:
    """Write a file, staged and renamed, and return its path; folders above it are made.

    Raises:
        UsageError: it cannot be written there.
        OSError: the disk is full or read-only.
    """
    remedy = "name another file"
    if not path.name or path.is_dir():
        raise UsageError(os.fspath(path), "is a folder", remedy)
    try:
        write_atomically(path, data)
    except OSError as error:
        with suppress(OSError):
            path.with_name(path.name + PART).unlink()
        if error.errno in (*FULL, errno.EROFS):
            raise
        problem = f"cannot be written ({error.strerror})"
        raise UsageError(os.fspath(path), problem, remedy) from error
    return path
