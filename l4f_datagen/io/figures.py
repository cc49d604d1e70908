"""Pictures for eyes: contact sheets and training previews with their words, plain Pillow."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from l4f_datagen.core.masks import edge_pixels
from l4f_datagen.io.disk import staged

Picture = NDArray[np.uint8]
GAP_PX = 4
PAPER = 255
OUTLINE_RGB = (255, 0, 200)
CHEQUER_PX = 8
INK, GREY = (0, 0, 0), (90, 90, 90)
FONT_PX, WIDTH_PER_FONT_PX = 14, 90
"""A sheet wider than 90 letters' heights is shown smaller on a screen: its letters grow with it."""
SHEET_COLUMNS = 4
CONTACT_TITLE = "{count} of the accepted samples: image with mask outline, alpha, cut-out"
CONTACT_NOTES = (
    "Good: the outline follows the object. Alpha is white on the object, black elsewhere and "
    "grey only along the edge. The cut-out is the whole object and brings no ground along."
)


def outline(image: Picture, mask: NDArray[np.bool_]) -> Picture:
    """Draw the mask's inner contour on a copy of the image, ``h w 3``."""
    drawn = image.copy()
    drawn[edge_pixels(mask)] = OUTLINE_RGB
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
    columns, step = max(map(len, rows), default=0), tile_px + GAP_PX
    canvas = _paper(columns * step + GAP_PX, len(rows) * step + GAP_PX)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            canvas.paste(fit(picture, tile_px), (GAP_PX + x * step, GAP_PX + y * step))
    return canvas


def _paper(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), (PAPER,) * 3)


def fit(picture: Picture, tile_px: int) -> Image.Image:
    """Scale so that the longer side is at most ``tile_px``; small pictures keep hard pixels."""
    image = Image.fromarray(picture)
    scale, how = tile_px / max(image.size), Image.Resampling.LANCZOS
    if scale >= 1:
        scale, how = int(scale), Image.Resampling.NEAREST
    return image.resize([max(1, round(side * scale)) for side in image.size], how)


def explained(
    tiles: Image.Image,
    title: str,
    notes: str = "",
    *,
    columns: Sequence[str] = (),
    rows: Sequence[str] = (),
) -> Image.Image:
    """Put words around tiles of one size, which end up at the bottom right.

    ``title`` says what the picture shows, ``notes`` (wrapped) what good looks like; ``columns`` are
    words above the columns, ``rows`` words to the left of the rows.
    """
    size_px = max(FONT_PX, tiles.width // WIDTH_PER_FONT_PX)
    font, line = ImageFont.load_default(size_px), round(1.4 * size_px)
    left = max((round(font.getlength(word)) + 3 * GAP_PX for word in rows), default=0)
    width = left + tiles.width
    texts = [(text, INK) for text in _wrapped(title, font, width - 2 * GAP_PX)]
    texts += [(text, GREY) for text in _wrapped(notes, font, width - 2 * GAP_PX)]
    top = GAP_PX + line * (len(texts) + bool(columns))
    canvas = _paper(width, top + tiles.height)
    canvas.paste(tiles, (left, top))
    draw = ImageDraw.Draw(canvas)
    for number, (text, colour) in enumerate(texts):
        draw.text((GAP_PX, GAP_PX + number * line), text, colour, font)
    for number, word in enumerate(columns):
        x = left + GAP_PX + number * (tiles.width - GAP_PX) // len(columns)
        draw.text((x, top - line), word, INK, font)
    for number, word in enumerate(rows):
        y = top + GAP_PX + (2 * number + 1) * (tiles.height - GAP_PX) // (2 * len(rows))
        draw.text((left - 2 * GAP_PX, y), word, INK, font, anchor="rm")
    return canvas


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int) -> list[str]:
    lines = list[str]()
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def contact_sheet(
    samples: Iterable[tuple[str, Picture, Picture, NDArray[np.bool_]]],
) -> Image.Image:
    """Show samples in threes: image with mask outline, alpha, cut-out; four samples a row.

    A sample is (words above it, image ``h w 3``, alpha ``h w`` 0 to 255, mask ``h w``).
    """
    shown = [
        (words, (outline(image, mask), grey(alpha), cut_out(image, alpha)))
        for words, image, alpha, mask in samples
    ]
    if not shown:
        return sheet([])
    across = 3 * min(SHEET_COLUMNS, len(shown))
    bands = []
    for start in range(0, len(shown), SHEET_COLUMNS):
        group = shown[start : start + SHEET_COLUMNS]
        tiles = [tile for _, threes in group for tile in threes]
        words = [word for text, _ in group for word in (text, "", "")]
        pad = across - len(tiles)
        band = sheet([tiles + [np.full_like(tiles[0], PAPER)] * pad])
        bands.append(explained(band, "", columns=words + [""] * pad))
    canvas, top = _paper(bands[0].width, sum(band.height for band in bands)), 0
    for band in bands:
        canvas.paste(band, (0, top))
        top += band.height
    return explained(canvas, CONTACT_TITLE.format(count=len(shown)), CONTACT_NOTES)


def save_png(image: Image.Image, path: Path) -> None:
    """Write a PNG, staged and renamed; the same pixels give the same bytes."""
    with staged(path) as file:
        image.save(file, "PNG", compress_level=6)
