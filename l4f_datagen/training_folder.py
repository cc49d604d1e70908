"""Training folder: an output folder that belongs to one training or one benchmark of trainings."""

from pathlib import Path

from l4f_datagen.errors import UsageError

IDENTITY = "training-id"


def claim_folder(out: Path, identity: str, *, other: str) -> None:
    """Make ``out`` the folder of what has this identity.

    Args:
        out: made when it is not there.
        identity: hash over everything that decides what will be in it.
        other: what it is when the folder belongs to another identity, in words.

    Raises:
        UsageError: it belongs to another, holds foreign files, or cannot be written.
    """
    marker = out / IDENTITY
    try:
        if marker.exists():
            if marker.read_text().strip() != identity:
                raise UsageError(str(out), other, "name another --out or remove the folder")
            return
        if out.exists() and any(out.iterdir()):
            raise UsageError(str(out), "is not empty and holds other files", "name another --out")
        out.mkdir(parents=True, exist_ok=True)
        marker.write_text(identity + "\n")
    except OSError as error:
        problem = f"cannot be used ({error.strerror})"
        raise UsageError(str(out), problem, "name a folder that can be written") from error
