"""Merge: shard jobs have made their shares; the rest of one dataset is made of them here.

What is left is what one job alone cannot know: where a count of accepted samples ends. So the
merge is the same ``make`` as ever over the finished shards, and it ends in the same bytes.
"""

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.dataset import layout
from l4f_datagen.dataset.indexes import read_markers
from l4f_datagen.dataset.manifest import MANIFEST, RUN, Marker, read_manifest
from l4f_datagen.dataset.ownership import (
    JobRecord,
    folder_lock,
    read_records,
    refuse_foreign,
    refuse_other_run,
)
from l4f_datagen.dataset.remote import Remote
from l4f_datagen.dataset.staging import FLAT, flat_names
from l4f_datagen.io.disk import PART, disk_failures, has_size, write_atomically
from l4f_datagen.io.plain_yaml import plain_yaml
from l4f_datagen.pipeline.job import Job
from l4f_datagen.pipeline.make import make_dataset
from l4f_datagen.recipe import check_recipe
from l4f_datagen.rendering.plan import sweep_of
from l4f_datagen.rendering.quota import Quota

logger = logging.getLogger(__name__)

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


def merge_dataset(merge: Merge) -> dict[str, Any]:
    """Finish a dataset that shard jobs made and return its manifest; a finished one stays as it is.

    Raises:
        UsageError: folders that no shard job wrote, or of different runs, or files of others.
        L4FError: shards that are not there yet, by number, with the command that makes them.
    """
    if merge.parts:
        if not isinstance(merge.out, Path):
            raise UsageError(merge.out, "takes no folders in", "let the jobs write to the URL")
        take_in(merge.parts, merge.out)
    state = Path(merge.out)
    if isinstance(merge.out, str):
        remote = Remote(merge.out)
        state = remote.scratch("merge")
        remote.begin(state, MANIFEST)
    recipe = check_recipe(plain_yaml(_run(state, str(merge.out))["recipe"]), str(merge.out))
    records = read_records(state)
    if not records and (state / MANIFEST).exists():
        logger.info(f"{merge.out} is finished already")
        return read_manifest(state)
    asked = _agreeing(records, str(merge.out))[0]
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
        logger.info(
            f"shards {_listed(missing)} are missing; what is needed of them is rendered here"
        )
    job = Job(
        recipe, merge.out, asked.number, asked.count, device=merge.device, offline=merge.offline
    )
    return make_dataset(job)


def take_in(parts: Sequence[Path], out: Path) -> None:
    """Copy the finished shards and the records of folders into another; none is copied if one errs.

    Copies are staged and renamed, the marker last, as when they were made.

    Raises:
        UsageError: no such dataset, another recipe than the rest, files of others in ``out``, or a
            folder in use.
        L4FError: no space left.
    """
    for part in parts:
        if part.resolve() == out.resolve():
            raise UsageError(str(part), "is a part and --out as well", "name a new folder as --out")
    refuse_foreign(out)
    first = out if (out / RUN).exists() else parts[0]
    run = _run(first, str(first))
    for part in parts:
        _run(part, str(part))
        refuse_other_run(part, run, remedy=f"leave it out: {first} has other samples")
    records = [record for folder in (out, *parts) for record in read_records(folder)]
    _agreeing(records, str(out))
    for part in parts:
        with disk_failures(out, f"copying {part}"):
            _take_in(part, out)


def _take_in(part: Path, out: Path) -> None:
    (out / layout.STATE).mkdir(parents=True, exist_ok=True)
    with folder_lock(part / layout.LOCK, str(part)), folder_lock(out / layout.LOCK, str(out)):
        if not (out / RUN).exists():
            write_atomically(out / RUN, (part / RUN).read_bytes(), durable=True)
        for shard in sorted(layout.marked_shards(part) - layout.marked_shards(out)):
            _copy_shard(part, out, shard)
        for record in read_records(part):
            record.write(out)


def missing_shards(folder: Path, quota: Quota) -> list[int]:
    """Name the shards that the dataset lacks (see ``Quota.missing``)."""
    marked = layout.marked_shards(folder)
    return quota.missing(
        lambda shard: _marker(folder, shard) if shard in marked else None, max(marked, default=-1)
    )


def _marker(folder: Path, shard: int) -> Marker | None:
    """Read the marker of a shard; a damaged one counts for none."""
    try:
        [marker] = read_markers(folder, [shard])
    except ValueError:
        return None
    return marker


def _copy_shard(part: Path, out: Path, shard: int) -> None:
    facts = _marker(part, shard)
    if facts is None or not all(has_size(part / name, size) for name, size, _ in facts.files):
        return  # torn: its job, or the merge, makes it again
    marker = layout.marker_path(part, shard).read_bytes()
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
        if place == FLAT.format(shard=shard):
            for name in flat_names(out, shard):
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(part / name, out / name)
    write_atomically(layout.marker_path(out, shard), marker)


def _run(folder: Path, subject: str) -> dict[str, Any]:
    if not (folder / RUN).is_file():
        problem = "holds no shards of a dataset"
        raise UsageError(subject, problem, "name the --out of make --shard")
    try:
        run: dict[str, Any] = json.loads((folder / RUN).read_bytes())
        plain_yaml(run["recipe"])
        run["schema"], run["recipe_hash"], run["formats"], run["alpha_bits"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"its record {RUN} is damaged"
        raise UsageError(subject, problem, "make its shards again in a new folder") from error
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
