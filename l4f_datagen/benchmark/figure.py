"""Figure: the same pictures in every row, one method a row, its mask outlined and lit."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from l4f_datagen.io.figures import fit, outline

TILE_PX = 128
GAP_PX = 4
LABEL_PX = 210
FONT_PX = 15
PAPER, INK = (255, 255, 255), (30, 30, 30)
DIMMED = 0.45
"""Brightness of what the mask leaves out."""

Images = Sequence[NDArray[np.uint8]]
Masks = Sequence[NDArray[np.bool_]]


def figure(images: Images, rows: Sequence[tuple[str, Masks]]) -> Image.Image:
    """Draw the bare pictures, then a row for each labelling.

    Args:
        images: uint8 ``h w 3``, one a column.
        rows: name and masks bool ``h w``, one a column.

    Returns:
        RGB, ``LABEL_PX + columns (TILE_PX + GAP_PX)`` wide, ``1 + len(rows)`` tiles high.
    """
    step = TILE_PX + GAP_PX
    size = LABEL_PX + len(images) * step, (1 + len(rows)) * step + GAP_PX
    canvas = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(FONT_PX)
    tiles = [("pictures", [fit(image, TILE_PX) for image in images])]
    for name, masks in rows:
        tiles.append((name, [lit(i, m) for i, m in zip(images, masks, strict=True)]))
    for y, (name, row) in enumerate(tiles):
        middle = GAP_PX + y * step + TILE_PX // 2
        draw.text((LABEL_PX - 10, middle), name, INK, font, anchor="rm")
        for x, tile in enumerate(row):
            canvas.paste(tile, (LABEL_PX + x * step, GAP_PX + y * step))
    return canvas


def lit(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> Image.Image:
    """Fit a picture into its tile, dim what the mask leaves out and outline the mask."""
    tile = np.asarray(fit(image, TILE_PX))
    large = Image.fromarray(mask).resize(tile.shape[1::-1], Image.Resampling.NEAREST)
    fitted = np.asarray(large)
    shade = np.where(fitted[..., None], 1.0, DIMMED)
    return Image.fromarray(outline(np.rint(tile * shade).astype(np.uint8), fitted))
