"""Encoding: an accepted sample becomes bytes once, for all writers."""

import io
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.masks import coverage
from l4f_datagen.sample import Sample, alpha_to_uint8

# Level 1 is 3.5 times as fast as zlib's default on photographs and no larger; masks are tiny and
# mostly runs, where the default level pays.
IMAGE_LEVEL, MASK_LEVEL = 1, 6
TASK_SAMPLES = 8  # handed to a thread at once: the hand-over costs less than one sample's encoding
BLOCKS_AHEAD = 2


@dataclass(frozen=True)
class Encoded:
    """An accepted sample and its files.

    Attributes:
        sample: the record itself.
        image: PNG, RGB.
        mask: PNG, mode L, 0 and 255.
        alpha: PNG, mode L (8 bits) or I;16.
        coverage: share of the image that is mask, in [0, 1].
    """

    sample: Sample
    image: bytes
    mask: bytes
    alpha: bytes
    coverage: float


Attempt = tuple[Sample, Encoded | None]
"""A sample, and its files where it was accepted."""


def encode(sample: Sample, *, alpha_bits: int) -> Encoded:
    """Encode one sample as PNG; the same input gives the same bytes.

    Raises:
        ValueError: an array of another dtype, rank, size or range than ``Sample`` says.
    """
    _check(sample)
    return Encoded(
        sample,
        _png(sample.image, IMAGE_LEVEL),
        _png(sample.mask * np.uint8(255), MASK_LEVEL),
        _png(_alpha_levels(sample.alpha, alpha_bits), MASK_LEVEL),
        coverage(sample.mask),
    )


def encode_blocks(
    blocks: Iterable[Sequence[Sample]], pool: Executor, *, alpha_bits: int
) -> Iterator[list[Attempt]]:
    """Encode blocks in the threads of a pool while the next ones are rendered.

    The order is kept; rejected samples come without files. At most ``BLOCKS_AHEAD`` blocks beyond
    the one handed out wait in memory. Pillow's encoders release the GIL.
    """
    waiting: deque[list[Future[list[Attempt]]]] = deque()
    for block in blocks:
        waiting.append(
            [
                pool.submit(_encode_all, block[at : at + TASK_SAMPLES], alpha_bits)
                for at in range(0, len(block), TASK_SAMPLES)
            ]
        )
        while waiting and (len(waiting) > BLOCKS_AHEAD or all(task.done() for task in waiting[0])):
            yield [attempt for task in waiting.popleft() for attempt in task.result()]
    while waiting:
        yield [attempt for task in waiting.popleft() for attempt in task.result()]


def _encode_all(samples: Sequence[Sample], alpha_bits: int) -> list[Attempt]:
    return [
        (sample, encode(sample, alpha_bits=alpha_bits) if sample.reason is None else None)
        for sample in samples
    ]


def _png(pixels: NDArray[np.generic], level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()


def _alpha_levels(alpha: NDArray[np.float32], bits: int) -> NDArray[np.generic]:
    levels: NDArray[np.generic] = (
        alpha_to_uint8(alpha) if bits == 8 else np.rint(alpha * 65535).astype(np.uint16)
    )
    return levels


def _check(sample: Sample) -> None:
    size = sample.image.shape[:2]
    wanted = (
        ("image", sample.image, np.dtype(np.uint8), (*size, 3)),
        ("alpha", sample.alpha, np.dtype(np.float32), size),
        ("mask", sample.mask, np.dtype(np.bool_), size),
    )
    for name, array, dtype, shape in wanted:
        if array.dtype != dtype or array.shape != shape or 0 in shape:
            raise ValueError(
                f"{sample.key}: expected {name} {dtype} {shape}, got {array.dtype} {array.shape}"
            )
    low, high = sample.alpha.min(), sample.alpha.max()
    if not (low >= 0 and high <= 1):  # written so that NaN fails too
        raise ValueError(f"{sample.key}: expected alpha in [0, 1], got {low} to {high}")
