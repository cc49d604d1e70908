"""Page: a template filled in, as one self-contained HTML file, and the images inside it."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.core.masks import polygons_xy
from l4f_datagen.io.figures import fit
from l4f_datagen.report.stored_images import Stored

LOSSLESS_PX = 128  # a choice: images of the toys, 64 px, keep every level
SHOWN_PX = 512  # a choice, as are the next two
PHOTO_QUALITY = 82
MAX_PATH_CHARACTERS = 32_000


def render_page(template: str, **values: Any) -> bytes:
    """Fill in a template as an HTML page.

    ``page.css`` beside it is the look that all pages share; its colours are variables for light
    and dark.
    """
    return (fill_template(template, values, escape=True).rstrip() + "\n").encode()


def fill_template(template: str, values: Mapping[str, Any], *, escape: bool) -> str:
    """Fill in a template of this package; a name left out is an error."""
    loader = PackageLoader("l4f_datagen.report", "templates")
    environment = Environment(loader=loader, autoescape=escape, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters |= {"number": number, "share": share, "cell": cell}
    return environment.get_template(template).render(**values)


def cell(text: object) -> str:
    """Keep text inside one cell of a Markdown table."""
    return " ".join(str(text).replace("|", "\\|").split())


def number(value: float) -> str:
    """Write a count or a measure for a person: 50,000 or 0.123."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def share(part: int, whole: int) -> str:
    """Write a share in per cent; "none" where there is nothing to share."""
    return f"{100 * part / whole:.1f} %" if whole else "none"


def webp_uri(image: Image.Image, quality: int, *, method: int = 1) -> str:
    """An image inside a page, WebP as a data URI; lossless up to ``LOSSLESS_PX``.

    ``method`` is the encoder's effort: 1 is as small as 3 on tiles, in half the time.
    """
    buffer, small = io.BytesIO(), max(image.size) <= LOSSLESS_PX
    options: dict[str, Any] = {"lossless": small, "quality": 50 if small else quality}
    image.save(buffer, "WEBP", alpha_quality=90, method=method, **options)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def shrunk(pixels: NDArray[np.uint8], side_px: int) -> Image.Image:
    """Scale an image down where its longer side is above ``side_px``."""
    return Image.fromarray(pixels) if max(pixels.shape[:2]) <= side_px else fit(pixels, side_px)


def encode_tile(stored: Stored) -> dict[str, Any]:
    """Encode a sample for a page; images above ``SHOWN_PX`` are scaled down."""
    height, width = stored.mask.shape
    coarse, path = outline_path(stored.mask)
    matte = shrunk(stored.alpha, SHOWN_PX)
    white = Image.new("L", matte.size, 255)
    return {
        "image": webp_uri(shrunk(stored.image, SHOWN_PX), PHOTO_QUALITY),
        "alpha": webp_uri(Image.merge("RGBA", [white] * 3 + [matte]), 0),  # as CSS masks want it
        "outline": path,
        "coarse": coarse,
        "width": width,  # of the full image, px
        "height": height,
        "files": dict(stored.files),
    }


def outline_path(mask: NDArray[np.bool_]) -> tuple[int, str]:
    """Trace a mask as an SVG path of relative steps along pixel edges, empty for no mask.

    A mask so ragged that the path would pass ``MAX_PATH_CHARACTERS`` is traced on a grid 2, 4, ...
    times as coarse, where a cell is mask if any pixel of it is. The factor stands before the path.
    """
    cell = 1
    while True:
        path = ""
        for ring in polygons_xy(mask):
            (x, y), *_ = points = (ring.points_xy * cell).tolist()
            steps = np.diff(points, axis=0).tolist()
            path += f"M{x} {y}" + "".join(f"h{dx}" if dx else f"v{dy}" for dx, dy in steps) + "z"
        if len(path) <= MAX_PATH_CHARACTERS:
            return cell, path
        height, width = mask.shape
        padded = np.pad(mask, ((0, height % 2), (0, width % 2)))
        cells = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2)
        mask = np.logical_or.reduce(cells, axis=(1, 3))
        cell *= 2
