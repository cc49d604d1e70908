"""Merge: finish one dataset from the shards that jobs of ``make --shard`` made.

One job alone cannot know where a count of accepted samples ends. So a merge runs the usual
``make`` over the finished shards, which gives the bytes of one ``make`` without ``--shard``.
"""

import json
import logging
import shutil
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.dataset import layout, ownership
from l4f_datagen.dataset.indexes import find_marker
from l4f_datagen.dataset.manifest import MANIFEST, RUN, Marker, read_manifest
from l4f_datagen.dataset.remote import Remote
from l4f_datagen.dataset.staging import FLAT, flat_names
from l4f_datagen.io.disk import PART, disk_failures, has_size, write_atomically
from l4f_datagen.io.untrusted import plain_yaml
from l4f_datagen.pipeline.config import MakeConfig
from l4f_datagen.pipeline.make import make_dataset
from l4f_datagen.recipe import check_recipe
from l4f_datagen.rendering.plan import sweep_of
from l4f_datagen.rendering.quota import Quota

logger = logging.getLogger(__name__)

SHOWN = 12  # shards that a message lists


def merge_dataset(
    out: Path | str,
    parts: Sequence[Path] = (),
    *,
    fill: bool = False,
    device: str = "auto",
    offline: bool = False,
) -> dict[str, Any]:
    """Finish a dataset that shard jobs made and return its manifest; a finished one is not changed.

    ``out`` is the folder or URL that the jobs shared, or a new folder for ``parts``, the folders of
    jobs that shared none, whose shards are copied. ``fill`` renders missing shards here.

    UsageError for folders that no shard job wrote, or of different runs, or with foreign files;
    L4FError names missing shards with the command that makes them.
    """
    if parts:
        if not isinstance(out, Path):
            raise UsageError(out, "cannot take folders", "let the jobs write to the URL")
        copy_parts(parts, out)
    state = Path(out)
    if isinstance(out, str):
        remote = Remote(out)
        state = remote.scratch("merge")
        remote.begin(state, MANIFEST)
    recipe = check_recipe(plain_yaml(_run(state, str(out))["recipe"]), str(out))
    records = ownership.read_records(state)
    if not records and (state / MANIFEST).exists():
        logger.info(f"{out} is already finished")
        return read_manifest(state)
    _refuse_disagreeing(records, str(out))
    asked = records[0]
    quota = Quota(asked.number, asked.count, sweep_of(recipe.sampling))
    missing = missing_shards(quota, layout.marked_shards(state), partial(find_marker, state))
    unfinished = sorted(set(range(asked.share.of)) - {record.share.index for record in records})
    if missing and unfinished and not fill:
        jobs = f"of {asked.share.of} jobs {_listed(unfinished)} have not finished"
        problem = f"shards {_listed(missing)} are missing; {jobs}"
        share = f"{unfinished[0]}/{asked.share.of}"
        remedy = f"run make with --shard {share} again, or merge with --fill"
        raise L4FError(str(out), problem, remedy)
    if missing:
        logger.info(f"shards {_listed(missing)} are missing; the needed ones are rendered here")
    # A doubtful alpha network is accepted, or its jobs would have refused it.
    options: dict[str, Any] = {"offline": offline, "accept_doubtful_alpha": True}
    return make_dataset(MakeConfig(recipe, out, asked.number, asked.count, device, **options))


def copy_parts(parts: Sequence[Path], out: Path) -> None:
    """Copy finished shards and job records into one folder, after all parts were checked."""
    for part in parts:
        if part.resolve() == out.resolve():
            raise UsageError(str(part), "is both a part and --out", "name a new folder as --out")
    ownership.refuse_foreign(out)
    first = out if (out / RUN).exists() else parts[0]
    run = _run(first, str(first))
    for part in parts:
        _run(part, str(part))
        ownership.refuse_other_run(part, run, remedy=f"leave it out: {first} has other samples")
    records = [record for folder in (out, *parts) for record in ownership.read_records(folder)]
    _refuse_disagreeing(records, str(out))
    for part in parts:
        with disk_failures(out, f"copying {part}"), ExitStack() as locks:
            (out / layout.STATE).mkdir(parents=True, exist_ok=True)
            for folder in (part, out):
                locks.enter_context(ownership.folder_lock(folder / layout.LOCK, str(folder)))
            if not (out / RUN).exists():
                write_atomically(out / RUN, (part / RUN).read_bytes(), durable=True)
            for shard in sorted(layout.marked_shards(part) - layout.marked_shards(out)):
                _copy_shard(part, out, shard)
            for record in ownership.read_records(part):
                record.write(out)


def missing_shards(
    quota: Quota, marked: Collection[int], read: Callable[[int], Marker | None]
) -> list[int]:
    """Name the shards that a dataset lacks up to where it would end; books the others.

    Where accepted samples are counted and none before it is missing, the shard behind the last one
    that is ``marked`` is named; else nobody knows yet whether it is needed. L4FError where all are
    there, and yet too few samples.
    """
    missing, last = list[int](), max(marked, default=-1)
    try:
        for shard, blocks in quota.shards():
            marker = read(shard)
            if marker:
                quota.book(marker.accepted, marker.attempted, marker.rejected)
                continue
            if quota.count == "attempts":
                quota.attempted += sum(map(len, blocks))
            elif shard > last and missing:
                break
            missing.append(shard)
            if quota.count == "accepted" and shard > last:
                break
    except L4FError:
        if not missing:  # else the samples that lack are those of the missing shards
            raise
    return missing


def _copy_shard(part: Path, out: Path, shard: int) -> None:
    """Copy one shard, staged and renamed, its marker last; an incomplete one is left out."""
    facts = find_marker(part, shard)
    if facts is None or not all(has_size(part / name, size) for name, size, _ in facts.files):
        return
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


def _refuse_disagreeing(records: Sequence[ownership.JobRecord], subject: str) -> None:
    asked = {(record.share.of, record.number, record.count) for record in records}
    if not asked:
        problem = "no shard job has finished here"
        raise UsageError(subject, problem, "run make with --shard 0/N, 1/N ... first")
    if len(asked) > 1:
        words = ", ".join(f"--n {n} --count {count} in {of} jobs" for of, n, count in sorted(asked))
        raise UsageError(subject, f"jobs were started with different numbers ({words})", "run make")


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:SHOWN]))
    return shown + f" and {len(numbers) - SHOWN} more" * (len(numbers) > SHOWN)
