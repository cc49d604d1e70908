"""Store: a dataset folder, shard by shard, such that a crash at any moment loses one shard.

The order is the whole trick. A shard: files as ``.part``, renamed, then the marker. Indexes go
before any shard is touched, and come back last, the manifest after all others. So a marker
promises files, an index promises markers, and whatever has no marker is swept.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from l4f_datagen.dataset import layout
from l4f_datagen.dataset.disk import FULL, disk_failure, disk_failures, has_size, write_atomically
from l4f_datagen.dataset.indexes import read_markers, write_indexes
from l4f_datagen.dataset.ledger import Counts, Row, cut_after_accepted, ledger_row
from l4f_datagen.dataset.manifest import SCHEMA, Facts, Marker, dump_json
from l4f_datagen.dataset.ownership import folder_lock, refuse_foreign, refuse_other_run
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.errors import L4FError, UsageError
from l4f_datagen.sample import Sample
from l4f_datagen.writers import WRITERS, ShardWriter, check_formats
from l4f_datagen.writers.encoding import encode_blocks

MAX_WORKERS = 4


@contextmanager
def open_dataset(
    folder: Path,
    *,
    recipe: str,
    recipe_hash: str,
    formats: Sequence[str],
    alpha_bits: int = 8,
    overwrite: bool = False,
    workers: int | None = None,
) -> Iterator["Dataset"]:
    """Open a dataset folder to begin or resume it, and hold it against other processes.

    Args:
        folder: made when it is not there.
        recipe: text of the resolved recipe, written to ``recipe.yaml``.
        recipe_hash: of all in it that decides the bytes of a sample; the count is not part of it.
        formats: names from ``WRITERS``.
        alpha_bits: 8 or 16, depth of the alpha PNGs.
        overwrite: drop what an earlier run left here; files of others stay.
        workers: threads that encode; None takes one a core, at most four.

    Raises:
        UsageError: unknown formats or bits; a folder that cannot be written, is not ours, has
            another recipe or is in use.
        L4FError: no space left.
    """
    formats = check_formats(formats)
    if alpha_bits not in (8, 16):
        raise UsageError("alpha bits", f"expected 8 or 16, got {alpha_bits}", "choose one of them")
    run = {"schema": SCHEMA, "recipe": recipe, "recipe_hash": recipe_hash}
    run |= {"formats": list(formats), "alpha_bits": alpha_bits}
    workers = workers or min(MAX_WORKERS, os.cpu_count() or 1)
    with ExitStack() as stack:
        try:
            refuse_foreign(folder)
            (folder / layout.LOCK).parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(folder_lock(folder / layout.LOCK, os.fspath(folder)))
            if overwrite:
                layout.clear(folder)
            else:
                refuse_other_run(folder, run)
                layout.sweep(folder)
            _record(folder / layout.RUN, dump_json(run))
        except OSError as error:
            if error.errno in FULL:
                raise disk_failure(folder, "opening it", error) from error
            raise UsageError(
                os.fspath(folder), f"cannot be written ({error.strerror})", "choose another folder"
            ) from error
        pool = stack.enter_context(ThreadPoolExecutor(workers, "encode"))
        stack.callback(pool.shutdown, cancel_futures=True)
        yield Dataset(folder, run, pool)


class Dataset:
    """An open dataset folder, made by ``open_dataset``.

    Shards are taken in order: each one is ``finished`` or else ``write``-n; then ``finish``.

    Attributes:
        folder: where it lies.
        notes: what was found wanting and is made again, one line each.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any], pool: Executor) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self._run, self._pool = run, pool
        self._shards: list[int] = []

    def finished(self, shard: int, *, planned: int, wanted: int | None = None) -> Marker | None:
        """Find a shard done by an earlier run, whole and as this run would make it.

        Args:
            shard: its number.
            planned: samples the plan gives it.
            wanted: accepted samples still wanted from here on; None takes all that are planned.

        Returns:
            Its marker, or None when it must be written (again).
        """
        if not layout.marker_path(self.folder, shard).exists():
            return None
        try:
            [marker] = read_markers(self.folder, [shard])
        except ValueError:
            self.notes.append(f"shard {shard}: its marker is damaged; made again")
            return None
        lost = sum(not has_size(self.folder / name, size) for name, size, _ in marker.files)
        if lost:
            self.notes.append(f"shard {shard}: {lost} files missing or cut short; made again")
            return None
        if not marker.fits(planned, wanted):
            self.notes.append(f"shard {shard}: ends elsewhere with this count; made again")
            return None
        self._shards.append(shard)
        return marker

    def write(
        self,
        shard: int,
        blocks: Iterable[Sequence[Sample]],
        *,
        planned: int,
        wanted: int | None = None,
    ) -> Marker:
        """Write one shard in place of what may be left of it.

        Stops pulling blocks, and cuts the last one, once ``wanted`` samples are accepted. While
        one block is rendered the ones before it are encoded, a bounded number of them.

        Args:
            shard: its number.
            blocks: its samples, accepted and rejected, in the order of the plan.
            planned: how many they are.
            wanted: accepted samples still wanted; None takes all.

        Raises:
            ValueError: samples out of order, sharing a key, too many or too few.
            L4FError: no space left or another failure of the disk; finished shards are kept.
        """
        doing = f"writing shard {shard}"
        with disk_failures(self.folder, doing):
            layout.drop_indexes(self.folder)
            layout.drop_shard(self.folder, shard)
        staging = Staging(self.folder, shard)
        try:
            rows, counts = self._stage(staging, blocks, wanted)
            full = counts.accepted == wanted
            if counts.attempted > planned or (counts.attempted < planned and not full):
                raise ValueError(
                    f"shard {shard}: expected {planned} samples, got {counts.attempted}"
                )
            with disk_failures(self.folder, doing):
                marker = Marker(
                    shard=shard,
                    planned=planned,
                    attempted=counts.attempted,
                    accepted=counts.accepted,
                    rejected=counts.rejected,
                    empty_masks=counts.empty_masks,
                    files=staging.publish(),
                    rows=rows,
                )
                write_atomically(layout.marker_path(self.folder, shard), marker.to_bytes())
        except BaseException:
            staging.close()
            with suppress(OSError):  # what stays is swept by the next run
                layout.drop_shard(self.folder, shard)
            raise
        self._shards.append(shard)
        return marker

    def rows(self) -> Iterator[Row]:
        """Read the ledger of the shards taken so far, in the order of the plan."""
        for marker in read_markers(self.folder, self._shards):
            yield from marker.rows

    def counts(self) -> Counts:
        """Add up the ledger of the shards taken so far.

        Raises:
            L4FError: attempted is not accepted and rejected together, or there are not as many
                images as accepted samples.
        """
        total = Counts()
        for marker in read_markers(self.folder, self._shards):
            here = Counts(empty_masks=marker.empty_masks)
            here.add(marker.rows)
            images = sum(name.startswith("images/") for name, _, _ in marker.files)
            if (
                (marker.attempted, marker.accepted) != (here.attempted, here.accepted)
                or marker.attempted != marker.accepted + sum(marker.rejected.values())
                or ("png" in self._run["formats"] and images != marker.accepted)
            ):
                raise L4FError(
                    os.fspath(self.folder),
                    f"the counts of shard {marker.shard} do not add up",
                    "start over with --overwrite",
                )
            total.merge(here)
        return total

    def finish(self, facts: Facts, pages: Mapping[str, bytes] | None = None) -> dict[str, Any]:
        """Write all indexes, the manifest last; shards that were not taken are removed.

        Args:
            facts: what goes into COCO and the manifest.
            pages: content of ``README.md`` and ``contact_sheet.png``, as far as there is one.

        Returns:
            The manifest.

        Raises:
            ValueError: shards left out, or a page of another name.
            L4FError: counts that do not add up; no space left.
        """
        pages = pages or {}
        if self._shards != list(range(len(self._shards))):
            raise ValueError(f"expected shards from 0 on without gaps, got {self._shards}")
        if not set(pages) <= set(layout.PAGES):
            raise ValueError(f"expected pages among {layout.PAGES}, got {tuple(pages)}")
        counts = self.counts()
        with disk_failures(self.folder, "writing the indexes"):
            for shard in sorted(layout.marked_shards(self.folder) - set(self._shards)):
                layout.drop_indexes(self.folder)
                layout.drop_shard(self.folder, shard)
            return write_indexes(self.folder, self._shards, self._run, facts, counts, pages)

    def _stage(
        self, staging: Staging, blocks: Iterable[Sequence[Sample]], wanted: int | None
    ) -> tuple[list[Row], Counts]:
        doing = f"writing shard {staging.shard}"
        rows: list[Row] = []
        counts, keys = Counts(), set[str]()
        opened: list[ShardWriter] = []
        try:
            with disk_failures(self.folder, doing):
                opened.extend(WRITERS[name].open_shard(staging) for name in self._run["formats"])
            encoded = encode_blocks(blocks, self._pool, alpha_bits=self._run["alpha_bits"])
            for block in encoded:
                left = None if wanted is None else wanted - counts.accepted
                kept = block[: len(cut_after_accepted([sample for sample, _ in block], left))]
                here = [ledger_row(sample, staging.shard) for sample, _ in kept]
                _check_order(here, rows[-1] if rows else None, keys)
                files = [file for _, file in kept if file is not None]
                with disk_failures(self.folder, doing):
                    for writer in opened:
                        writer.add(files)
                rows += here
                counts.add(here)
                counts.empty_masks += sum(file.coverage == 0 for file in files)
                if counts.accepted == wanted:
                    break
            with disk_failures(self.folder, doing):
                for writer in opened:
                    writer.close()
        finally:
            for writer in opened:
                with suppress(Exception):  # closed already, or failing for the second time
                    writer.close()
        return rows, counts


def _record(path: Path, run: bytes) -> None:
    # A resumed run need not wait for the disk again.
    if not path.exists() or path.read_bytes() != run:
        write_atomically(path, run, durable=True)


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
