"""Intervals by resampling images: ten annotated images carry only so much.

Images are drawn with replacement, their pixel counts are pooled again, and the middle 95 % of the
pooled scores is the interval (percentile bootstrap, Efron 1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.scoring.image_score import PAPER_EPS, ImageScore

METRICS = ("miou", "iou_object", "iou_background", "f1", "precision", "recall", "accuracy")
DRAWS = 10_000
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
        return {"value": self.value, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Difference:
    """How much prediction A scores above prediction B on the same images.

    Attributes:
        metric: one of `METRICS`.
        interval: A - B with its 95 % interval.
        share_above: share of resamples in which A scores above B.
        num_images: images both were scored on.
    """

    metric: str
    interval: Interval
    share_above: float
    num_images: int

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
    """Compute every metric of `METRICS` from pooled counts.

    Args:
        counts: int64 ``draws 4``, as `metrics.confusion` counts.

    Returns:
        float64 ``draws`` for each metric; 0/0 as in `metrics.class_scores`.
    """
    tp, fp, fn, tn = counts.astype(np.float64).T
    columns: dict[str, list[NDArray[np.float64]]] = {}
    for hits, false, missed in ((tn, fn, fp), (tp, fp, fn)):
        union = hits + false + missed
        absent = union == 0
        precision = hits / np.maximum(hits + false, 1)
        recall = hits / np.maximum(hits + missed, 1)
        f1 = 2 * precision * recall / (PAPER_EPS + precision + recall)
        f1 = np.where(false + missed == 0, 1.0, f1)
        for name, ratio in (
            ("iou", hits / np.maximum(union, 1)),
            ("f1", f1),
            ("precision", precision),
            ("recall", recall),
        ):
            columns.setdefault(name, []).append(np.where(absent, 1.0, ratio))
    return {
        "miou": np.mean(columns["iou"], axis=0),
        "iou_object": columns["iou"][1],
        "iou_background": columns["iou"][0],
        "f1": np.mean(columns["f1"], axis=0),
        "precision": np.mean(columns["precision"], axis=0),
        "recall": np.mean(columns["recall"], axis=0),
        "accuracy": (tp + tn) / np.maximum(tp + fp + fn + tn, 1),
    }


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
    images: Sequence[ImageScore], random: np.random.RandomState, *, draws: int = DRAWS
) -> dict[str, Interval]:
    """95 % intervals over images of every pooled metric.

    Args:
        images: at least one.
        random: the stream the draws come from.
        draws: resamples.

    Raises:
        ValueError: no images.
    """
    if not images:
        raise ValueError("an interval needs at least one image")
    return count_intervals(np.stack([image.counts for image in images]), random, draws=draws)


def count_intervals(
    counts: NDArray[np.int64], random: np.random.RandomState, *, draws: int = DRAWS
) -> dict[str, Interval]:
    """Like `score_intervals`, from the pixel counts of the images: int64 ``images 4``."""
    values = pooled_metrics(counts.sum(axis=0, keepdims=True))
    (pooled,) = _resampled([counts], random, draws)
    drawn = pooled_metrics(pooled)
    return {name: _interval(float(values[name][0]), drawn[name]) for name in METRICS}


def _interval(value: float, drawn: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Interval(value, float(low), float(high))


def grid_intervals(
    counts: NDArray[np.int64], random: np.random.RandomState, *, draws: int = GRID_DRAWS
) -> list[Interval]:
    """95 % intervals of mIoU for many cells that were scored on the same images.

    Args:
        counts: int64 ``images cells 4``, as `metrics.confusion` counts.
        random: the stream the draws come from; every cell sees the same draws.
        draws: resamples.
    """
    images, cells, _ = counts.shape
    (pooled,) = _resampled([counts.reshape(images, -1)], random, draws)
    drawn = pooled_metrics(pooled.reshape(-1, 4))["miou"].reshape(-1, cells)
    values = pooled_metrics(counts.sum(axis=0))["miou"]
    return [_interval(float(value), drawn[:, cell]) for cell, value in enumerate(values)]


def compare_predictions(
    a: Sequence[ImageScore],
    b: Sequence[ImageScore],
    random: np.random.RandomState,
    *,
    metric: str = "miou",
    draws: int = DRAWS,
) -> Difference:
    """Compare two predictions of the same images, drawing the same images for both.

    Args:
        a: scores of the first prediction.
        b: scores of the second; the same names, in any order.
        random: the stream the draws come from.
        metric: one of `METRICS`.
        draws: resamples.

    Raises:
        ValueError: not the same images, none at all, or an unknown metric.
    """
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} is none of {', '.join(METRICS)}")
    others = {image.name: image for image in b}
    if not a or {image.name for image in a} != set(others) or len(a) != len(b):
        raise ValueError("both predictions must be scored on the same images")
    stacks = [
        np.stack([image.counts for image in a]),
        np.stack([others[image.name].counts for image in a]),
    ]
    values = [pooled_metrics(stack.sum(axis=0, keepdims=True))[metric][0] for stack in stacks]
    drawn_a, drawn_b = (pooled_metrics(p)[metric] for p in _resampled(stacks, random, draws))
    difference = drawn_a - drawn_b
    return Difference(
        metric,
        _interval(float(values[0] - values[1]), difference),
        float((difference > 0).mean()),
        len(a),
    )
