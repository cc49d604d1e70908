"""START HERE: recipe -> generator -> alpha network -> samples -> filters -> dataset."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l4f_datagen.core.progress import show_progress
from l4f_datagen.dataset.formats.backgrounds import backgrounds_of, refuse_among_backgrounds
from l4f_datagen.dataset.jobs import JobRecord
from l4f_datagen.dataset.open import open_dataset
from l4f_datagen.dataset.store import Dataset
from l4f_datagen.pipeline.job import MakeShard
from l4f_datagen.pipeline.local_engine import local_engine
from l4f_datagen.pipeline.networks import choose_devices, open_networks
from l4f_datagen.pipeline.provenance import dataset_facts, provenance
from l4f_datagen.pipeline.ray_engine import ray_engine
from l4f_datagen.recipe import Recipe
from l4f_datagen.rendering.quota import Quota
from l4f_datagen.rendering.render import Renderer, renderer_of
from l4f_datagen.rendering.share import Share, ShareQuota
from l4f_datagen.rendering.sweep import sweep_of
from l4f_datagen.report.pages import dataset_pages
from l4f_datagen.training.course import preview_png

Say = Callable[[str], None]
Engine = Callable[["Job", Renderer, Dataset, Quota], AbstractContextManager[MakeShard]]

ENGINES: dict[str, Engine] = {"local": local_engine, "ray": ray_engine}


@dataclass(frozen=True)
class Job:
    """One call of ``make``.

    Attributes:
        recipe: resolved.
        out: dataset folder, or the URL of a place as text.
        number: how many samples.
        count: whether ``number`` counts "accepted" samples or "attempts".
        device: "auto", "cpu", "cuda", "cuda:0", "mps".
        devices: several devices of one kind, in place of ``device``.
        workers: threads that render on a CPU; None takes its cores. No byte hangs on it.
        engine: a name from ``ENGINES``.
        ray_address: the cluster; None starts one here.
        share: make these shards alone, and leave the rest to other jobs and to ``merge``.
        overwrite: throw away what the folder holds.
        offline: fetch nothing.

    Raises:
        UsageError: ``out`` lies in the recipe's folder of backgrounds.
    """

    recipe: Recipe
    out: Path | str
    number: int
    count: str = "accepted"
    device: str = "auto"
    devices: tuple[str, ...] = ()
    workers: int | None = None
    engine: str = "local"
    ray_address: str | None = None
    share: Share | None = None
    overwrite: bool = False
    offline: bool = False

    def __post_init__(self) -> None:
        """Refuse a folder that would change what the recipe reads."""
        if isinstance(self.out, Path):
            refuse_among_backgrounds(self.recipe.output, self.out)


def make_dataset(job: Job, say: Say) -> dict[str, Any]:
    """Make a dataset or a share of one, or go on with it, and return its manifest.

    Raises:
        L4FError: from any stage, in words and with the exit code of its class.
    """
    recipe = job.recipe
    quota = Quota(job.number, job.count, sweep_of(recipe.sampling))
    if job.share:
        quota = ShareQuota(quota, job.share)
    backgrounds = backgrounds_of(recipe.output)
    first, *_ = choose_devices(job.devices or (job.device,))
    networks = open_networks(recipe, str(first), say, offline=job.offline)
    renderer = renderer_of(recipe, networks.generator, networks.alpha)
    origin = provenance(recipe, networks, backgrounds)
    with open_dataset(
        job.out,
        recipe=recipe.dump(),
        recipe_hash=origin["recipe_hash"],
        output=recipe.output,
        backgrounds=backgrounds,
        overwrite=job.overwrite,
        share=job.share,
    ) as dataset:
        with (
            ENGINES[job.engine](job, renderer, dataset, quota) as make_shard,
            show_progress(quota.number, job.count) as progress,
        ):
            for shard, blocks in quota.shards():
                planned = sum(map(len, blocks))
                marker = dataset.finished(shard, planned=planned, wanted=quota.wanted)
                if marker is not None:
                    progress.found(marker.accepted, marker.attempted)
                else:
                    marker = make_shard(shard, progress)
                quota.book(marker.accepted, marker.attempted, marker.rejected)
                progress.settle(quota.accepted, quota.attempted)
        for note in dataset.notes:
            say(note)
        if job.share:
            dataset.leave(JobRecord(job.share, job.number, job.count))
            return {"counts": dataset.counts().to_dict()}
        preview = preview_png(networks.alpha_run, networks.alpha_course)
        pages = dataset_pages(dataset, renderer, origin, preview)
        return dataset.finish(dataset_facts(recipe, origin), pages)
