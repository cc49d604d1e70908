"""Store: a dataset folder or URL, shard by shard, such that a crash at any moment loses one shard.

The order of writing makes it safe. Of a shard, files are written as ``.part`` and renamed, then its
marker is written. Indexes are removed before any shard is changed and written last, the manifest
after all others. So the files of a marker are there, the markers of an index are there, and what
has no marker is removed by the next run.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.core.progress import usable_cores
from l4f_datagen.core.sample import SPLITS, Sample
from l4f_datagen.dataset import layout, ownership
from l4f_datagen.dataset.formats import stage_shard
from l4f_datagen.dataset.formats.backgrounds import Backgrounds
from l4f_datagen.dataset.formats.encoding import Encoder
from l4f_datagen.dataset.indexes import Page, find_marker, read_markers, write_indexes
from l4f_datagen.dataset.manifest import RUN, SCHEMA, Counts, Facts, Marker, Row, Shards, dump_json
from l4f_datagen.dataset.remote import Remote
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.io import disk
from l4f_datagen.recipe import OutputPart
from l4f_datagen.rendering.quota import Share

MAX_WORKERS = 8  # threads that encode; more would only wait for the one that writes


Blocks = Iterable[Sequence[Sample]]


@dataclass
class Dataset:
    """An open dataset folder, made by ``open_dataset``.

    Shards are taken in order: each one is ``finished`` or else ``write``-n; then ``finish``.
    ``notes`` tell what was damaged and is made again, one line each.
    """

    folder: Path
    run: Mapping[str, Any]  # what is recorded of it
    pool: Executor
    encoder: Encoder
    remote: Remote | None
    notes: list[str] = field(default_factory=list)
    shards: list[int] = field(default_factory=list)

    def finished(self, shard: int, *, planned: int, wanted: int | None = None) -> Marker | None:
        """Find a shard done by an earlier run, whole and as ``write`` would make it; else None."""
        if not self.marked(shard):
            return None
        if (marker := find_marker(self.folder, shard)) is None:
            problem = "its marker is damaged"
        else:
            lost = sum(not disk.has_size(self.folder / n, size) for n, size, _ in marker.files)
            if self.remote:
                lost = self.remote.lost(self.folder, marker)
            if not lost and marker.ends_where_asked(planned, wanted):
                self.shards.append(shard)
                return marker
            problem = "has more or fewer samples than are asked for"
            problem = f"{lost} files missing or cut short" if lost else problem
        self.notes.append(f"shard {shard}: {problem}; made again")
        return None

    def write(self, shard: int, blocks: Blocks, planned: int, wanted: int | None = None) -> Marker:
        """Write one shard, of ``planned`` samples, in place of what may be left of it.

        Stops pulling blocks, and cuts the last one, once ``wanted`` samples are accepted (None:
        never). A bounded number of blocks is encoded while the next is rendered. ValueError for
        samples out of order, sharing a key, too many or too few.
        """
        doing = f"writing shard {shard}"
        with disk.disk_failures(self.folder, doing):
            layout.drop_indexes(self.folder)
            layout.drop_shard(self.folder, shard)
        if self.remote:
            places = (place.format(shard=shard) for place in (layout.MARKER, *layout.PLACES))
            self.remote.retract([*layout.INDEXES, *places])
        staging = Staging(self.folder, shard)
        try:
            rows, counts = stage_shard(staging, blocks, self.encoder, self.pool, wanted)
            full = counts.accepted == wanted
            if counts.attempted > planned or (counts.attempted < planned and not full):
                problem = f"expected {planned} samples, got {counts.attempted}"
                raise ValueError(f"shard {shard}: {problem}")
            with disk.disk_failures(self.folder, doing):
                files = staging.publish()
                marker = Marker(shard, planned, files=files, rows=rows, **counts.to_dict())
                disk.write_atomically(layout.marker_path(self.folder, shard), marker.to_bytes())
            if self.remote:
                self.remote.send_shard(self.folder, marker)
        except BaseException:
            staging.close()
            with suppress(OSError):  # what stays is swept by the next run
                layout.drop_shard(self.folder, shard)
            raise
        self.shards.append(shard)
        return marker

    def rows(self) -> Iterator[Row]:
        """Read the ledger of the shards taken so far, in the order of the plan."""
        for marker in read_markers(self.folder, self.shards):
            yield from marker.rows

    def counts(self) -> Counts:
        """Add up the ledger of the shards taken so far."""
        total = Counts()
        for marker in read_markers(self.folder, self.shards):
            if "png" in self.run["formats"] and marker.images != marker.accepted:
                problem = f"the counts of shard {marker.shard} do not add up"
                raise L4FError(os.fspath(self.folder), problem, "start over with --overwrite")
            total.add(marker.rows)
            total.empty_masks += marker.empty_masks
            total.filled_holes += marker.filled_holes
        return total

    def finish(self, facts: Facts, pages: Mapping[str, Page] | None = None) -> dict[str, Any]:
        """Write all indexes, the manifest last, and return it; other shards are removed.

        ``pages`` are content of the files named in ``layout.PAGES``, see ``write_indexes``.
        ValueError for shards left out or taken in another order, or a page of another name.
        """
        pages = pages or {}
        if self.shards != list(range(len(self.shards))):
            raise ValueError(f"expected shards 0, 1, 2 ... taken in order, got {self.shards}")
        if not set(pages) <= set(layout.PAGES):
            raise ValueError(f"expected pages among {layout.PAGES}, got {tuple(pages)}")
        counts = self.counts()
        with disk.disk_failures(self.folder, "writing the indexes"):
            for shard in sorted(layout.marked_shards(self.folder) - set(self.shards)):
                layout.drop_indexes(self.folder)
                layout.drop_shard(self.folder, shard)
            splits = [split for split in SPLITS if counts.splits[split]] or [SPLITS[0]]
            shards = Shards(self.folder, self.shards, splits, facts)
            manifest = write_indexes(shards, self.run, counts, pages)
            # Not before: a merge that is stopped begins from them again.
            disk.remove(self.folder / ownership.JOBS)
        if self.remote:
            self.remote.send_indexes(self.folder, self.shards)
            self.remote.delete(ownership.JOBS)
            self.remote.forget(self.folder)
        return manifest

    def adopt_shard(self, shard: int, *, planned: int, wanted: int | None = None) -> Marker | None:
        """Count in a shard that a guest made for this run; None where it has more than wanted."""
        if self.remote:
            self.remote.fetch_shard(self.folder, shard)
        [marker] = read_markers(self.folder, [shard])
        fits = marker.ends_where_asked(planned, wanted)
        return self.finished(shard, planned=planned, wanted=wanted) if fits else None

    def discard_shard(self, shard: int) -> None:
        """Remove what a stopped process left of a shard; a finished shard stays."""
        if not self.marked(shard):
            with disk.disk_failures(self.folder, f"removing what is left of shard {shard}"):
                layout.drop_shard(self.folder, shard)

    def fetch_images(self, keys: Mapping[str, int]) -> None:
        """Copy files of samples (key to shard) to the local folder, if the dataset is at a URL."""
        if self.remote:
            for marker in read_markers(self.folder, sorted(set(keys.values()))):
                self.remote.fetch_images(self.folder, marker, set(keys))

    def record_job(self, record: ownership.JobRecord) -> None:
        """Record that a shard job has ended; no index is written."""
        with disk.disk_failures(self.folder, "writing the record of the job"):
            name = record.write(self.folder)
        if self.remote:
            self.remote.send(self.folder, [name])

    def marked(self, shard: int) -> bool:
        """Whether a shard has a marker, be it whole or not."""
        return layout.marker_path(self.folder, shard).exists()


@contextmanager
def open_dataset(
    out: Path | str,
    *,
    recipe: str,
    recipe_hash: str,
    output: OutputPart,
    backgrounds: Backgrounds | None = None,
    overwrite: bool = False,
    share: Share | None = None,
    workers: int | None = None,
    asked: ownership.Asked | None = None,
) -> Iterator[Dataset]:
    """Open a dataset folder or URL to begin or resume it, and lock it for other processes.

    ``recipe`` is the text of ``recipe.yaml``, ``recipe_hash`` names all that decides the bytes of a
    sample, so not their number. A ``share`` is written while other jobs write the rest. ``workers``
    threads encode (None: one a usable core, at most ``MAX_WORKERS``). ``overwrite`` deletes what an
    earlier run made; other files stay. UsageError for a folder that cannot be written, is not ours,
    has another recipe, holds more samples than are ``asked`` for, or is in use.
    """
    run = {"schema": SCHEMA, "recipe": recipe, "recipe_hash": recipe_hash}
    run |= {"formats": list(output.formats), "alpha_bits": output.alpha_bits}
    remote = Remote(out) if isinstance(out, str) else None
    folder = remote.scratch(str(share or "")) if remote else Path(out)
    with ExitStack() as stack:
        try:
            if not remote:
                ownership.refuse_foreign(folder)
            lock = folder / layout.LOCK
            lock.parent.mkdir(parents=True, exist_ok=True)
            shared = bool(share and not remote)  # all jobs hold it, and each one its share alone
            stack.enter_context(ownership.folder_lock(lock, os.fspath(out), shared=shared))
            if share and not remote:
                own = folder / f"{ownership.JobRecord.name(share)}.lock"
                own.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(ownership.folder_lock(own, f"{folder} (--shard {share})"))
            if remote:
                remote.begin(folder)
            if overwrite:
                layout.clear(folder)
                disk.remove(folder / ownership.JOBS)
                if remote:
                    remote.clear()
            else:
                ownership.refuse_other_run(folder, run, os.fspath(out))
                if asked and not share:  # a share alone deletes nothing
                    ownership.refuse_fewer(folder, asked, os.fspath(out))
                layout.sweep(folder, share.owns if share else None)
            # A share does not tell anew what the whole dataset was asked for.
            recorded = (folder / RUN).exists()
            again = share and recorded
            run |= ownership.recorded_asked(folder) if again else vars(asked) if asked else {}
            record, data = folder / RUN, dump_json(run)
            if not recorded or record.read_bytes() != data:  # a resumed run need not wait
                # Jobs begin at the same moment; each renames a file of its own.
                own = folder / f"{ownership.JOBS}/{share.index}-run" if share else record
                disk.write_atomically(own, data, durable=True)
                own.replace(record)
        except OSError as error:
            if error.errno in disk.FULL:
                raise disk.disk_failure(folder, "opening it", error) from error
            problem = f"cannot be written ({error.strerror})"
            raise UsageError(os.fspath(out), problem, "choose another folder") from error
        if remote:
            remote.send(folder, [RUN])
        workers = workers or min(MAX_WORKERS, usable_cores())
        pool = stack.enter_context(ThreadPoolExecutor(workers, "encode"))
        stack.callback(pool.shutdown, cancel_futures=True)
        yield Dataset(folder, run, pool, Encoder(output, backgrounds), remote)


@contextmanager
def guest_dataset(
    out: Path | str, output: OutputPart, backgrounds: Backgrounds | None = None
) -> Iterator[Dataset]:
    """Open a dataset to write single shards for the process that has locked it."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(1, "encode"))
        remote = Remote(out) if isinstance(out, str) else None
        folder = Path(stack.enter_context(TemporaryDirectory())) if remote else Path(out)
        yield Dataset(folder, {}, pool, Encoder(output, backgrounds), remote)
