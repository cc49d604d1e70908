"""One shard: its blocks encoded and handed to the writers, its rows for the ledger."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from contextlib import suppress

from l4f_datagen.core.sample import Sample
from l4f_datagen.dataset.formats import WRITERS, ShardWriter
from l4f_datagen.dataset.formats.encoding import Encoded, Encoder, encode_blocks
from l4f_datagen.dataset.formats.rejected import RejectedShard
from l4f_datagen.dataset.ledger import (
    Counts,
    Row,
    cut_after_accepted,
    ledger_row,
    until_accepted,
)
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.io.disk import disk_failures


def stage_shard(
    staging: Staging,
    blocks: Iterable[Sequence[Sample]],
    encoder: Encoder,
    pool: Executor,
    wanted: int | None,
) -> tuple[list[Row], Counts]:
    """Stage all files of a shard, to be published together.

    Stops pulling blocks, and cuts the last one, once ``wanted`` samples are accepted.

    Args:
        staging: of the shard.
        blocks: samples, accepted and rejected, in the order of the plan.
        encoder: of the dataset.
        pool: threads that encode.
        wanted: accepted samples still wanted; None takes all.

    Returns:
        The rows of the ledger and their sums.

    Raises:
        ValueError: samples out of order or sharing a key.
        L4FError: no space left or another failure of the disk.
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
