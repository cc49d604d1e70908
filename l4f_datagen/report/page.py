"""Page: a template filled in, as one self-contained HTML file, and the images inside it."""

import base64
import io
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.core.masks import polygons_xy
from l4f_datagen.report.stored_images import Stored

LOSSLESS_PX = 128  # a choice: images of the toys, 64 px, keep every level


def render_page(template: str, **values: Any) -> bytes:
    """Fill in a template of this package; text is escaped, names left out are errors.

    ``page.css`` in the same folder is the look that all pages share; its colours are variables for
    light and dark. Templates get the filters ``number`` and ``share``.
    """
    environment = Environment(
        loader=PackageLoader("l4f_datagen.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "share": share}
    return (environment.get_template(template).render(**values).rstrip() + "\n").encode()


def number(value: float) -> str:
    """Write a count or a measure for a person.

    >>> number(50000), number(0.12345), number(0.7)
    ('50,000', '0.123', '0.7')
    """
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def share(part: int, whole: int) -> str:
    """Write a share in per cent; "none" where there is nothing to share.

    >>> share(1, 3), share(0, 0)
    ('33.3 %', 'none')
    """
    return f"{100 * part / whole:.1f} %" if whole else "none"


def webp_uri(image: Image.Image, quality: int, *, method: int = 1) -> str:
    """An image inside a page, WebP as a data URI; lossless up to ``LOSSLESS_PX``.

    ``method`` is the encoder's effort: 1 is as small as 3 on tiles, in half the time.
    """
    buffer, small = io.BytesIO(), max(image.size) <= LOSSLESS_PX
    options: dict[str, Any] = {"lossless": small, "quality": 50 if small else quality}
    image.save(buffer, "WEBP", alpha_quality=90, method=method, **options)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


SHOWN_PX = 512  # a choice, as are the next two
PHOTO_QUALITY = 82
MAX_PATH_CHARACTERS = 32_000


def encode_tile(stored: Stored) -> dict[str, Any]:
    """Encode a sample for a page.

    Images above ``SHOWN_PX`` are scaled down; those up to ``LOSSLESS_PX`` keep every level.

    Returns:
        ``image`` and ``alpha``, WebP as data URIs (alpha in the alpha channel, for CSS masks);
        ``outline``, an SVG path in pixels of the full image; ``coarse``, by how much the outline
        had to be coarsened, 1 for exact; ``width`` and ``height`` of the full image in px;
        ``files``, paths in the dataset.
    """
    height, width = stored.mask.shape
    coarse, path = outline_path(stored.mask)
    return {
        "image": webp_uri(_shown(Image.fromarray(stored.image)), PHOTO_QUALITY),
        "alpha": webp_uri(_as_alpha(_shown(Image.fromarray(stored.alpha))), 0),
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


def _shown(image: Image.Image) -> Image.Image:
    longest = max(image.size)
    if longest <= SHOWN_PX:
        return image
    size = [max(1, round(side * SHOWN_PX / longest)) for side in image.size]
    return image.resize((size[0], size[1]), Image.Resampling.LANCZOS)


def _as_alpha(matte: Image.Image) -> Image.Image:
    white = Image.new("L", matte.size, 255)
    return Image.merge("RGBA", (white, white, white, matte))
