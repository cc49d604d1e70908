"""Training folder: an output folder that belongs to one training, one process at a time."""

import errno
import fcntl
import io
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

from l4f_datagen.core.errors import UsageError
from l4f_datagen.io.disk import FULL, PART, staged, write_atomically

logger = logging.getLogger(__name__)

IDENTITY = "training-id"
LOCK = "lock"
POLL_SECONDS = 2.0  # between two looks at the lock: a training takes minutes
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What network disks answer that keep no locks."""
WRITABLE = "name a folder that can be written"


def try_lock(file: IO[Any]) -> bool:
    """Lock an open file unless another process has it; return whether it is ours.

    The lock is kept by the operating system, and given back when the file is closed. A disk that
    keeps no locks gives it to everybody, with a warning.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            return False
        logger.warning("%s: this disk keeps no locks; run one job at a time", file.name)
    return True


def is_claimed(out: Path, identity: str) -> bool:
    """Whether ``out`` is the folder of what has this identity; nothing is written."""
    try:
        return (out / IDENTITY).read_bytes().strip() == identity.encode()
    except OSError:
        return False


def claim_folder(out: Path, identity: str, *, other: str) -> None:
    """Make ``out`` the folder of what has this identity, a hash over all that decides its content.

    UsageError where it belongs to another (``other`` says so in words), holds foreign files, or
    cannot be written; OSError where the disk is full, which is not the folder's fault.
    """
    marker = out / IDENTITY
    unfinished = {IDENTITY, IDENTITY + PART, LOCK}
    try:
        claimed = marker.read_bytes().strip() if marker.exists() else b""
        if claimed:
            if claimed != identity.encode():
                raise UsageError(str(out), other, "name another --out or remove the folder")
            return
        # A claim that was cut short leaves an empty marker: the folder is still free.
        if out.exists() and any(path.name not in unfinished for path in out.iterdir()):
            raise UsageError(str(out), "is not empty and holds other files", "name another --out")
        try:
            write_atomically(marker, f"{identity}\n".encode(), durable=True)
        except FileNotFoundError:  # renamed by a process that claims the folder at the same moment
            if not is_claimed(out, identity):
                raise
    except OSError as error:
        if error.errno in FULL:
            raise
        raise UsageError(str(out), f"cannot be used ({error.strerror})", WRITABLE) from error


@contextmanager
def hold_folder(
    out: Path, *, leads: bool = True, agree: Callable[[bool], bool] = bool
) -> Iterator[None]:
    """Train alone in a claimed folder for the block; wait while another process trains there.

    The lock is the operating system's: it ends with the process that holds it, however it ends. Of
    several processes that train together one ``leads`` and takes it; ``agree``, called by all of
    them alike, says whether something holds in any. UsageError where the folder cannot be written.
    """
    try:
        # Never removed: two processes could lock two files of one name.
        file = (out / LOCK).open("a") if leads else None
    except OSError as error:
        raise UsageError(str(out), f"cannot be locked ({error.strerror})", WRITABLE) from error
    with file or nullcontext():
        waited = False
        while not agree(file is not None and try_lock(file)):
            if leads and not waited:
                logger.info("%s: another process works here; waiting for it to end", out)
            waited = True
            time.sleep(POLL_SECONDS)
        yield


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write what a stopped training goes on from, staged and renamed."""
    import torch

    # Through memory: what torch writes to a full disk ends in a RuntimeError of its own.
    whole = io.BytesIO()
    torch.save(dict(state), whole)
    with staged(path) as file:
        file.write(whole.getbuffer())
