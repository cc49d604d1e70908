"""Methods: the baselines of ``baselines/`` as methods, and the table of all methods."""

import difflib
import importlib.util
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.benchmark.alphas import ALPHAS
from l4f_datagen.benchmark.baselines import colours, editing_in_style, redo
from l4f_datagen.benchmark.bench import (
    Bench,
    Block,
    Masks,
    Method,
    Prepared,
    blocks_of,
    claim_network,
)
from l4f_datagen.benchmark.supervised import SUPERVISED
from l4f_datagen.core.errors import UsageError
from l4f_datagen.models.generator import Synthesis
from l4f_datagen.segmenter.model import Segmenter, open_segmenter, resize, save_segmenter

logger = logging.getLogger(__name__)

REDO = redo.RedoPlan()
REDO_IMAGES = 4_000
REDO_SIDE = 128
"""Longer side of the images that ReDO sees, as in its paper; its masks are enlarged again."""
CLUSTERED_VALUES = 1 << 28
"""Feature values that are clustered at most: 1 GB of float32."""


def prepare_editing(bench: Bench, seed: int) -> Prepared:
    """Cluster features of samples that are not scored, other ones for every training seed."""
    side = editing_in_style.feature_resolution(bench.generator)
    values = 2 * bench.generator.spec.channels[side] * side**2  # two layers a resolution
    number = max(1, min(bench.sized(editing_in_style.FITTED_SAMPLES), CLUSTERED_VALUES // values))
    draws = bench.training_draws(number, seed * number)

    def batches() -> Iterator[Synthesis]:
        for block in blocks_of(draws):
            yield from map(bench.synthesis, bench.renderer.pieces(block))

    clusters = editing_in_style.fit_clusters(bench.generator, batches(), seed)

    def label(block: Block) -> Masks:
        parts = []
        for draws in bench.renderer.pieces(block.draws):
            masks = editing_in_style.cluster_masks(clusters, bench.synthesis(draws))
            left, top, right, bottom = bench.recipe.generator.crop or (0, 0, *masks.shape[:0:-1])
            parts.append(masks[:, top:bottom, left:right])
        return np.concatenate(parts)

    return Prepared(label)


def editing_settings(bench: Bench) -> str:
    """Name what decides the masks."""
    samples = bench.sized(editing_in_style.FITTED_SAMPLES)
    shape = f"{editing_in_style.CLUSTERS} {samples} {CLUSTERED_VALUES}"
    return f"{shape} psi {bench.recipe.alpha.training.psi}"


def redo_image(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink an image ``h w 3`` to ReDO's side and to multiples of 8; smaller ones stay."""
    height, width = image.shape[:2]
    scale = min(1.0, REDO_SIDE / max(height, width))
    rows, columns = (max(8, round(side * scale / 8) * 8) for side in (height, width))
    return resize(image, (rows, columns))


def prepare_redo(bench: Bench, seed: int) -> Prepared:
    """Train ReDO on samples that are not scored, or open its mask network."""
    folder = bench.network_folder("redo", seed)
    path = folder / "masker.safetensors"
    claim_network(folder, f"{redo_settings(bench)} seed {seed}")
    if not path.exists():
        plan = replace(REDO, seed=seed, steps=bench.config.steps or REDO.steps)
        blocks = map(
            bench.renderer.render, blocks_of(bench.training_draws(bench.sized(REDO_IMAGES)))
        )
        images = np.stack([redo_image(sample.image) for block in blocks for sample in block])
        masker = redo.train_redo(images, plan).masker
        facts = {"inverted": redo.is_inverted(masker, images[:500]), "plan": asdict(plan)}
        category, licence = bench.recipe.output.category, bench.checkpoint.licence
        side = max(images.shape[1:3])
        save_segmenter(path, Segmenter(masker, side, 0.5, category, licence, facts))
    opened = open_segmenter(path)
    inverted = opened.training["inverted"] is True

    def label(block: Block) -> Masks:
        small = np.stack([redo_image(image) for image in block.images])
        masks = redo.redo_masks(opened.network, small, inverted=inverted)
        size_hw = block.images.shape[1], block.images.shape[2]
        return np.stack([resize(mask * np.uint8(255), size_hw) > 127 for mask in masks])

    return Prepared(label)


def redo_settings(bench: Bench) -> str:
    """Name what decides the masks."""
    images = f"{bench.sized(REDO_IMAGES)} of psi {bench.recipe.alpha.training.psi}, {REDO_SIDE} px"
    return f"{asdict(REDO)} {images}, steps {bench.config.steps}"


def colour_method(masks_of: Callable[[NDArray[np.uint8]], Masks], package: str) -> Method:
    """Build the table's entry of a method that only looks at each image's colours."""

    def lacking(_: Bench) -> str | None:
        if importlib.util.find_spec(package):
            return None
        return f"needs {package}: pip install scikit-image scikit-learn"

    prepared = Prepared(lambda block: masks_of(block.images))
    return Method(
        lambda *_: prepared, lambda _: "", lacking=lacking, seeded=False, takes_renders=True
    )


BASELINES = {
    "editing-in-style": Method(prepare_editing, editing_settings),
    "redo": Method(prepare_redo, redo_settings, takes_renders=True),
    "otsu": colour_method(lambda images: colours.otsu_masks(images), "skimage"),
    "colour-gmm": colour_method(lambda images: colours.gmm_masks(images), "sklearn"),
}

METHODS: dict[str, Method] = ALPHAS | BASELINES | SUPERVISED


def check_names(names: Sequence[str]) -> None:
    """Check the names of methods.

    Raises:
        UsageError: an unknown name, or one given twice.
    """
    for name in names:
        if name not in METHODS:
            near = difflib.get_close_matches(name, METHODS, n=1, cutoff=0.4)
            remedy = f"did you mean {near[0]}?" if near else f"choose from {', '.join(METHODS)}"
            raise UsageError(f"--methods {name}", "no such method", remedy)
        if list(names).count(name) > 1:
            raise UsageError(f"--methods {name}", "is given twice", "give it once")


def choose_methods(bench: Bench, names: Sequence[str] | None) -> dict[str, Method]:
    """Return the named methods, or all that can run here; methods left out are logged.

    Raises:
        UsageError: a named method cannot run here.
    """
    if names is not None:
        for name in names:
            lacking = METHODS[name].lacking(bench)
            if lacking:
                raise UsageError(f"--methods {name}", lacking, "or leave it out")
        return {name: METHODS[name] for name in names}
    chosen = {}
    for name, method in METHODS.items():
        lacking, same_as = method.lacking(bench), method.same_as(bench)
        if lacking:
            logger.info(f"left out: {name} {lacking}")
        elif same_as:
            logger.info(f"left out: {name} is what {same_as} does in this recipe")
        else:
            chosen[name] = method
    return chosen
