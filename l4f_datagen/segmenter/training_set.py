"""The training set: a finished dataset of ``make``, read back from its image or Parquet files."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.core.progress import usable_cores
from l4f_datagen.dataset.layout import LEDGER, RECIPE
from l4f_datagen.dataset.manifest import MANIFEST, read_manifest
from l4f_datagen.io import photo
from l4f_datagen.segmenter.model import pad_to, resize, scaled_to
from l4f_datagen.segmenter.training import Batch

CACHE_BYTES = 1 << 30  # decoded samples kept in memory; others are decoded each time
DAMAGED = "make the dataset again"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")  # of images; masks are always PNG
KINDS = ("JPEG", "PNG", "WEBP")
HELD_OUT_SHARE = 0.1  # a choice

Fetch = Callable[[int], tuple[bytes, bytes]]
"""Bytes of image and mask of the sample at a place."""


@dataclass
class TrainingSet:
    """Samples of a dataset at the size they are trained at."""

    source: str  # the folder
    keys: list[str]  # of the samples, sorted
    fetch: Fetch
    manifest: Mapping[str, Any]
    manifest_sha256: str  # names the dataset with all its bytes
    recipe: str  # text of the recipe it was made by
    splits: Mapping[str, str] = field(default_factory=dict)  # by key, where there are several
    size_hw: tuple[int, int] = (0, 0)  # of its images, px
    size: int = 0  # longer side when trained on, px
    stride: int = 8  # both sides are padded to a multiple of it, px
    _cache: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = field(default_factory=dict)
    _pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(min(4, usable_cores()))
    )

    def __len__(self) -> int:
        return len(self.keys)

    def batch(self, picked: NDArray[np.int64]) -> Batch:
        """Return images ``n h w 3`` and masks, softened where they were scaled, ``n h w``."""
        samples = list(self._pool.map(self.read, picked.tolist()))
        masks = np.stack([mask for _, mask in samples])
        return np.stack([image for image, _ in samples]), masks.astype(np.float32) / np.float32(255)

    def read(self, place: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return image ``h w 3`` and mask ``h w`` of one sample, levels 0 to 255."""
        if place not in self._cache:
            subject, (height, width) = f"{self.source} {self.keys[place]}", self.size_hw
            planes = []
            for data, mode in zip(self.fetch(place), ("RGB", "L"), strict=True):
                with _opened(data, subject) as opened:
                    if (opened.mode, opened.size) != (mode, (width, height)):
                        problem = f"is {opened.width} x {opened.height} {opened.mode}"
                        problem += f", expected {width} x {height} {mode}"
                        raise InputRefused(subject, problem, DAMAGED)
                    scaled = resize(np.asarray(opened), scaled_to(self.size_hw, self.size))
                    planes.append(pad_to(scaled, self.stride))
            image, mask = planes
            if (len(self._cache) + 1) * (image.nbytes + mask.nbytes) > CACHE_BYTES:
                return image, mask
            self._cache[place] = image, mask
        return self._cache[place]


def open_training_set(folder: Path, scratch: Path) -> TrainingSet:
    """Open a finished dataset; the Parquet reader may keep its memory map in ``scratch``."""
    manifest = read_manifest(folder)
    digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    accepted = manifest["counts"]["accepted"]
    if accepted == 0:
        raise InputRefused(str(folder), "holds no sample", "make some with `l4f-datagen make`")
    formats = manifest["formats"]
    reader = next((FORMATS[name] for name in FORMATS if name in formats), None)
    if reader is None:
        problem = f"is written as {', '.join(formats)}"
        raise InputRefused(str(folder), problem, f"make it with one of {', '.join(FORMATS)}")
    keys, fetch = reader(folder, scratch)
    if len(keys) != accepted:
        problem = f"holds {len(keys)} samples, its manifest says {accepted}"
        raise InputRefused(str(folder), problem, DAMAGED)
    recipe, ledger = folder / RECIPE, folder / LEDGER
    text = recipe.read_text(encoding="utf-8") if recipe.exists() else ""
    splits: dict[str, str] = {}
    if len(manifest["splits"]) > 1:
        try:
            rows = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]
            splits = {row["key"]: row["split"] for row in rows if row["status"] == "accepted"}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputRefused(str(ledger), f"cannot be read ({error})", DAMAGED) from error
    with _opened(fetch(0)[0], f"{folder} {keys[0]}") as image:
        size_hw = image.height, image.width
    facts = (manifest, digest, text, splits)
    return TrainingSet(str(folder), keys, fetch, *facts, size_hw, max(size_hw))


@contextmanager
def _opened(data: bytes, subject: str) -> Iterator[Image.Image]:
    """Open an image of the dataset, which is made again where one is damaged."""
    try:
        with photo.opened(data, subject, KINDS) as image:
            yield image
    except InputRefused as error:
        raise InputRefused(subject, error.problem, DAMAGED) from error


def read_png(folder: Path, _scratch: Path) -> tuple[list[str], Fetch]:
    """Give keys and files of ``images/`` and ``masks/``."""
    files = (folder / "images").rglob("*")
    images = {path.stem: path for path in files if path.suffix in SUFFIXES}
    masks = {path.stem: path for path in (folder / "masks").rglob("*.png")}
    keys = sorted(images)
    without = sorted(images.keys() ^ masks.keys())
    if without:
        problem = f"{len(without)} samples lack an image or a mask, {without[0]} is the first"
        raise InputRefused(str(folder), problem, DAMAGED)

    def fetch(place: int) -> tuple[bytes, bytes]:
        key = keys[place]
        try:
            return images[key].read_bytes(), masks[key].read_bytes()
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
            raise InputRefused(str(error.filename), problem, "leave the dataset alone") from error

    return keys, fetch


def read_parquet(folder: Path, scratch: Path) -> tuple[list[str], Fetch]:
    """Give keys and cells of ``data/*.parquet``, through a memory map of the datasets library."""
    from datasets import Dataset
    from datasets import Image as ImageFeature
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    files = sorted(str(path) for path in (folder / "data").rglob("*.parquet"))
    try:
        columns = ["key", "image", "mask"]
        table = Dataset.from_parquet(files, cache_dir=str(scratch), columns=columns)
        for name in columns[1:]:
            table = table.cast_column(name, ImageFeature(decode=False))
        keys = list(table["key"])
    except Exception as error:  # Arrow and the library raise many kinds on damaged files
        raise InputRefused(f"{folder}/data", "holds broken Parquet", DAMAGED) from error
    order = sorted(range(len(keys)), key=keys.__getitem__)

    def fetch(place: int) -> tuple[bytes, bytes]:
        row = table[order[place]]
        return row["image"]["bytes"], row["mask"]["bytes"]

    return [keys[place] for place in order], fetch


FORMATS = {"png": read_png, "hf": read_parquet}


def held_out(samples: TrainingSet) -> NDArray[np.bool_]:
    """Tell which samples are not learnt from: those outside the dataset's own split ``train``.

    Where it has no other split, a tenth is held out by ``is_held_out``.
    """
    splits, share = samples.splits, HELD_OUT_SHARE
    keys = samples.keys
    kept = (splits.get(k) != "train" if splits else is_held_out(k, share) for k in keys)
    return np.fromiter(kept, bool)


def is_held_out(key: str, share: float) -> bool:
    """Whether a sample is for validation: a function of its key alone.

    Hashed is the seed at the key's end: its images at several psi show nearly the same object.
    """
    digest = hashlib.sha256(key.rpartition("-")[2].encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
