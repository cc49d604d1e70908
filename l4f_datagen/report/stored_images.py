"""Stored images: image, alpha and mask of samples, read back from any format."""

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
from numpy.typing import NDArray
from PIL import Image

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
