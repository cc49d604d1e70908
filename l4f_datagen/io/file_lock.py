"""A lock between processes that ends with the process that holds it, however it ends."""

import errno
import logging
from pathlib import Path
from typing import IO, Any

logger = logging.getLogger(__name__)

UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What network disks answer that keep no locks."""


class FileLock:
    """An exclusive lock on a file, kept by the operating system.

    Args:
        path: the lock file; made when it is not there, and left there: to remove it would let two
            processes lock two files of one name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[Any] | None = None

    def acquire(self) -> bool:
        """Take the lock unless another process has it; return whether it is ours.

        A disk that keeps no locks gives it to everybody, with a warning.

        Raises:
            OSError: the file cannot be opened for writing.
        """
        if self._file is not None:
            return True
        file = self.path.open("a")
        try:
            lock_exclusively(file)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                logger.warning("%s: this disk keeps no locks; run one job at a time", self.path)
            else:
                file.close()
                return False
        self._file = file
        return True

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> "FileLock":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def lock_exclusively(file: IO[Any]) -> None:
    """Lock an open file without waiting.

    Raises:
        OSError: another process holds it, or the disk keeps no locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
