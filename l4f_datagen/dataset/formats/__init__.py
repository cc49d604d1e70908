"""Formats: each writer turns accepted samples into one format; a new one is a line in ``WRITERS``.

A writer opens once a shard, is handed the encoded samples in order and stages files in its
*places* (see ``staging``). Indexes over all shards are merged at the very end.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field

from l4f_datagen.core.sample import Sample
from l4f_datagen.dataset.formats import files, hf, objects
from l4f_datagen.dataset.formats.encoding import Encoded, Encoder, ShardWriter, encode_blocks
from l4f_datagen.dataset.formats.files import RejectedShard
from l4f_datagen.dataset.ledger import Counts, Row, ledger_row
from l4f_datagen.dataset.manifest import MergeIndex
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.io.disk import disk_failures
from l4f_datagen.recipe import OutputPart
from l4f_datagen.rendering.quota import cut_after_accepted, until_accepted


@dataclass(frozen=True)
class Writer:
    """One format: what begins a shard, what it writes, and its indexes over all shards."""

    open_shard: Callable[[Staging, OutputPart], ShardWriter]
    places: tuple[str, ...] = ()  # of a shard, templates of ``{shard:05d}``
    flat: tuple[str, ...] = ()  # folders that hold the files of all shards (see ``staging``)
    # name, with ``{split}`` for one a split with samples, to what merges it
    indexes: Mapping[str, MergeIndex] = field(default_factory=dict)


WRITERS: dict[str, Writer] = {
    "png": Writer(files.PngShard, files.PNG_PLACES),
    "coco": Writer(objects.CocoShard, objects.COCO_PLACES, indexes=objects.COCO_INDEXES),
    "hf": Writer(hf.HfShard, hf.PLACES),
    "imagefolder": Writer(
        files.ImageFolderShard, files.IMAGEFOLDER_PLACES, indexes=files.IMAGEFOLDER_INDEXES
    ),
    "webdataset": Writer(files.WebDatasetShard, files.TAR_PLACES),
    "yolo": Writer(objects.YoloShard, flat=objects.YOLO_FLAT, indexes=objects.YOLO_INDEXES),
}
"""The formats by name; ``core.sample`` has the names and what they require."""


def stage_shard(
    staging: Staging,
    blocks: Iterable[Sequence[Sample]],
    encoder: Encoder,
    pool: Executor,
    wanted: int | None,
) -> tuple[list[Row], Counts]:
    """Stage all files of a shard, to be published together; returns rows of the ledger and sums.

    Stops pulling blocks, and cuts the last one, once ``wanted`` samples are accepted (None: never).
    ValueError for samples out of order or sharing a key.
    """
    folder, doing = staging.folder, f"writing shard {staging.shard}"
    rows: list[Row] = []
    counts, keys = Counts(), set[str]()
    output = encoder.output
    opened: list[ShardWriter] = []
    rejects = RejectedShard(staging, output)
    try:
        with disk_failures(folder, doing):
            opened.extend(WRITERS[name].open_shard(staging, output) for name in output.formats)
        for block in encode_blocks(until_accepted(blocks, wanted), pool, encoder):
            left = None if wanted is None else wanted - counts.accepted
            kept = block[: len(cut_after_accepted([sample for sample, _ in block], left))]
            here = [ledger_row(sample, staging.shard) for sample, _ in kept]
            _check_order(here, rows[-1] if rows else None, keys)
            files: dict[bool, list[Encoded]] = {True: [], False: []}
            for sample, file in kept:
                if file is not None:
                    files[sample.reason is None].append(file)
            accepted = files[True]
            with disk_failures(folder, doing):
                for writer in opened:
                    writer.add(accepted)
                rejects.add(files[False])
            rows += here
            counts.add(here)
            counts.empty_masks += sum(file.coverage == 0 for file in accepted)
            counts.filled_holes += sum(file.filled_holes for file in accepted)
        with disk_failures(folder, doing):
            for writer in opened:
                writer.close()
    finally:
        for writer in opened:
            with suppress(Exception):  # closed already, or failing for the second time
                writer.close()
    return rows, counts


def _check_order(rows: Sequence[Row], before: Row | None, keys: set[str]) -> None:
    """Refuse rows out of the plan's order or with a key seen before; adds their keys."""
    last = 0 if before is None else before["image_id"]
    for row in rows:
        if row["image_id"] <= last:
            raise ValueError(f"{row['key']}: expected image_id above {last}, got {row['image_id']}")
        if row["key"] in keys:
            raise ValueError(f"{row['key']}: two samples with this key")
        last = row["image_id"]
        keys.add(row["key"])
