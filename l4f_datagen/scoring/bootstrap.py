"""Intervals by resampling images: ten annotated images carry only so much.

Images are drawn with replacement, their pixel counts are pooled again, and the middle 95 % of the
pooled scores is the interval (percentile bootstrap, Efron 1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.scoring.image_score import ImageScore, class_ratios

METRICS = ("miou", "iou_object", "iou_background", "f1", "precision", "recall", "accuracy")
DRAWS = 10_000  # the ends of a 95 % interval are then certain to 1 % of its width
GRID_DRAWS = 2_000  # for the many cells of a sweep
BUDGET = 20_000_000  # draws x images; above it fewer draws are made, never fewer than 1,000


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Plain numbers for JSON."""
        return dict(vars(self))

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Difference:
    """How much prediction A scores above prediction B on the same images."""

    metric: str  # one of `METRICS`
    interval: Interval  # A - B with its 95 % interval
    share_above: float  # share of resamples in which A scores above B
    num_images: int  # images both were scored on

    @property
    def is_clear(self) -> bool:
        """The interval does not hold zero."""
        return self.interval.low > 0 or self.interval.high < 0

    def to_dict(self) -> dict[str, float | str | int | bool]:
        """Plain values for JSON."""
        return {
            "metric": self.metric,
            **self.interval.to_dict(),
            "share_above": self.share_above,
            "num_images": self.num_images,
            "is_clear": self.is_clear,
        }

    def __str__(self) -> str:
        verdict = "clear of zero" if self.is_clear else "within the noise of these images"
        return f"{self.metric} {self.interval} over {self.num_images} images: {verdict}"


def pooled_metrics(counts: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Every metric of `METRICS` from pooled counts, int64 ``draws 4``; float64 ``draws`` each."""
    ratios = class_ratios(counts)
    iou, f1, precision, recall = ratios.mean(axis=0)
    accuracy = counts[:, [0, 3]].sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
    values = (iou, ratios[1, 0], ratios[0, 0], f1, precision, recall, accuracy)
    return dict(zip(METRICS, values, strict=True))


def _resampled(
    stacks: Sequence[NDArray[np.int64]], random: np.random.RandomState, draws: int
) -> list[NDArray[np.int64]]:
    """Pooled counts of each stack under the same draws of images; int64 ``draws 4`` each."""
    images = len(stacks[0])
    draws = max(min(draws, 1000), min(draws, BUDGET // images))
    block = max(1, 2_000_000 // images)  # keeps the weights of one block near 16 MB
    pooled: list[list[NDArray[np.int64]]] = [[] for _ in stacks]
    for start in range(0, draws, block):
        weights = random.multinomial(images, [1 / images] * images, min(block, draws - start))
        for parts, stack in zip(pooled, stacks, strict=True):
            parts.append(weights @ stack)
    return [np.concatenate(parts) for parts in pooled]


def score_intervals(
    images: Sequence[ImageScore], random: np.random.RandomState
) -> dict[str, Interval]:
    """95 % intervals over images (at least one) of every pooled metric, from ``random`` draws."""
    if not images:
        raise ValueError("an interval needs at least one image")
    return count_intervals(np.stack([image.counts for image in images]), random)


def count_intervals(
    counts: NDArray[np.int64], random: np.random.RandomState
) -> dict[str, Interval]:
    """Like `score_intervals`, from the pixel counts of the images: int64 ``images 4``."""
    values = pooled_metrics(counts.sum(axis=0, keepdims=True))
    (pooled,) = _resampled([counts], random, DRAWS)
    drawn = pooled_metrics(pooled)
    return {name: _interval(float(values[name][0]), drawn[name]) for name in METRICS}


def _interval(value: float, drawn: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Interval(value, float(low), float(high))


def grid_intervals(counts: NDArray[np.int64], random: np.random.RandomState) -> list[Interval]:
    """95 % intervals of mIoU for many cells scored on the same images, under the same draws.

    ``counts`` is int64 ``images cells 4``, as `image_score.confusion` counts.
    """
    images, cells, _ = counts.shape
    (pooled,) = _resampled([counts.reshape(images, -1)], random, GRID_DRAWS)
    drawn = pooled_metrics(pooled.reshape(-1, 4))["miou"].reshape(-1, cells)
    values = pooled_metrics(counts.sum(axis=0))["miou"]
    return [_interval(float(value), drawn[:, cell]) for cell, value in enumerate(values)]


def compare_predictions(
    a: Sequence[ImageScore],
    b: Sequence[ImageScore],
    random: np.random.RandomState,
    *,
    metric: str = "miou",
) -> Difference:
    """Compare two predictions of the same images (in any order), drawing the same for both."""
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} is none of {', '.join(METRICS)}")
    others = {image.name: image for image in b}
    if not a or {image.name for image in a} != set(others) or len(a) != len(b):
        raise ValueError("both predictions must be scored on the same images")
    ordered = (a, [others[image.name] for image in a])
    stacks = [np.stack([image.counts for image in images]) for images in ordered]
    values = [pooled_metrics(stack.sum(axis=0, keepdims=True))[metric][0] for stack in stacks]
    drawn_a, drawn_b = (pooled_metrics(p)[metric] for p in _resampled(stacks, random, DRAWS))
    difference = drawn_a - drawn_b
    interval = _interval(float(values[0] - values[1]), difference)
    return Difference(metric, interval, float((difference > 0).mean()), len(a))
