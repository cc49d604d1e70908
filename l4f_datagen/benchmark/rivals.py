"""Rivals: methods of others, from ``benchmark/baselines``, with what each learns from here."""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.benchmark.baselines import editing_in_style, floors, redo
from l4f_datagen.benchmark.bench import Bench, Block, Masks, Method, Prepared, claim_network
from l4f_datagen.benchmark.images import blocks_of, learnt_draws, synthesis_of
from l4f_datagen.models.generator import Synthesis
from l4f_datagen.segmenter.model import Segmenter, open_segmenter, resize, save_segmenter

REDO = redo.RedoPlan()
REDO_PICTURES = 4_000
REDO_SIDE = 128
"""ReDO's pictures are shrunk to this side, as in its paper; its masks are enlarged again."""
FITTED_VALUES = 1 << 28
"""Features clustered at most, 1 GB of them."""


def prepare_editing(bench: Bench, seed: int) -> Prepared:
    """Cluster features of samples that are not scored, others for every training seed."""
    side = editing_in_style.feature_resolution(bench.generator)
    values = 2 * bench.generator.spec.channels[side] * side**2
    number = max(1, min(editing_in_style.FITTED_SAMPLES, FITTED_VALUES // values))
    draws = learnt_draws(bench, number, seed * number)

    def batches() -> Iterator[Synthesis]:
        for block in blocks_of(draws):
            for piece in bench.renderer.pieces(block):
                yield synthesis_of(bench, piece)

    clusters = editing_in_style.fit_clusters(bench.generator, batches(), seed)

    def label(block: Block) -> Masks:
        parts = []
        for draws in bench.renderer.pieces(block.draws):
            masks = editing_in_style.cluster_masks(clusters, synthesis_of(bench, list(draws)))
            left, top, right, bottom = bench.recipe.generator.crop or (0, 0, *masks.shape[:0:-1])
            parts.append(masks[:, top:bottom, left:right])
        return np.concatenate(parts)

    return Prepared(label)


def redo_picture(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink a picture ``h w 3`` to ReDO's side; smaller ones stay."""
    height, width = image.shape[:2]
    scale = min(1.0, REDO_SIDE / max(height, width))
    stride = 8
    sides = (max(stride, round(side * scale / stride) * stride) for side in (height, width))
    return resize(image, (next(sides), next(sides)))


def prepare_redo(bench: Bench, seed: int) -> Prepared:
    """Train ReDO on samples that are not scored, or open its mask network."""
    folder = bench.network_folder("redo", seed)
    path = folder / "masker.safetensors"
    claim_network(folder, f"{redo_settings(bench)} seed {seed}")
    if not path.exists():
        plan = replace(REDO, seed=seed, steps=bench.steps or REDO.steps)
        pictures = []
        for draws in blocks_of(learnt_draws(bench, REDO_PICTURES)):
            samples = bench.renderer.render(draws)
            pictures += [redo_picture(sample.image) for sample in samples]
        images = np.stack(pictures)
        masker = redo.train_redo(images, plan).masker
        facts = {"inverted": redo.is_inverted(masker, images[:500]), "plan": asdict(plan)}
        category, licence = bench.recipe.output.category, bench.checkpoint.licence
        save_segmenter(
            path, Segmenter(masker, max(images.shape[1:3]), 0.5, category, licence, facts)
        )
    opened = open_segmenter(path)
    inverted = opened.training["inverted"] is True

    def label(block: Block) -> Masks:
        small = np.stack([redo_picture(image) for image in block.images])
        masks = redo.redo_masks(opened.network, small, inverted=inverted)
        size_hw = block.images.shape[1], block.images.shape[2]
        return np.stack([resize(mask * np.uint8(255), size_hw) > 127 for mask in masks])

    return Prepared(label)


def lacks(package: str, bench: Bench) -> str | None:
    """Say that a package of the extra is not installed."""
    if importlib.util.find_spec(package):
        return None
    return f"needs {package}: pip install scikit-image scikit-learn"


def floor(about: str, masks_of: Callable[[NDArray[np.uint8]], Masks], package: str) -> Method:
    """Build the table's entry of a method that only looks at each picture's colours."""
    prepared = Prepared(lambda block: masks_of(block.images))
    return Method(
        about,
        lambda bench, seed: prepared,
        lambda bench: "",
        lacking=partial(lacks, package),
        seeded=False,
        pictures_alone=True,
    )


def redo_settings(bench: Bench) -> str:
    """Name what decides the masks."""
    pictures = f"{REDO_PICTURES} of psi {bench.recipe.alpha.training.psi}, {REDO_SIDE} px"
    return f"{asdict(REDO)} {pictures}, steps {bench.steps}"


def editing_settings(bench: Bench) -> str:
    """Name what decides the masks."""
    shape = f"{editing_in_style.CLUSTERS} {editing_in_style.FITTED_SAMPLES} {FITTED_VALUES}"
    return f"{shape} psi {bench.recipe.alpha.training.psi}"


RIVALS = {
    "editing-in-style": Method(
        "Editing in Style (Collins et al. 2020): clusters of features",
        prepare_editing,
        editing_settings,
    ),
    "redo": Method(
        "ReDO (Chen et al. 2019): redraw a region",
        prepare_redo,
        redo_settings,
        pictures_alone=True,
    ),
    "otsu": floor(
        "Otsu's threshold on the distance to the border's colour",
        lambda images: floors.otsu_masks(images),
        "skimage",
    ),
    "colour-gmm": floor(
        "two Gaussians fitted to each picture's colours",
        lambda images: floors.colour_gmm_masks(images),
        "sklearn",
    ),
}
