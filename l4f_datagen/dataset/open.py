"""Opening a dataset: a folder or a URL, locked, and cleaned of what a crash left."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from l4f_datagen.core.cores import usable_cores
from l4f_datagen.core.errors import UsageError
from l4f_datagen.dataset import layout
from l4f_datagen.dataset.formats.backgrounds import Backgrounds
from l4f_datagen.dataset.formats.encoding import Encoder
from l4f_datagen.dataset.manifest import RUN, SCHEMA, dump_json
from l4f_datagen.dataset.ownership import (
    JOBS,
    Asked,
    drop_records,
    folder_lock,
    job_locks,
    recorded_asked,
    refuse_fewer,
    refuse_foreign,
    refuse_other_run,
    refuse_shared_overwrite,
)
from l4f_datagen.dataset.remote import Remote
from l4f_datagen.dataset.store import Dataset
from l4f_datagen.io.disk import FULL, disk_failure, write_atomically
from l4f_datagen.recipe import OutputPart
from l4f_datagen.rendering.quota import Share

MAX_WORKERS = 8
"""Threads that encode; more would only wait for the one that writes."""


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
    asked: Asked | None = None,
) -> Iterator[Dataset]:
    """Open a dataset folder to begin or resume it, and lock it for other processes.

    Args:
        out: a folder, made when it is not there, or the URL of a place (see ``Remote``).
        recipe: text of the resolved recipe, written to ``recipe.yaml``.
        recipe_hash: of all that decides the bytes of a sample, so not of the number of samples.
        output: what is written.
        backgrounds: the user's images for ``composites: folder``.
        overwrite: delete what an earlier run made here; other files stay.
        share: which shards are written here, while other jobs write the rest; None: all.
        workers: threads that encode; None takes one a usable core, at most ``MAX_WORKERS``.
        asked: how many samples are wanted; None does not check that none would be deleted.

    Raises:
        UsageError: a folder that cannot be written, is not ours, has another recipe, holds more
            samples than are asked for, or is in use; a share that would overwrite.
        L4FError: no space left.
    """
    refuse_shared_overwrite(overwrite, share)
    run = {"schema": SCHEMA, "recipe": recipe, "recipe_hash": recipe_hash}
    run |= {"formats": list(output.formats), "alpha_bits": output.alpha_bits}
    workers = workers or min(MAX_WORKERS, usable_cores())
    remote = Remote(out) if isinstance(out, str) else None
    folder = remote.scratch(str(share or "")) if remote else Path(out)
    with ExitStack() as stack:
        try:
            if not remote:
                refuse_foreign(folder)
            (folder / layout.LOCK).parent.mkdir(parents=True, exist_ok=True)
            lock = folder / layout.LOCK
            stack.enter_context(
                job_locks(folder, lock, share)
                if share and not remote
                else folder_lock(lock, os.fspath(out))
            )
            if remote:
                remote.begin(folder)
            if overwrite:
                layout.clear(folder)
                drop_records(folder)
                if remote:
                    remote.clear()
            else:
                refuse_other_run(folder, run, os.fspath(out))
                if asked and not share:  # a share alone deletes nothing
                    refuse_fewer(folder, asked, os.fspath(out))
                layout.sweep(folder, share.owns if share else None)
            run |= recorded_asked(folder, asked) if share else vars(asked) if asked else {}
            _record(folder, dump_json(run), share)
        except OSError as error:
            if error.errno in FULL:
                raise disk_failure(folder, "opening it", error) from error
            raise UsageError(
                os.fspath(out), f"cannot be written ({error.strerror})", "choose another folder"
            ) from error
        if remote:
            remote.send(folder, [RUN])
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


def _record(folder: Path, run: bytes, share: Share | None) -> None:
    # A resumed run need not wait for the disk again.
    path = folder / RUN
    if path.exists() and path.read_bytes() == run:
        return
    if share is None:
        write_atomically(path, run, durable=True)
        return
    # Jobs begin at the same moment; each renames a file of its own.
    own = folder / f"{JOBS}/{share.index}-run"
    write_atomically(own, run, durable=True)
    own.replace(path)
