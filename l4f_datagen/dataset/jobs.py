"""Shard jobs: several processes, each with a share of the shards, at work on one dataset.

They hold its lock together, so that nobody merges or makes it meanwhile, and each one a lock of
its own. A job that came to its end leaves a record in ``.l4f/jobs`` of what it was asked for; it
goes when the dataset is finished as a whole.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l4f_datagen.dataset.manifest import dump_json
from l4f_datagen.dataset.ownership import folder_lock
from l4f_datagen.io.disk import remove, write_atomically
from l4f_datagen.rendering.share import Share

JOBS = ".l4f/jobs"


@dataclass(frozen=True)
class JobRecord:
    """What a shard job that came to its end was asked for.

    Attributes:
        share: its part of the plan.
        number: samples of the whole dataset.
        count: what ``number`` counts, "accepted" or "attempts".
    """

    share: Share
    number: int
    count: str

    def write(self, folder: Path) -> str:
        """Write the record and give its name, relative to the dataset."""
        values: dict[str, Any] = {"number": self.number, "count": self.count}
        name = record_name(self.share)
        write_atomically(folder / name, dump_json(values))
        return name


def record_name(share: Share) -> str:
    """Name the record of a share, relative to the dataset."""
    return f"{JOBS}/{share.index:05d}-of-{share.of:05d}.json"


@contextmanager
def job_locks(folder: Path, lock: Path, share: Share) -> Iterator[None]:
    """Hold the dataset together with other jobs, and the share alone.

    Raises:
        UsageError: the dataset is being made or merged, or the same share has another process.
    """
    own = folder / f"{record_name(share)}.lock"
    own.parent.mkdir(parents=True, exist_ok=True)
    with (
        folder_lock(lock, str(folder), shared=True),
        folder_lock(own, f"{folder} (--shard {share})"),
    ):
        yield


def read_records(folder: Path) -> list[JobRecord]:
    """Read the records of all shard jobs that ended here, in order; damaged ones count for none."""
    records = []
    for path in sorted((folder / JOBS).glob("*.json")):
        match = re.fullmatch(r"(\d{5,6})-of-(\d{5,6})\.json", path.name)
        try:
            values = json.loads(path.read_bytes())
            number, count = int(values["number"]), str(values["count"])
        except (ValueError, KeyError, TypeError):
            continue
        if match:
            share = Share(int(match[1]), int(match[2]))
            records.append(JobRecord(share, number, count))
    return records


def drop_records(folder: Path) -> None:
    """Remove the records and locks of all shard jobs."""
    remove(folder / JOBS)
