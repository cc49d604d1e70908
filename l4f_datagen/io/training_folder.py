"""Training folder: an output folder that belongs to one training or one benchmark of trainings."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l4f_datagen.core.errors import UsageError
from l4f_datagen.io.disk import FULL, PART, staged, write_atomically

IDENTITY = "training-id"


def claim_folder(out: Path, identity: str, *, other: str) -> None:
    """Make ``out`` the folder of what has this identity.

    Args:
        out: made when it is not there.
        identity: hash over everything that decides what will be in it.
        other: what it is when the folder belongs to another identity, in words.

    Raises:
        UsageError: it belongs to another, holds foreign files, or cannot be written.
        OSError: the disk is full, which is no fault of the folder.
    """
    marker = out / IDENTITY
    unfinished = {IDENTITY, IDENTITY + PART}
    try:
        claimed = marker.read_bytes().strip() if marker.exists() else b""
        if claimed:
            if claimed != identity.encode():
                raise UsageError(str(out), other, "name another --out or remove the folder")
            return
        # A claim that was cut short leaves a marker that says nothing: the folder is still free.
        if out.exists() and any(path.name not in unfinished for path in out.iterdir()):
            raise UsageError(str(out), "is not empty and holds other files", "name another --out")
        write_atomically(marker, f"{identity}\n".encode(), durable=True)
    except OSError as error:
        if error.errno in FULL:
            raise
        problem = f"cannot be used ({error.strerror})"
        raise UsageError(str(out), problem, "name a folder that can be written") from error


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write what a stopped training goes on from, staged and renamed.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    import torch

    # Through memory: what torch writes to a full disk ends in a RuntimeError of its own.
    whole = io.BytesIO()
    torch.save(dict(state), whole)
    with staged(path) as file:
        file.write(whole.getbuffer())
