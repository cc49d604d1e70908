"""START HERE: recipe -> generator -> alpha network -> samples -> filters -> dataset."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from l4f_datagen.core.progress import Progress
from l4f_datagen.dataset.formats.backgrounds import backgrounds_of
from l4f_datagen.dataset.manifest import Facts
from l4f_datagen.dataset.ownership import Asked, JobRecord, refuse_shared_overwrite
from l4f_datagen.dataset.store import Dataset, open_dataset
from l4f_datagen.models.devices import choose_devices
from l4f_datagen.pipeline.config import MakeConfig, MakeShard
from l4f_datagen.pipeline.local_engine import local_engine
from l4f_datagen.pipeline.networks import Doubts, obtain_networks
from l4f_datagen.pipeline.provenance import provenance
from l4f_datagen.pipeline.ray_engine import ray_engine
from l4f_datagen.rendering.plan import sweep_of
from l4f_datagen.rendering.quota import Quota
from l4f_datagen.rendering.render import Renderer
from l4f_datagen.report.pages import dataset_pages
from l4f_datagen.training.history import preview_png

logger = logging.getLogger(__name__)

Engine = Callable[[MakeConfig, Renderer, Dataset, Quota], AbstractContextManager[MakeShard]]
ENGINES: dict[str, Engine] = {"local": local_engine, "ray": ray_engine}


def make_dataset(job: MakeConfig) -> dict[str, Any]:
    """Make a dataset or a share of one, or go on with it, and return its manifest.

    L4FError from any stage, in words and with the exit code of its class.
    """
    refuse_shared_overwrite(job.overwrite, job.share)
    recipe = job.recipe
    quota = Quota(job.number, job.count, sweep_of(recipe.sampling), job.share)
    backgrounds = backgrounds_of(recipe.output)
    first, *_ = choose_devices(job.devices or (job.device,))
    doubts: Doubts = "warn" if job.accept_doubtful_alpha else "refuse"
    networks = obtain_networks(recipe, str(first), offline=job.offline, doubts=doubts)
    renderer = networks.renderer
    origin = provenance(recipe, networks, backgrounds)
    made = 0
    with open_dataset(
        job.out,
        recipe=recipe.dump(),
        recipe_hash=origin["recipe_hash"],
        output=recipe.output,
        backgrounds=backgrounds,
        overwrite=job.overwrite,
        share=job.share,
        asked=Asked(job.number, job.count),
    ) as dataset:
        with (
            ENGINES[job.engine](job, renderer, dataset, quota) as make_shard,
            Progress(quota.number, job.count) as progress,
        ):
            for shard, blocks in quota.shards():
                planned = sum(map(len, blocks))
                marker = dataset.finished(shard, planned=planned, wanted=quota.wanted)
                if marker is not None:
                    progress.found(marker.accepted, marker.attempted)
                else:
                    marker, made = make_shard(shard, progress), made + 1
                quota.book(marker.accepted, marker.attempted, marker.rejected)
                progress.settle(quota.accepted, quota.attempted)
        for note in dataset.notes:
            logger.info(note)
        if not made:
            logger.info(f"{job.out} is finished already: nothing was left to do")
        if job.share:
            dataset.record_job(JobRecord(job.share, job.number, job.count))
            return {"counts": dataset.counts().to_dict()}
        preview = preview_png(networks.alpha_run, networks.alpha_course)
        pages = dataset_pages(dataset, renderer, preview)
        facts = Facts(
            recipe.output.category,
            recipe.output.mask_threshold,
            licence=origin["licence"]["name"],
            licence_url=origin["licence"]["link"] or "",
            description=recipe.description,
            provenance=origin,
        )
        return dataset.finish(facts, pages)
