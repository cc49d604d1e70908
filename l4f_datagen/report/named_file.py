"""A file that the user has named: written whole or not at all, or refused in one line."""

import os
from pathlib import Path

from l4f_datagen.dataset.disk import write_atomically
from l4f_datagen.errors import UsageError


def write_named(path: Path, data: bytes) -> Path:
    """Write a file, staged and renamed, and return its path; folders above it are made.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        write_atomically(path, data)
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise UsageError(os.fspath(path), problem, "name another file") from error
    return path
