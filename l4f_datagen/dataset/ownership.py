"""Ownership: whose folder it is, and that one process at a time writes it."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from l4f_datagen.core.errors import UsageError
from l4f_datagen.dataset.indexes import read_markers
from l4f_datagen.dataset.layout import STATE, marked_shards
from l4f_datagen.dataset.manifest import MANIFEST, RUN
from l4f_datagen.rendering.share import Share

ELSEWHERE = "choose another folder"
START_OVER = "choose another folder or start over with --overwrite"


@contextmanager
def folder_lock(path: Path, subject: str, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock file until the block ends or the process does, however it ends.

    Args:
        path: the lock file, made when it is not there.
        subject: what it guards, as the user knows it.
        shared: together with others that share it.

    Raises:
        UsageError: another process, or this one, holds it.
        OSError: the file cannot be opened for writing.
    """
    with path.open("a") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                subject,
                "another process is writing here",
                "wait for it to end or choose another folder",
            ) from error
        yield


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder with files that no run of this tool began.

    Raises:
        UsageError: a file in its place, or files of others in it.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(os.fspath(folder), "expected a folder, got a file", ELSEWHERE)
    if not folder.is_dir() or (folder / RUN).exists():
        return
    if any(entry.name != STATE for entry in folder.iterdir()):
        raise UsageError(os.fspath(folder), "not empty, and not made by this tool", ELSEWHERE)


def refuse_shared_overwrite(overwrite: bool, share: Share | None) -> None:
    """Refuse that one of several jobs throws away what the others have made.

    Raises:
        UsageError: a share that would overwrite.
    """
    if overwrite and share:
        problem = "given with --shard, would throw away what other jobs made"
        raise UsageError("--overwrite", problem, "remove the folder before the first job")


def refuse_other_run(
    folder: Path, run: Mapping[str, Any], subject: str | None = None, remedy: str = START_OVER
) -> None:
    """Refuse a folder whose samples were made in another way than they would be now.

    Args:
        folder: may be new.
        run: what would be recorded: schema, recipe, recipe_hash, formats, alpha_bits.
        subject: where the user knows it to be, if not in this folder.
        remedy: what to do about it.

    Raises:
        UsageError: another recipe, other formats, another version or an unreadable record.
    """
    if not (folder / RUN).exists():
        return
    subject = subject or os.fspath(folder)
    try:
        recorded = json.loads((folder / RUN).read_bytes())
        schema = recorded["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(subject, f"its record {RUN} is damaged", remedy) from error
    if schema != run["schema"]:
        raise UsageError(
            subject, f"laid out by another version ({schema}, now {run['schema']})", remedy
        )
    for name in ("formats", "alpha_bits"):
        if recorded.get(name) != run[name]:
            label = name.replace("_", " ")
            was, now = _words(recorded.get(name)), _words(run[name])
            raise UsageError(subject, f"begun with {label} {was}, now {now}", remedy)
    if recorded.get("recipe_hash") != run["recipe_hash"]:
        how = _difference(str(recorded.get("recipe")), run["recipe"])
        raise UsageError(subject, f"holds a dataset of another recipe ({how})", remedy)


@dataclass(frozen=True)
class Asked:
    """How many samples a run was asked for.

    Attributes:
        number: of samples.
        count: what ``number`` counts, "accepted" or "attempts".
    """

    number: int
    count: str


def recorded_asked(folder: Path, asked: Asked | None) -> dict[str, Any]:
    """Return what an earlier run was asked for, as it recorded it, or else ``asked``."""
    if not (folder / RUN).exists():
        return {} if asked is None else vars(asked)
    recorded = json.loads((folder / RUN).read_bytes())
    return {name: recorded[name] for name in ("number", "count") if name in recorded}


def refuse_fewer(folder: Path, asked: Asked, subject: str) -> None:
    """Refuse to cut a dataset short, which would delete finished samples.

    The same command as before is never refused: an engine that renders ahead, and shard jobs, may
    have left more than it asks for.

    Raises:
        UsageError: more samples are there than are asked for.
    """
    if not (folder / RUN).exists():
        return
    before = recorded_asked(folder, None)
    unknown = not before and not (folder / MANIFEST).exists()
    if unknown or before == vars(asked):
        return
    held = 0
    for shard in sorted(marked_shards(folder)):
        with suppress(ValueError):  # a damaged record is made again
            [marker] = read_markers(folder, [shard])
            held += marker.accepted if asked.count == "accepted" else marker.attempted
    if held > asked.number:
        what = "accepted samples" if asked.count == "accepted" else "attempts"
        raise UsageError(
            subject,
            f"holds {held} {what}, --n {asked.number} would delete {held - asked.number} of them",
            f"ask for at least {held}, choose another folder, or start over with --overwrite",
        )


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _difference(recorded: str, now: str) -> str:
    for was, is_ in zip_longest(recorded.splitlines(), now.splitlines(), fillvalue=""):
        if was != is_:
            return f"{was.strip()!r}, now {is_.strip()!r}"
    return "its text is the same: weights, latents or background pictures have changed"
