"""Intervals by resampling images: ten annotated images carry only so much.

Images are drawn with replacement, their pixel counts are pooled again, and the middle 95 % of the
pooled scores is the interval (percentile bootstrap, Efron 1979).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.scoring.image_score import PAPER_EPS, Counts, class_ratios

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

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Difference:
    """How much prediction A scores above prediction B on the same images, in mIoU."""

    interval: Interval  # A - B with its 95 % interval
    share_above: float  # share of resamples in which A scores above B
    num_images: int  # images both were scored on

    @property
    def is_clear(self) -> bool:
        """The interval does not hold zero."""
        return self.interval.low > 0 or self.interval.high < 0

    def to_dict(self) -> dict[str, float | str | int | bool]:
        """Plain values for JSON."""
        counted = {"share_above": self.share_above, "num_images": self.num_images}
        return {"metric": "miou", **vars(self.interval), **counted, "is_clear": self.is_clear}

    def __str__(self) -> str:
        verdict = "clear of zero" if self.is_clear else "within the noise of these images"
        return f"miou {self.interval} over {self.num_images} images: {verdict}"


def pooled_metrics(counts: Counts, *, paper_compat: bool = False) -> dict[str, NDArray[np.float64]]:
    """Every metric of `METRICS` from pooled counts, int64 ``... 4``; float64 ``...`` each."""
    ratios = class_ratios(counts, paper_compat=paper_compat)
    iou, f1, precision, recall = ratios.mean(axis=0)
    pixels = np.maximum(counts.sum(axis=-1), 1) + (PAPER_EPS if paper_compat else 0)
    accuracy = counts[..., [0, 3]].sum(axis=-1) / pixels
    values = (iou, ratios[1, 0], ratios[0, 0], f1, precision, recall, accuracy)
    return dict(zip(METRICS, values, strict=True))


def count_intervals(counts: Counts, random: np.random.RandomState) -> dict[str, Interval]:
    """95 % intervals over images of every pooled metric, from their counts: int64 ``images 4``."""
    values = pooled_metrics(counts.sum(axis=0))
    drawn = pooled_metrics(_resampled(counts, random, DRAWS))
    return {name: _interval(values[name], drawn[name]) for name in METRICS}


def grid_intervals(counts: Counts, random: np.random.RandomState) -> list[Interval]:
    """95 % intervals of mIoU for many cells scored on the same images, under the same draws.

    ``counts`` is int64 ``images cells 4``.
    """
    values = pooled_metrics(counts.sum(axis=0))["miou"]
    drawn = pooled_metrics(_resampled(counts, random, GRID_DRAWS))["miou"]
    return [_interval(*cell) for cell in zip(values, drawn.T, strict=True)]


def compare_counts(a: Counts, b: Counts, random: np.random.RandomState) -> Difference:
    """Compare the mIoU of two predictions of the same images, int64 ``images 4`` in one order.

    The same images are drawn for both.
    """
    both = np.stack([a, b], axis=1)
    value = np.subtract(*pooled_metrics(both.sum(axis=0))["miou"])
    drawn = np.subtract(*pooled_metrics(_resampled(both, random, DRAWS))["miou"].T)
    return Difference(_interval(value, drawn), float((drawn > 0).mean()), len(a))


def _interval(value: Any, drawn: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Interval(float(value), float(low), float(high))


def _resampled(counts: Counts, random: np.random.RandomState, draws: int) -> Counts:
    """Pool counts ``images ... 4`` under draws of images: ``draws ... 4``."""
    images = len(counts)
    draws = max(min(draws, 1000), min(draws, BUDGET // images))
    block = max(1, 2_000_000 // images)  # keeps the weights of one block near 16 MB
    pooled = []
    for start in range(0, draws, block):
        weights = random.multinomial(images, [1 / images] * images, min(block, draws - start))
        pooled.append(weights @ counts.reshape(images, -1))
    return np.concatenate(pooled).reshape(-1, *counts.shape[1:])
