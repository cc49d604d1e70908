"""Pictures for eyes: contact sheets and training previews, plain Pillow."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.io.disk import staged

Picture = NDArray[np.uint8]
GAP_PX = 4
PAPER = 255
OUTLINE_RGB = (255, 0, 200)
CHEQUER_PX = 8


def outline(image: Picture, mask: NDArray[np.bool_]) -> Picture:
    """Draw the mask's inner contour on a copy of the image, ``h w 3``."""
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    drawn = image.copy()
    drawn[mask & ~inner] = OUTLINE_RGB
    return drawn


def cut_out(image: Picture, alpha: Picture) -> Picture:
    """Show the foreground over a chequerboard, ``h w 3``; alpha ``h w``, 0 to 255."""
    rows, columns = np.indices(alpha.shape) // CHEQUER_PX
    board = np.where((rows + columns) % 2, 205, 245)[..., None]
    share = alpha[..., None] / 255.0
    return np.rint(share * image + (1 - share) * board).astype(np.uint8)


def grey(plane: Picture) -> Picture:
    """Show ``h w`` as ``h w 3``."""
    return np.repeat(plane[..., None], 3, axis=2)


def sheet(rows: Sequence[Sequence[Picture]], *, tile_px: int = 128) -> Image.Image:
    """Lay pictures out in rows, each tile fitted into ``tile_px`` (whole multiples when small)."""
    columns = max((len(row) for row in rows), default=0)
    step = tile_px + GAP_PX
    size = (columns * step + GAP_PX, len(rows) * step + GAP_PX)
    canvas = Image.new("RGB", size, (PAPER,) * 3)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            tile = fit(picture, tile_px)
            canvas.paste(tile, (GAP_PX + x * step, GAP_PX + y * step))
    return canvas


def fit(picture: Picture, tile_px: int) -> Image.Image:
    """Scale so that the longer side is at most ``tile_px``; small pictures keep hard pixels."""
    image = Image.fromarray(picture)
    longest = max(image.size)
    if longest <= tile_px:
        factor = tile_px // longest
        size = (image.width * factor, image.height * factor)
        return image.resize(size, Image.Resampling.NEAREST)
    scale = tile_px / longest
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def contact_sheet(samples: Iterable[tuple[Picture, Picture, NDArray[np.bool_]]]) -> Image.Image:
    """Show samples in threes: image with mask outline, alpha, cut-out; four samples a row.

    Args:
        samples: (image ``h w 3``, alpha ``h w`` 0 to 255, mask ``h w``) each.
    """
    tiles = [
        (outline(image, mask), grey(alpha), cut_out(image, alpha)) for image, alpha, mask in samples
    ]
    rows = [
        [tile for sample in tiles[k : k + 4] for tile in sample] for k in range(0, len(tiles), 4)
    ]
    return sheet(rows)


def save_png(image: Image.Image, path: Path) -> None:
    """Write a PNG, staged and renamed; the same pixels give the same bytes."""
    with staged(path) as file:
        image.save(file, "PNG", compress_level=6)
