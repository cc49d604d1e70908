"""Tiles: one sample made small enough to travel inside a page, outline as a vector path."""

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.core.masks import polygons_xy
from l4f_datagen.report.stored_images import Stored

SHOWN_PX = 512
LOSSLESS_PX = 128
PHOTO_QUALITY, ALPHA_QUALITY = 82, 90
MAX_PATH_CHARACTERS = 32_000


def encode_tile(stored: Stored) -> dict[str, Any]:
    """Encode a sample for a page.

    Pictures above ``SHOWN_PX`` are scaled down; those up to ``LOSSLESS_PX`` keep every level.

    Returns:
        ``image`` and ``alpha``, WebP as data URIs (alpha in the alpha channel, for CSS masks);
        ``outline``, an SVG path in pixels of the full picture; ``coarse``, by how much the outline
        had to be coarsened, 1 for exact; ``width`` and ``height`` of the full picture in px;
        ``files``, paths in the dataset.
    """
    height, width = stored.mask.shape
    coarse, path = outline_path(stored.mask)
    return {
        "image": _webp(_shown(Image.fromarray(stored.image)), PHOTO_QUALITY),
        "alpha": _webp(_as_alpha(_shown(Image.fromarray(stored.alpha))), 0),
        "outline": path,
        "coarse": coarse,
        "width": width,
        "height": height,
        "files": dict(stored.files),
    }


def outline_path(mask: NDArray[np.bool_]) -> tuple[int, str]:
    """Trace a mask as an SVG path of relative steps along pixel edges.

    A mask so ragged that the path would pass ``MAX_PATH_CHARACTERS`` is traced on a grid 2, 4, ...
    times as coarse, where a cell is mask if any pixel of it is.

    Returns:
        How coarse the grid is, 1 for the pixels themselves, and the path; empty for no mask.
    """
    cell = 1
    while True:
        path = "".join(_ring(ring.points_xy * cell) for ring in polygons_xy(mask))
        if len(path) <= MAX_PATH_CHARACTERS:
            return cell, path
        height, width = mask.shape
        padded = np.pad(mask, ((0, height % 2), (0, width % 2)))
        cells = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2)
        mask = np.logical_or.reduce(cells, axis=(1, 3))
        cell *= 2


def _ring(points_xy: NDArray[np.int32]) -> str:
    steps = np.diff(points_xy, axis=0)
    drawn = (f"h{x}" if x else f"v{y}" for x, y in steps.tolist())
    x, y = points_xy[0].tolist()
    return f"M{x} {y}{''.join(drawn)}z"


def _shown(picture: Image.Image) -> Image.Image:
    longest = max(picture.size)
    if longest <= SHOWN_PX:
        return picture
    size = [max(1, round(side * SHOWN_PX / longest)) for side in picture.size]
    return picture.resize((size[0], size[1]), Image.Resampling.LANCZOS)


def _as_alpha(matte: Image.Image) -> Image.Image:
    white = Image.new("L", matte.size, 255)
    return Image.merge("RGBA", (white, white, white, matte))


def _webp(picture: Image.Image, quality: int) -> str:
    buffer = io.BytesIO()
    lossless = max(picture.size) <= LOSSLESS_PX
    picture.save(
        buffer,
        "WEBP",
        lossless=lossless,
        quality=50 if lossless else quality,
        alpha_quality=ALPHA_QUALITY,
        method=1,  # as small as 3 on these, in half the time
    )
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
