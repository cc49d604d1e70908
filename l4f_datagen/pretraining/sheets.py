"""Images of a run for the eye: samples beside muted backgrounds, and the nearest photographs."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.core.sample import image_to_uint8
from l4f_datagen.io.figures import PAPER, explained, save_png, sheet
from l4f_datagen.models.generator import Generator, Mute, draw_z
from l4f_datagen.pretraining.distance import Features

SHEET_PX = 512
"""Side of one half of a sheet: what fits on a screen beside its twin."""
SHEET_TITLE = "Generator after {shown}: the same seeds whole and muted, psi 1, seeds from 0"
SHEET_NOTES = (
    "Left: what the generator draws; good are objects you recognise, each different. Right: the "
    "same with the trunk muted, the backgrounds of the alpha network's training; good is bare "
    "ground. Where the object stays on the right, labels will fail."
)
HALVES_GAP_PX = 8
NEAREST = 3
NEAREST_TITLE = "One sample a row, and the photographs that are nearest to it"
NEAREST_NOTES = (
    "Good: relatives, which differ in shape, colour or place. Bad: twins; the generator has learnt "
    "photographs by heart and needs more of them or a shorter training."
)
BATCH = 32


@torch.no_grad()
def sample_images(generator: Generator, seeds: range, mute: Mute | None = None) -> torch.Tensor:
    """Return ``n 3 h w`` in [-1, 1] at psi 1 with the constant noise, on the CPU."""
    parts = []
    for start in range(seeds.start, seeds.stop, BATCH):
        z = torch.from_numpy(
            draw_z(range(start, min(start + BATCH, seeds.stop)), generator.spec.z_dim)
        )
        image = generator(z.to(generator.w_avg.device), mute=mute).image
        parts.append(image.clamp(-1, 1).cpu())
    return torch.cat(parts)


def write_sheet(generator: Generator, path: Path, shown: str = "training") -> None:
    """Save samples at psi 1 (left) beside the muted backgrounds of the same z (right).

    The backgrounds are what the alpha network is trained with: a bare ground is good; where they
    show the object, the method fails.

    Args:
        generator: whose samples are drawn.
        path: the PNG.
        shown: the state of the training in words, for the title.
    """
    across = max(2, SHEET_PX // generator.spec.resolution)
    seeds = range(across * across)
    whole, muted = (
        tiled(to_pixels(sample_images(generator, seeds, mute)), across) for mute in (None, "conv1")
    )
    gap = np.full_like(whole[:, :HALVES_GAP_PX], PAPER)
    halves = Image.fromarray(np.concatenate([whole, gap, muted], axis=1))
    columns = ("samples", "the same z, trunk muted")
    title = SHEET_TITLE.format(shown=shown)
    save_png(explained(halves, title, SHEET_NOTES, columns=columns), path)


def write_nearest(
    generator: Generator, photographs: NDArray[np.uint8], features: Features, path: Path
) -> float:
    """Save samples, each with its nearest photographs, and return the share that look like copies.

    A sample counts as a copy where it is nearer to a photograph than 99 of 100 photographs are to
    their nearest neighbours.

    Args:
        generator: whose samples are looked at.
        photographs: ``n h w 3`` uint8.
        features: of the distance.
        path: of the sheet.
    """
    rows = 8
    images = sample_images(generator, range(rows * 8))
    real = features.of(to_images(photographs))
    fake = features.of(images)
    gaps = squared_distances(fake, real)
    among = squared_distances(real, real)
    np.fill_diagonal(among, np.inf)
    limit = np.quantile(among.min(axis=1), 0.01)
    order = np.argsort(gaps, axis=1)[:rows, :NEAREST]
    tiles = [[to_pixels(images[k : k + 1])[0], *photographs[order[k]]] for k in range(rows)]
    columns = ("sample", "nearest", *("second", "third")[: NEAREST - 1])
    seeds = [f"seed {k}" for k in range(rows)]
    page = explained(sheet(tiles), NEAREST_TITLE, NEAREST_NOTES, columns=columns, rows=seeds)
    save_png(page, path)
    return float((gaps.min(axis=1) < limit).mean())


def squared_distances(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ``n m`` squared Euclidean distances."""
    own = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None]
    distances: NDArray[np.float64] = np.maximum(own - 2 * first @ second.T, 0)
    return distances


def to_pixels(images: torch.Tensor) -> NDArray[np.uint8]:
    """Return ``n h w 3`` uint8 for ``n 3 h w`` in [-1, 1]."""
    pixels: NDArray[np.uint8] = image_to_uint8(images).permute(0, 2, 3, 1).numpy()
    return pixels


def to_images(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Return ``n 3 h w`` in [-1, 1] for ``n h w 3`` uint8."""
    return torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def tiled(tiles: NDArray[np.uint8], across: int) -> NDArray[np.uint8]:
    """Lay ``n h w 3`` out in rows of ``across``; ``n`` is a multiple of it."""
    _, height, width, _ = tiles.shape
    rows = tiles.reshape(-1, across, height, width, 3).swapaxes(1, 2)
    sheet: NDArray[np.uint8] = rows.reshape(-1, across * width, 3)
    return sheet
