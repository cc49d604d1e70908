"""Ownership: whose folder it is, who writes it, and what shard jobs were asked for.

One process at a time writes a dataset, or several shard jobs together, each with a share of the
shards: they hold its lock together, so that nobody merges or makes it meanwhile, and each one a
lock of its own. A job that has ended leaves a record in ``.l4f/jobs`` of what it was asked
for, which is removed when the whole dataset is finished.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from l4f_datagen.core.errors import UsageError
from l4f_datagen.dataset.indexes import find_marker
from l4f_datagen.dataset.layout import STATE, marked_shards
from l4f_datagen.dataset.manifest import MANIFEST, RUN, dump_json
from l4f_datagen.io.disk import write_atomically
from l4f_datagen.rendering.quota import Share

ELSEWHERE = "choose another folder"
START_OVER = "choose another folder or start over with --overwrite"
JOBS = ".l4f/jobs"


@contextmanager
def folder_lock(path: Path, subject: str, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock file, ``shared`` or alone, until the block ends or the process does.

    UsageError where another process, or this one, holds it; ``subject`` is what it guards.
    """
    with path.open("a") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            remedy = "wait for it to end or choose another folder"
            raise UsageError(subject, "another process is writing here", remedy) from error
        yield


def refuse_foreign(folder: Path) -> None:
    """Refuse (UsageError) a file, or a folder with files that no run of this tool began."""
    if not folder.is_dir():
        if folder.exists():
            raise UsageError(os.fspath(folder), "expected a folder, got a file", ELSEWHERE)
    elif not (folder / RUN).exists() and any(one.name != STATE for one in folder.iterdir()):
        problem = "is not empty, and was not made by this tool"
        raise UsageError(os.fspath(folder), problem, ELSEWHERE)


def refuse_shared_overwrite(overwrite: bool, share: Share | None) -> None:
    """Refuse (UsageError) that one of several jobs deletes what the others have made."""
    if overwrite and share:
        problem = "given with --shard, would delete what other jobs made"
        raise UsageError("--overwrite", problem, "remove the folder before the first job")


def refuse_other_run(
    folder: Path, run: Mapping[str, Any], subject: str | None = None, remedy: str = START_OVER
) -> None:
    """Refuse (UsageError) a folder whose samples were made in another way than they would be now.

    ``run`` is what would be recorded: schema, recipe, recipe_hash, formats, alpha_bits.
    """
    if (folder / RUN).exists() and (problem := _difference(folder / RUN, run)):
        raise UsageError(subject or os.fspath(folder), problem, remedy)


def _difference(record: Path, run: Mapping[str, Any]) -> str | None:
    try:
        recorded = json.loads(record.read_bytes())
        schema = recorded["schema"]
    except (ValueError, KeyError, TypeError):
        return f"its record {RUN} is damaged"
    if schema != run["schema"]:
        return f"has the layout of another version ({schema}, now {run['schema']})"
    for name in ("formats", "alpha_bits"):
        if recorded.get(name) != run[name]:
            pair = (recorded.get(name), run[name])
            words = (
                ", ".join(map(str, one)) if isinstance(one, list) else str(one) for one in pair
            )
            return f"was made with {name.replace('_', ' ')} {', now '.join(words)}"
    if recorded.get("recipe_hash") == run["recipe_hash"]:
        return None
    how = "its text is the same: weights, latents or background images have changed"
    before, now = str(recorded.get("recipe")).splitlines(), run["recipe"].splitlines()
    for was, is_ in zip_longest(before, now, fillvalue=""):
        if was != is_:
            how = f"{was.strip()!r}, now {is_.strip()!r}"
            break
    return f"holds a dataset of another recipe ({how})"


@dataclass(frozen=True)
class Asked:
    """How many samples a run was asked for; ``count`` is "accepted" or "attempts"."""

    number: int
    count: str


def recorded_asked(folder: Path) -> dict[str, Any]:
    """Return what an earlier run was asked for, as far as it recorded that."""
    recorded = json.loads((folder / RUN).read_bytes())
    return {name: recorded[name] for name in ("number", "count") if name in recorded}


def refuse_fewer(folder: Path, asked: Asked, subject: str) -> None:
    """Refuse (UsageError) to cut a dataset short, which would delete finished samples.

    The same command as before is never refused: an engine that renders ahead, and shard jobs, may
    have left more than it asks for.
    """
    if not (folder / RUN).exists():
        return
    before = recorded_asked(folder)
    unknown = not before and not (folder / MANIFEST).exists()
    if unknown or before == vars(asked):
        return
    held, accepted = 0, asked.count == "accepted"
    for shard in marked_shards(folder):
        if marker := find_marker(folder, shard):  # a damaged one is made again
            held += marker.accepted if accepted else marker.attempted
    if held > asked.number:
        what = "accepted samples" if accepted else "attempts"
        lost = f"--n {asked.number} would delete {held - asked.number} of them"
        remedy = f"ask for at least {held}, choose another folder, or start over with --overwrite"
        raise UsageError(subject, f"holds {held} {what}, {lost}", remedy)


@dataclass(frozen=True)
class JobRecord:
    """What a shard job that has ended was asked for: ``number`` is of the whole dataset."""

    share: Share
    number: int
    count: str

    @staticmethod
    def name(share: Share) -> str:
        """Name the record of a share, relative to the dataset."""
        return f"{JOBS}/{share.index:05d}-of-{share.of:05d}.json"

    def write(self, folder: Path) -> str:
        """Write the record and return its name, relative to the dataset."""
        name = self.name(self.share)
        write_atomically(folder / name, dump_json({"number": self.number, "count": self.count}))
        return name


def read_records(folder: Path) -> list[JobRecord]:
    """Read the records of all shard jobs that ended here, in order; damaged ones are left out."""
    records = []
    for path in sorted((folder / JOBS).glob("*.json")):
        if match := re.fullmatch(r"(\d{5,6})-of-(\d{5,6})\.json", path.name):
            with suppress(ValueError, KeyError, TypeError):
                values = json.loads(path.read_bytes())
                share = Share(int(match[1]), int(match[2]))
                records.append(JobRecord(share, int(values["number"]), str(values["count"])))
    return records
