"""Encoding: an accepted sample becomes bytes once, for all formats; its objects are measured."""

import io
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.core.masks import Instance, coverage, measure_instances, split_components
from l4f_datagen.core.sample import Sample, alpha_to_uint8
from l4f_datagen.dataset.formats.backgrounds import Backgrounds, composite_rgb, foreground_rgb
from l4f_datagen.dataset.manifest import MergeIndex
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.io.photo import encode_pngs
from l4f_datagen.recipe import OutputPart

Mask = NDArray[np.bool_]


def find_instances(masks: Sequence[Mask], output: OutputPart) -> list[tuple[Instance, ...]]:
    """Find the objects of masks of one size ``h w``; none in an empty mask."""
    if output.instances == "components":
        parts = [split_components(mask) for mask in masks]
    else:
        parts = [[mask] if mask.any() else [] for mask in masks]
    polygons = "coco" in output.formats and output.coco_segmentation == "polygon"
    outlined = polygons or "yolo" in output.formats
    found = iter(measure_instances([one for those in parts for one in those], outlined=outlined))
    return [tuple(next(found) for _ in those) for those in parts]


def _save_each(images: Sequence[NDArray[np.uint8]], **options: Any) -> list[bytes]:
    buffers = [io.BytesIO() for _ in images]
    for pixels, buffer in zip(images, buffers, strict=True):
        Image.fromarray(pixels).save(buffer, **options)
    return [buffer.getvalue() for buffer in buffers]


IMAGE_ENCODERS: dict[str, Callable[[Sequence[NDArray[np.uint8]]], list[bytes]]] = {
    "png": partial(encode_pngs, filter_name="average"),
    "webp": partial(_save_each, format="WEBP", lossless=True, quality=0, method=0, exact=True),
    "jpeg": partial(_save_each, format="JPEG", quality=95, subsampling=0),
}
"""Image format to what encodes images of one size in it."""
SUFFIXES = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}
TASK_PIXELS = 16 * 64**2
"""Pixels handed to a thread at once: 16 images of 64 px, for a hand-over costs as much as one."""
BLOCKS_AHEAD = 2
"""One that is encoded while another is rendered, and one for blocks that take unequally long."""
LISTS_OBJECTS = {"coco", "yolo"}
KINDS = ("image", "mask", "label", "alpha")  # the files that every sample has


def format_of(kind: str, output: OutputPart) -> str:
    """Image format of one of ``KINDS``, of "cutout" or "composite"; JPEG has no alpha."""
    follows = ("image", "composite", *(("cutout",) if output.image_format != "jpeg" else ()))
    return output.image_format if kind in follows else "png"


@dataclass(frozen=True)
class Encoded:
    """An accepted sample and its files in the recipe's formats; what was not asked for is empty."""

    sample: Sample
    image: bytes
    mask: bytes  # PNG, mode L, 0 and 255: to be looked at, and for matting
    # PNG, mode L, 0 and 1: class indices, what trainers take; 255 is their usual "ignore". No
    # palette: readers that turn one into grey or RGB would change the indices.
    label: bytes
    alpha: bytes  # PNG, mode L or I;16
    coverage: float  # share of the image that is mask
    cutout: bytes | None = None
    composite: bytes | None = None
    instances: tuple[Instance, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """What is known of the sample beside its files: plain values for a table or a JSON file."""
        sample = self.sample
        height, width = sample.mask.shape
        return {
            **{name: float(score) for name, score in sample.scores.items()},
            "key": sample.key,
            "image_id": sample.image_id,
            "psi": float(sample.psi),
            "seed": int(sample.seed),
            "coverage": self.coverage,
            "width": width,
            "height": height,
        }


class ShardWriter(ABC):
    """One shard in one format."""

    places: ClassVar[tuple[str, ...]] = ()  # what a shard has, templates of ``{shard:05d}``
    flat: ClassVar[tuple[str, ...]] = ()  # folders of the files of all shards (see ``staging``)
    # Name, with ``{split}`` for one a split with samples, to what merges it over all shards.
    indexes: ClassVar[dict[str, MergeIndex]] = {}

    def __init__(self, staging: Staging, output: OutputPart) -> None:
        self.staging, self.shard, self.output = staging, staging.shard, output

    @abstractmethod
    def add(self, samples: Sequence[Encoded]) -> None:
        """Stage samples, in order."""

    def close(self) -> None:  # noqa: B027  most writers hold nothing back
        """Stage what was held back; does nothing the second time."""

    def name(self, encoded: Encoded, kind: str, mark: str = "") -> str:
        """Name a file: ``KEY.png``; with a mark like ``_`` all but images ``KEY_mask.png``."""
        marked = f"{mark}{kind}" if mark and kind != "image" else ""
        return f"{encoded.sample.key}{marked}{SUFFIXES[format_of(kind, self.output)]}"


Attempt = tuple[Sample, Encoded | None]  # a sample, and its files where it was accepted


@dataclass(frozen=True)
class Encoder:
    """Turns samples into the bytes that the chosen formats need; no state, any thread."""

    output: OutputPart
    backgrounds: Backgrounds | None = None

    def encode(self, samples: Sequence[Sample]) -> list[Attempt]:
        """Encode samples of one size, rejected ones where they are kept; same input, same bytes.

        ValueError for an array of another dtype, rank, size or range than ``Sample`` says.
        """
        kept = [one for one in samples if self.output.keep_rejected or one.reason is None]
        encoded = dict(zip(map(id, kept), self._encode(kept) if kept else (), strict=True))
        return [(one, encoded.get(id(one))) for one in samples]

    def _encode(self, samples: Sequence[Sample]) -> Iterator[Encoded]:
        _check(samples)
        output = self.output
        encode = IMAGE_ENCODERS[output.image_format]
        masks = [one.mask.view(np.uint8) for one in samples]
        columns: dict[str, Sequence[Any]] = {
            "sample": samples,
            "image": encode([one.image for one in samples]),
            "mask": encode_pngs([mask * np.uint8(255) for mask in masks], "none"),
            "label": encode_pngs(masks, "none"),
            "alpha": encode_pngs([alpha_levels(a.alpha, output.alpha_bits) for a in samples], "up"),
            "coverage": [coverage(one.mask) for one in samples],
        }
        if output.cutouts:
            drawn = [(foreground_rgb(a.image, a.alpha), alpha_to_uint8(a.alpha)) for a in samples]
            cut = IMAGE_ENCODERS[format_of("cutout", output)]
            columns["cutout"] = cut(list(map(np.dstack, drawn)))  # straight alpha
        if output.composites != "none":
            theirs = self.backgrounds
            columns["composite"] = encode(
                [
                    composite_rgb(a, theirs.image(a.key, a.mask.shape) if theirs else a.background)
                    for a in samples
                ]
            )
        if LISTS_OBJECTS.intersection(output.formats):
            columns["instances"] = find_instances([one.mask for one in samples], output)
        for values in zip(*columns.values(), strict=True):
            yield Encoded(**dict(zip(columns, values, strict=True)))


def encode_blocks(
    blocks: Iterable[Sequence[Sample]], pool: Executor, encoder: Encoder
) -> Iterator[list[Attempt]]:
    """Encode blocks, in order, in the threads of a pool while the next ones are rendered.

    At most ``BLOCKS_AHEAD`` blocks beyond the one handed out wait in memory.
    """
    waiting: deque[list[Future[list[Attempt]]]] = deque()
    for block in blocks:
        step = max(1, TASK_PIXELS // max(1, block[0].mask.size)) if block else 1
        parts = [block[at : at + step] for at in range(0, len(block), step)]
        waiting.append([pool.submit(encoder.encode, part) for part in parts])
        while waiting and (len(waiting) > BLOCKS_AHEAD or all(task.done() for task in waiting[0])):
            yield [attempt for task in waiting.popleft() for attempt in task.result()]
    while waiting:
        yield [attempt for task in waiting.popleft() for attempt in task.result()]


def alpha_levels(alpha: NDArray[np.float32], bits: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Turn alpha in [0, 1] into levels of 8 or 16 bits; any shape."""
    return alpha_to_uint8(alpha) if bits == 8 else np.rint(alpha * 65535).astype(np.uint16)


def _check(samples: Sequence[Sample]) -> None:
    """Refuse arrays of another dtype, rank, size or range than ``Sample`` says, or of two sizes."""
    size = samples[0].image.shape[:2]
    wanted = {
        "image": (np.dtype(np.uint8), (*size, 3)),
        "alpha": (np.dtype(np.float32), size),
        "mask": (np.dtype(np.bool_), size),
    }
    for sample in samples:
        for name, (dtype, shape) in wanted.items():
            array = getattr(sample, name)
            if array.dtype != dtype or array.shape != shape or 0 in shape:
                came = f"{array.dtype} {array.shape}"
                raise ValueError(f"{sample.key}: expected {name} {dtype} {shape}, got {came}")
        low, high = sample.alpha.min(), sample.alpha.max()
        if not (low >= 0 and high <= 1):  # written so that NaN fails too
            raise ValueError(f"{sample.key}: expected alpha in [0, 1], got {low} to {high}")
