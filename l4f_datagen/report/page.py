"""Page: templates filled in, as self-contained HTML, and the samples that they show.

Image, alpha and mask of a sample are read back from any format of the dataset.
"""

import base64
import io
import tarfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.core.masks import polygons_xy
from l4f_datagen.io.figures import fit

LOSSLESS_PX = 128  # a choice: images of the toys, 64 px, keep every level
SHOWN_PX = 512  # a choice, as are the next two
PHOTO_QUALITY = 82
MAX_PATH_CHARACTERS = 32_000
MAX_PIXELS = 4096 * 4096  # a choice, above any generator
MAX_FILE_BYTES = 2**27  # a choice: an image of so many pixels takes less
PARTS = ("image", "mask", "alpha")
IMAGE_SUFFIXES = (".png", ".webp", ".jpg")
LOOSE = (
    ("images/{shard:05d}/{key}", "masks/{shard:05d}/{key}", "alpha/{shard:05d}/{key}"),
    *(
        tuple(f"imagefolder/{split}/{{shard:05d}}/{{key}}{end}" for end in ("", "_mask", "_alpha"))
        for split in ("train", "val", "test")
    ),
)
"""Where image, mask and alpha of an accepted sample may lie as files, without their suffixes."""
TAR_PARTS = {"mask.png": "mask", "alpha.png": "alpha"} | {
    suffix[1:]: "image" for suffix in IMAGE_SUFFIXES
}
"""What follows a key in a tar of WebDataset."""
Found = tuple[str, list[bytes], dict[str, str]]  # key, then bytes and path of each of ``PARTS``
REJECTED = tuple(f"rejected/{{shard:05d}}/{part}/{{key}}" for part in ("images", "masks", "alpha"))


def render_page(template: str, **values: Any) -> bytes:
    """Fill in a template as an HTML page; ``page.css`` beside it is the look that all share."""
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


@dataclass(frozen=True)
class Stored:
    """One sample as its files have it."""

    image: NDArray[np.uint8]  # ``h w 3``
    alpha: NDArray[np.uint8]  # ``h w``; 16-bit files are rounded to 8
    mask: NDArray[np.bool_]  # ``h w``
    files: Mapping[str, str]  # part -> path in the dataset; empty without files of its own


def read_images(
    folder: Path, wanted: Mapping[str, tuple[int, bool]]
) -> Iterator[tuple[str, Stored]]:
    """Read the images of samples: loose files, else Parquet, else tars of WebDataset.

    ``wanted`` is key to (shard, whether accepted); rejected samples have images where ``make`` was
    asked to keep them. Samples without images, or with ones that cannot be read, are left out.
    """
    rest = {key for key, (_, accepted) in wanted.items() if accepted}
    parquet = (_from_parquet(path, rest) for path in sorted(folder.glob("data/*.parquet")))
    tars = (_from_tar(path, rest) for path in sorted(folder.glob("webdataset/*.tar")))
    for source in chain([_from_files(folder, wanted)], parquet, tars):
        try:
            for key, blobs, files in source:
                stored = _decode(blobs, files)
                if stored is not None:
                    rest.discard(key)
                    yield key, stored
        except (OSError, ValueError, KeyError, pa.ArrowException, tarfile.TarError):
            continue  # its samples are shown without images, and counted as such
        if not rest:
            return


def _from_files(folder: Path, wanted: Mapping[str, tuple[int, bool]]) -> Iterator[Found]:
    for key, (shard, accepted) in wanted.items():
        named = (
            [f"{image}{suffix}", f"{mask}.png", f"{alpha}.png"]
            for image, mask, alpha in (LOOSE if accepted else (REJECTED,))
            for suffix in IMAGE_SUFFIXES
        )
        named = ([name.format(shard=shard, key=key) for name in names] for names in named)
        names = next((names for names in named if (folder / names[0]).is_file()), [])
        with suppress(OSError):
            paths = [folder / name for name in names]
            if paths and all(path.stat().st_size <= MAX_FILE_BYTES for path in paths):
                blobs = [path.read_bytes() for path in paths]
                yield key, blobs, dict(zip(PARTS, names, strict=True))


def _from_parquet(path: Path, wanted: set[str]) -> Iterator[Found]:
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            keys = file.read_row_group(group, ["key"])["key"].to_pylist()
            here = [at for at, key in enumerate(keys) if key in wanted]
            rows = file.read_row_group(group, list(PARTS)).take(here).to_pylist() if here else []
            for at, row in zip(here, rows, strict=True):
                yield keys[at], [row[part]["bytes"] for part in PARTS], {}


def _from_tar(path: Path, wanted: set[str]) -> Iterator[Found]:
    gathered: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            key, _, rest = member.name.partition(".")
            part = TAR_PARTS.get(rest, "")
            file = tar.extractfile(member) if key in wanted and part else None
            if file is None or member.size > MAX_FILE_BYTES:
                continue
            parts = gathered.setdefault(key, {})
            parts[part] = file.read()
            if len(parts) == len(PARTS):
                del gathered[key]
                yield key, [parts[name] for name in PARTS], {}


def _decode(blobs: list[bytes], files: Mapping[str, str]) -> Stored | None:
    planes: list[NDArray[Any]] = []
    try:
        for blob in blobs:
            with warnings.catch_warnings():  # the limit below is lower
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(io.BytesIO(blob), formats=["PNG", "WEBP", "JPEG"]) as opened:
                    if opened.width * opened.height > MAX_PIXELS:
                        return None
                    planes.append(np.asarray(opened))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # shown without images, and counted as such
    image, mask, alpha = planes
    if image.shape[2:] != (3,) or not image.shape[:2] == alpha.shape == mask.shape:
        return None
    if alpha.dtype != np.uint8:
        alpha = np.rint(alpha / 257).astype(np.uint8)
    return Stored(image, alpha, mask > 127, files)


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
