"""Merge: shard jobs have made their shares; the rest of one dataset is made of them here.

What is left is what one job alone cannot know: where a count of accepted samples ends. So the
merge is the same ``make`` as ever over the finished shards, and it ends in the same bytes.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l4f_datagen.dataset import layout
from l4f_datagen.dataset.disk import PART, disk_failures, has_size, write_atomically
from l4f_datagen.dataset.indexes import read_markers
from l4f_datagen.dataset.jobs import JobRecord, read_records
from l4f_datagen.dataset.ownership import folder_lock, refuse_other_run
from l4f_datagen.dataset.remote import Remote
from l4f_datagen.errors import L4FError, UsageError
from l4f_datagen.pipeline import Job, make_dataset
from l4f_datagen.plain_yaml import plain_yaml
from l4f_datagen.recipe import check_recipe
from l4f_datagen.sampling.quota import Quota
from l4f_datagen.sampling.sweep import sweep_of

Say = Callable[[str], None]
SHOWN = 12


@dataclass(frozen=True)
class Merge:
    """One call of ``merge``.

    Attributes:
        out: the dataset: the folder or URL that the jobs shared, or a new folder.
        parts: folders of jobs that shared none; their shards are copied.
        fill: render here what jobs have left out.
        device: see ``Job``.
        offline: see ``Job``.
    """

    out: Path | str
    parts: tuple[Path, ...] = ()
    fill: bool = False
    device: str = "auto"
    offline: bool = False


def merge_dataset(merge: Merge, say: Say) -> dict[str, Any]:
    """Finish a dataset that shard jobs made and return its manifest.

    Raises:
        UsageError: folders that no shard job wrote, or of different runs.
        L4FError: shards that are not there yet, by number, with the command that makes them.
    """
    for part in merge.parts:
        if not isinstance(merge.out, Path):
            raise UsageError(merge.out, "takes no folders in", "let the jobs write to the URL")
        take_in(part, merge.out)
    state = Path(merge.out)
    if isinstance(merge.out, str):
        remote = Remote(merge.out)
        state = remote.scratch("merge")
        remote.begin(state)
    recipe = check_recipe(plain_yaml(_run(state, str(merge.out))["recipe"]), str(merge.out))
    records = _agreeing(read_records(state), str(merge.out))
    asked = records[0]
    missing = missing_shards(state, Quota(asked.number, asked.count, sweep_of(recipe.sampling)))
    ended = {record.share.index for record in records}
    late = sorted(set(range(asked.share.of)) - ended)
    if missing and late and not merge.fill:
        raise L4FError(
            str(merge.out),
            f"shards {_listed(missing)} are missing; of {asked.share.of} jobs "
            f"{_listed(late)} have not ended",
            f"run make with --shard {late[0]}/{asked.share.of} again, or merge with --fill",
        )
    if missing:
        say(f"shards {_listed(missing)} are rendered here")
    job = Job(
        recipe, merge.out, asked.number, asked.count, device=merge.device, offline=merge.offline
    )
    return make_dataset(job, say)


def take_in(part: Path, out: Path) -> None:
    """Copy the finished shards and the records of one folder into another.

    Copies are staged and renamed, the marker last, as when they were made.

    Raises:
        UsageError: no such dataset, another recipe than the one there, or a folder in use.
        L4FError: no space left.
    """
    run = _run(part, str(part))
    refuse_other_run(out, run)
    with disk_failures(out, f"copying {part}"):
        (out / layout.STATE).mkdir(parents=True, exist_ok=True)
        with folder_lock(part / layout.LOCK, str(part)), folder_lock(out / layout.LOCK, str(out)):
            if not (out / layout.RUN).exists():
                shutil.copyfile(part / layout.RUN, out / layout.RUN)
            for shard in sorted(layout.marked_shards(part) - layout.marked_shards(out)):
                _copy_shard(part, out, shard)
            for record in read_records(part):
                record.write(out)


def missing_shards(folder: Path, quota: Quota) -> list[int]:
    """Name the shards that the dataset lacks, up to where it would end, or to the last one there.

    A shard behind the last one there is named only as the next to come.
    """
    marked = layout.marked_shards(folder)
    missing: list[int] = []
    for shard, _ in quota.shards():
        if shard in marked:
            [marker] = read_markers(folder, [shard])
            quota.book(marker.accepted, marker.attempted, marker.rejected)
            continue
        missing.append(shard)
        if quota.count == "attempts":
            planned = sum(map(len, quota.blocks(shard)))
            quota.book(0, planned)
        elif shard > max(marked, default=-1):
            break
    return missing


def _copy_shard(part: Path, out: Path, shard: int) -> None:
    marker = layout.marker_path(part, shard).read_bytes()
    [facts] = read_markers(part, [shard])
    if not all(has_size(part / name, size) for name, size, _ in facts.files):
        return  # torn: its job, or the merge, makes it again
    layout.drop_shard(out, shard)
    for place in (place.format(shard=shard) for place in layout.PLACES):
        source, staged = part / place, out / (place + PART)
        if not source.exists():
            continue
        staged.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, staged)
        else:
            shutil.copyfile(source, staged)
        staged.rename(out / place)
    write_atomically(layout.marker_path(out, shard), marker)


def _run(folder: Path, subject: str) -> dict[str, Any]:
    try:
        run: dict[str, Any] = json.loads((folder / layout.RUN).read_bytes())
        run["recipe"], run["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = "holds no shards of a dataset"
        raise UsageError(subject, problem, "name the --out of make --shard") from error
    return run


def _agreeing(records: Sequence[JobRecord], subject: str) -> Sequence[JobRecord]:
    asked = {(record.share.of, record.number, record.count) for record in records}
    if not asked:
        problem = "no shard job has come to its end here"
        raise UsageError(subject, problem, "run make with --shard 0/N, 1/N ... first")
    if len(asked) > 1:
        words = ", ".join(f"--n {n} --count {count} in {of} jobs" for of, n, count in sorted(asked))
        raise UsageError(subject, f"jobs were asked for different things ({words})", "run make")
    return records


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:SHOWN]))
    return shown + f" and {len(numbers) - SHOWN} more" * (len(numbers) > SHOWN)
