"""Images of a run for the eye: samples beside muted backgrounds, and the nearest photographs."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.core.sample import image_to_uint8
from l4f_datagen.io.figures import PAPER, explained, save_png, sheet
from l4f_datagen.models.generator import Generator
from l4f_datagen.models.unet import to_tensor
from l4f_datagen.pretraining.distance import Features, sample_images

SHEET_PX = 512  # side of one half of a sheet: what fits on a screen beside its twin
SHEET_TITLE = "Generator after {shown}: the same seeds whole and muted, psi 1, seeds from 0"
SHEET_NOTES = (
    "Left: what the generator draws; good are objects you recognise, each different. Right: the "
    "same with the trunk muted, the backgrounds of the alpha network's training; good is bare "
    "ground. Where the object stays on the right, labels will fail."
)
HALVES_GAP_PX = 8
NEAREST_TITLE = "One sample a row, and the photographs that are nearest to it"
NEAREST_NOTES = (
    "Good: relatives, which differ in shape, colour or place. Bad: twins; the generator has learnt "
    "photographs by heart and needs more of them or a shorter training."
)
NEAREST_COLUMNS = ("sample", "nearest", "second", "third")
NEAREST_ROWS, NEAREST_SAMPLES = 8, 64


def write_sheet(generator: Generator, path: Path, shown: str) -> None:
    """Save samples at psi 1 (left) beside the muted backgrounds of the same z (right).

    The backgrounds are what the alpha network is trained with: where they show the object, the
    method fails. ``shown`` says in words how long the training was, for the title.
    """
    side = generator.spec.resolution
    across = max(2, SHEET_PX // side)
    halves = []
    for mute in (None, "conv1"):
        tiles = _pixels(sample_images(generator, across * across, mute))
        rows = tiles.reshape(across, across, side, side, 3).swapaxes(1, 2)
        halves.append(rows.reshape(across * side, across * side, 3))
    gap = np.full_like(halves[0][:, :HALVES_GAP_PX], PAPER)
    page = Image.fromarray(np.concatenate([halves[0], gap, halves[1]], axis=1))
    columns = ("samples", "the same z, trunk muted")
    save_png(explained(page, SHEET_TITLE.format(shown=shown), SHEET_NOTES, columns=columns), path)


def write_nearest(
    generator: Generator, photographs: NDArray[np.uint8], features: Features, path: Path
) -> float:
    """Save samples, each with its nearest photographs, and return the share that look like copies.

    A sample counts as a copy where it is nearer to a photograph ``h w 3`` than 99 of 100
    photographs are to their nearest neighbours.
    """
    images = sample_images(generator, NEAREST_SAMPLES)
    real, fake = features.of(to_tensor(np.array(photographs))), features.of(images)
    gaps, among = _squared_distances(fake, real), _squared_distances(real, real)
    np.fill_diagonal(among, np.inf)
    limit = np.quantile(among.min(axis=1), 0.01)
    order = np.argsort(gaps, axis=1)[:, : len(NEAREST_COLUMNS) - 1]
    shown = _pixels(images[:NEAREST_ROWS])
    tiles = [[one, *photographs[near]] for one, near in zip(shown, order, strict=False)]
    seeds = [f"seed {k}" for k in range(NEAREST_ROWS)]
    titles = (NEAREST_TITLE, NEAREST_NOTES)
    save_png(explained(sheet(tiles), *titles, columns=NEAREST_COLUMNS, rows=seeds), path)
    return float((gaps.min(axis=1) < limit).mean())


def _squared_distances(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ``n m`` squared Euclidean distances, by one product: thousands fill a square."""
    own = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None]
    distances: NDArray[np.float64] = np.maximum(own - 2 * first @ second.T, 0)
    return distances


def _pixels(images: torch.Tensor) -> NDArray[np.uint8]:
    """Return ``n h w 3`` uint8 for ``n 3 h w`` in [-1, 1]."""
    pixels: NDArray[np.uint8] = image_to_uint8(images).permute(0, 2, 3, 1).numpy()
    return pixels
