"""Supervised nets: on renders with exact masks (pseudo-truth, ceiling), on generated labels."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from l4f_datagen.benchmark.alphas import ALPHAS
from l4f_datagen.benchmark.bench import Bench, Block, Masks, Method, Prepared
from l4f_datagen.benchmark.images import blocks_of, learnt_draws
from l4f_datagen.core.masks import alpha_to_mask
from l4f_datagen.models.unet import UNet
from l4f_datagen.segmenter.augmentation import Augmentation
from l4f_datagen.segmenter.model import open_segmenter
from l4f_datagen.segmenter.run import Material, run_training
from l4f_datagen.segmenter.training import Arrays, Batch, Plan, predict
from l4f_datagen.toys.scene import HELD_OUT_SEED, render_scenes

THRESHOLD = 0.5


@dataclass(frozen=True)
class Lessons:
    """How the supervised nets learn and are examined.

    Attributes:
        scenes: renders with exact masks to learn from, scene seeds from 0.
        samples: generated pictures with labels of the full method to learn from.
        steps: of AdamW.
        exam_scenes: renders never learnt from, scene seeds from ``HELD_OUT_SEED``.
    """

    scenes: int = 12_000
    samples: int = 5_000
    steps: int = 1_000
    exam_scenes: int = 4_000


LESSONS = Lessons()
NONE = Arrays(np.zeros((0, 1, 1, 3), np.uint8), np.zeros((0, 1, 1), np.float32))


class Lazily:
    """Samples that are made when the first batch is asked for: not where all is trained already.

    Args:
        count: how many.
        make: makes them.
    """

    def __init__(self, count: int, make: Callable[[], Arrays]) -> None:
        self.count, self._make = count, make

    @cached_property
    def _arrays(self) -> Arrays:
        return self._make()

    def __len__(self) -> int:
        return self.count

    def batch(self, picked: NDArray[np.int64]) -> Batch:
        """Return the samples at these places."""
        return self._arrays.batch(picked)


def render(seeds: range, side: int, domain: str) -> Arrays:
    """Render scenes with their exact alphas."""
    workers = torch.get_num_threads()
    images = np.zeros((len(seeds), side, side, 3), np.uint8)
    alphas = np.zeros((len(seeds), side, side), np.float32)
    for k, scene in enumerate(render_scenes(seeds, side, workers, domain)):
        images[k], alphas[k] = scene.image, scene.alpha
    return Arrays(images, alphas)


def exam(bench: Bench, number: int) -> Arrays:
    """Render scenes that no net has learnt from."""
    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + number)
    return render(seeds, bench.generator.spec.resolution, bench.recipe.domain)


def lesson_plan(bench: Bench, seed: int, steps: int | None) -> Plan:
    """Return the training of a net.

    All pictures show the object at one scale: zooming would only blur what is asked of the net.
    """
    return Plan(seed=seed, steps=steps or LESSONS.steps, augmentation=Augmentation(moved=0))


def learn_from_renders(bench: Bench, seed: int, folder: Path, steps: int | None = None) -> UNet:
    """Train a net on renders with exact masks, or open it where it is trained."""
    domain, side = bench.recipe.domain, bench.generator.spec.resolution
    scenes = Lazily(LESSONS.scenes, lambda: render(range(LESSONS.scenes), side, domain))
    facts = {"renders of": domain, "scenes": LESSONS.scenes, "side": side}
    return learn(bench, scenes, facts, lesson_plan(bench, seed, steps), folder)


def learn(bench: Bench, source: Lazily, facts: dict[str, object], plan: Plan, folder: Path) -> UNet:
    """Train a net in its folder on the bench's device, or open it where it is trained."""
    device = bench.generator.w_avg.device
    licence = bench.checkpoint.licence
    material = Material(
        source, NONE, max(bench.size_hw), bench.recipe.output.category, licence, facts
    )
    file = run_training(material, plan, folder, device=device)
    return open_segmenter(file, device).network


def mask(net: UNet, block: Block) -> Masks:
    """Mask pictures with a net."""
    found: Masks = alpha_to_mask(predict(net, block.images, batch=8), THRESHOLD)
    return found


def prepare_supervised(bench: Bench, seed: int) -> Prepared:
    """Train on the renders the truth's net learnt from, with another seed than that one's 0."""
    folder = bench.network_folder("supervised", seed)
    return Prepared(partial(mask, learn_from_renders(bench, seed + 1, folder, bench.steps)))


def prepare_segmenter(bench: Bench, seed: int) -> Prepared:
    """Train on pictures that the full method of the same training seed has labelled."""
    full = ALPHAS["full"].prepare(bench, seed)

    def labelled() -> Arrays:
        images, masks = [], []
        for draws in blocks_of(learnt_draws(bench, LESSONS.samples)):
            pictures = np.stack([sample.image for sample in bench.renderer.render(draws)])
            images.append(pictures)
            masks.append(full.label(Block(draws, pictures)))
        return Arrays(np.concatenate(images), np.concatenate(masks).astype(np.float32))

    facts = {"labels of": ALPHAS["full"].settings(bench), "samples": LESSONS.samples, "seed": seed}
    net = learn(
        bench,
        Lazily(LESSONS.samples, labelled),
        facts,
        lesson_plan(bench, seed, bench.steps),
        bench.network_folder("segmenter", seed),
    )
    return Prepared(partial(mask, net), full.collapse)


def settings(bench: Bench) -> str:
    """Name what decides the masks."""
    return f"{asdict(LESSONS)} {asdict(lesson_plan(bench, 0, bench.steps))}"


def lacks_renders(bench: Bench) -> str | None:
    """Say what a net that learns from renders lacks."""
    return None if bench.is_toy else "needs renders with exact masks, which toy domains alone have"


def lacks_stride(bench: Bench) -> str | None:
    """Say what a U-Net lacks."""
    stride = UNet().stride
    if any(side % stride for side in bench.size_hw):
        return f"needs pictures whose sides are multiples of {stride} px"
    return None


SUPERVISED = {
    "segmenter": Method(
        "a U-Net that learnt from labels of full",
        prepare_segmenter,
        lambda bench: f"{settings(bench)} {ALPHAS['full'].settings(bench)}",
        lacking=lacks_stride,
        check=ALPHAS["full"].check,
        pictures_alone=True,
    ),
    "supervised": Method(
        "a U-Net that learnt from exact masks",
        prepare_supervised,
        settings,
        lacking=lacks_renders,
        pictures_alone=True,
    ),
}
