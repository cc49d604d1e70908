"""Encoding: an accepted sample becomes bytes once, for all formats; its objects are measured."""

import io
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.core.masks import Instance, coverage, measure_instances, split_components
from l4f_datagen.core.sample import Sample, alpha_to_uint8
from l4f_datagen.dataset.formats.backgrounds import Backgrounds, composite_rgb, cutout_rgba
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


Images = Sequence[NDArray[np.uint8]]


def _save_each(images: Images, **options: Any) -> list[bytes]:
    files = []
    for pixels in images:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, **options)
        files.append(buffer.getvalue())
    return files


IMAGE_ENCODERS: dict[str, Callable[[Images], list[bytes]]] = {
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


def image_suffix(output: OutputPart) -> str:
    """What the names of images and composites end in."""
    return SUFFIXES[output.image_format]


def cutout_format(output: OutputPart) -> str:
    """Image format of cut-outs; PNG where it would be JPEG, which has no alpha."""
    return "png" if output.image_format == "jpeg" else output.image_format


def cutout_suffix(output: OutputPart) -> str:
    """What the names of cut-outs end in."""
    return SUFFIXES[cutout_format(output)]


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

    @property
    def filled_holes(self) -> int:
        """Holes in the mask that the polygons of the instances fill; 0 without polygons."""
        return sum(instance.num_holes for instance in self.instances)


class ShardWriter(ABC):
    """One shard in one format."""

    @abstractmethod
    def add(self, samples: Sequence[Encoded]) -> None:
        """Stage samples, in order."""

    def close(self) -> None:  # noqa: B027  most writers hold nothing back
        """Stage what was held back; does nothing the second time."""


Attempt = tuple[Sample, Encoded | None]
"""A sample, and its files where it was accepted."""


@dataclass(frozen=True)
class Encoder:
    """Turns samples into the bytes that the chosen formats need; no state, any thread."""

    output: OutputPart
    backgrounds: Backgrounds | None = None

    def encode(self, samples: Sequence[Sample]) -> list[Attempt]:
        """Encode samples of one size, rejected ones where they are kept; same input, same bytes.

        ValueError for an array of another dtype, rank, size or range than ``Sample`` says.
        """
        keep_all = self.output.keep_rejected
        kept = [sample for sample in samples if keep_all or sample.reason is None]
        encoded = iter(self._encode(kept) if kept else ())
        return [
            (sample, next(encoded) if keep_all or sample.reason is None else None)
            for sample in samples
        ]

    def _encode(self, samples: Sequence[Sample]) -> Iterator[Encoded]:
        _check(samples)
        output, number = self.output, len(samples)
        cutouts: Sequence[bytes | None] = [None] * number
        composites: Sequence[bytes | None] = [None] * number
        found: Sequence[tuple[Instance, ...]] = [()] * number
        encode = IMAGE_ENCODERS[output.image_format]
        if output.cutouts:
            drawn = [cutout_rgba(sample) for sample in samples]
            cutouts = IMAGE_ENCODERS[cutout_format(output)](drawn)
        if output.composites != "none":
            composites = encode([composite_rgb(one, self._background(one)) for one in samples])
        if LISTS_OBJECTS.intersection(output.formats):
            found = find_instances([sample.mask for sample in samples], output)
        return map(
            Encoded,
            samples,
            encode([sample.image for sample in samples]),
            encode_pngs([one.mask.view(np.uint8) * np.uint8(255) for one in samples], "none"),
            encode_pngs([one.mask.view(np.uint8) for one in samples], "none"),
            encode_pngs([alpha_levels(one.alpha, output.alpha_bits) for one in samples], "up"),
            [coverage(one.mask) for one in samples],
            cutouts,
            composites,
            found,
        )

    def _background(self, sample: Sample) -> NDArray[np.uint8]:
        if self.backgrounds is not None:
            height, width = sample.mask.shape
            return self.backgrounds.image(sample.key, (height, width))
        if sample.background is None:
            raise ValueError(f"{sample.key}: expected a background for its composite, got none")
        return sample.background


def encode_blocks(
    blocks: Iterable[Sequence[Sample]], pool: Executor, encoder: Encoder
) -> Iterator[list[Attempt]]:
    """Encode blocks in the threads of a pool while the next ones are rendered.

    The order is kept; rejected samples come without files. At most ``BLOCKS_AHEAD`` blocks beyond
    the one handed out wait in memory. The encoders release the GIL.
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
    if bits == 8:
        return alpha_to_uint8(alpha)
    return np.rint(alpha * 65535).astype(np.uint16)


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
