"""START HERE: recipe -> generator -> alpha network -> samples -> filters -> dataset."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from l4f_datagen.dataset.store import open_dataset
from l4f_datagen.provenance import dataset_facts, provenance
from l4f_datagen.recipe import Recipe
from l4f_datagen.report.pages import dataset_pages
from l4f_datagen.sample import Sample
from l4f_datagen.sampling.filters import judge, open_filters
from l4f_datagen.sampling.quota import Quota
from l4f_datagen.sampling.render import Renderer, renderer_of
from l4f_datagen.sampling.sweep import Draw, sweep_of
from l4f_datagen.weights import open_networks

Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """One call of ``make``.

    Attributes:
        recipe: resolved.
        out: dataset folder.
        number: how many samples.
        count: whether ``number`` counts "accepted" samples or "attempts".
        device: "auto", "cpu", "cuda", "cuda:0", "mps".
        overwrite: throw away what the folder holds.
        offline: fetch nothing.
    """

    recipe: Recipe
    out: Path
    number: int
    count: str = "accepted"
    device: str = "auto"
    overwrite: bool = False
    offline: bool = False


def make_dataset(job: Job, say: Say) -> dict[str, Any]:
    """Make a dataset, or go on with one, and return its manifest.

    Raises:
        L4FError: from any stage, in words and with the exit code of its class.
    """
    recipe = job.recipe
    quota = Quota(job.number, job.count, sweep_of(recipe.sampling))
    networks = open_networks(recipe, job.device, say, offline=job.offline)
    renderer = renderer_of(recipe, networks.generator, networks.alpha)
    origin = provenance(recipe, networks)
    with open_dataset(
        job.out,
        recipe=recipe.dump(),
        recipe_hash=origin["recipe_hash"],
        formats=recipe.output.formats,
        alpha_bits=recipe.output.alpha_bits,
        overwrite=job.overwrite,
    ) as dataset:
        with tqdm(total=job.number, desc="make", unit="sample", disable=None) as bar:
            for shard, blocks in quota.shards():
                planned = sum(map(len, blocks))
                marker = dataset.finished(shard, planned=planned, wanted=quota.wanted)
                if marker is None:
                    samples = labelled(renderer, recipe, blocks, bar, quota)
                    marker = dataset.write(shard, samples, planned=planned, wanted=quota.wanted)
                quota.book(marker.accepted, marker.attempted)
                bar.update(quota.done - bar.n)
        for note in dataset.notes:
            say(note)
        pages = dataset_pages(dataset, renderer, origin)
        return dataset.finish(dataset_facts(recipe, origin), pages)


def labelled(
    renderer: Renderer, recipe: Recipe, blocks: list[list[Draw]], bar: "tqdm[Any]", quota: Quota
) -> Iterator[list[Sample]]:
    """Render blocks one after the other; the filters judge every sample."""
    filters = open_filters(recipe.filters)
    for block in blocks:
        samples = [judge(sample, filters) for sample in renderer.render(block)]
        yield samples
        kept = sum(sample.reason is None for sample in samples)
        bar.update(min(kept, quota.number - bar.n))
