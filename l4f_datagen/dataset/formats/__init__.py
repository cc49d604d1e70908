"""Formats: each writer turns accepted samples into one format; a new one is a line in ``WRITERS``.

A writer opens once a shard, is handed the encoded samples in order and stages files in its
*places* (see ``staging``). Indexes over all shards are merged at the very end.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from contextlib import suppress

from l4f_datagen.core.sample import Sample
from l4f_datagen.dataset.formats import files, hf, objects
from l4f_datagen.dataset.formats.encoding import Encoder, ShardWriter, encode_blocks
from l4f_datagen.dataset.manifest import Counts, Row, ledger_row
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.io.disk import disk_failures
from l4f_datagen.rendering.quota import until_accepted

WRITERS: dict[str, type[ShardWriter]] = {
    "png": files.PngShard,
    "coco": objects.CocoShard,
    "hf": hf.HfShard,
    "imagefolder": files.ImageFolderShard,
    "webdataset": files.WebDatasetShard,
    "yolo": objects.YoloShard,
}
"""The formats by name; ``core.sample`` has the names and what they require."""


def stage_shard(
    staging: Staging,
    blocks: Iterable[Sequence[Sample]],
    encoder: Encoder,
    pool: Executor,
    wanted: int | None,
) -> tuple[list[Row], Counts]:
    """Stage all files of a shard; returns rows of the ledger and sums. See ``Dataset.write``."""
    folder, doing, output = staging.folder, f"writing shard {staging.shard}", encoder.output
    rows: list[Row] = []
    counts, keys, last = Counts(), set[str](), 0
    writers: list[ShardWriter] = []
    rejects = files.RejectedShard(staging, output)
    try:
        with disk_failures(folder, doing):
            writers.extend(WRITERS[name](staging, output) for name in output.formats)
        for block in encode_blocks(until_accepted(blocks, wanted), pool, encoder):
            for sample, _ in block:
                if sample.image_id <= last:
                    problem = f"expected image_id above {last}, got {sample.image_id}"
                    raise ValueError(f"{sample.key}: {problem}")
                if sample.key in keys:
                    raise ValueError(f"{sample.key}: two samples with this key")
                last = sample.image_id
                keys.add(sample.key)
            accepted = [one for sample, one in block if one and sample.reason is None]
            with disk_failures(folder, doing):
                for writer in writers:
                    writer.add(accepted)
                rejects.add([one for sample, one in block if one and sample.reason is not None])
            here = [ledger_row(sample, staging.shard) for sample, _ in block]
            rows += here
            counts.add(here)
            counts.empty_masks += sum(one.coverage == 0 for one in accepted)
            counts.filled_holes += sum(
                found.num_holes for one in accepted for found in one.instances
            )
        with disk_failures(folder, doing):
            for writer in writers:
                writer.close()
    finally:
        for writer in writers:
            with suppress(Exception):  # closed already, or failing for the second time
                writer.close()
    return rows, counts
