"""The paper's metrics on one image: pixel counts, class scores, outlines and matting errors.

All pixel scores come from one confusion matrix, summed over images ("micro") and averaged over the
two classes ("macro"). *Object* is what the masks mark, whatever the authors' tables call it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from l4f_datagen.core.masks import Mask, edge_pixels

Counts = NDArray[np.int64]  # ``... 4``, as `confusion` counts

PAPER_EPS = 1e-4  # the authors add it to every denominator
BOUNDARY_TOLERANCE = 0.0075  # of the diagonal, rounded up to whole pixels (Csurka et al. 2013)


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class, each in [0, 1]."""

    iou: float
    f1: float
    precision: float
    recall: float


@dataclass(frozen=True)
class ImageScore:
    """What one image adds to a score; ``mae`` and ``sad`` are None without a soft prediction."""

    name: str  # of the image in the truth
    counts: Counts
    boundary_f: float  # in [0, 1]
    mae: float | None = None  # mean |alpha - truth| over the scored pixels
    sad: float | None = None  # sum of |alpha - truth|, thousands of pixels

    @property
    def object_iou(self) -> float:
        """IoU of the object on this image; 1 where neither side has any."""
        return class_scores(self.counts)[1].iou

    @property
    def miou(self) -> float:
        """Mean IoU of object and background on this image."""
        return mean_iou(self.counts)


def confusion(truth: Mask, mask: Mask, ignore: Mask | None = None) -> Counts:
    """Count pixels of masks, bool ``h w``, outside ``ignore``; int64 ``4``.

    True positives, false positives, false negatives, true negatives; positive is the object.
    """
    if ignore is not None:
        truth, mask = truth[~ignore], mask[~ignore]
    true_positive = np.count_nonzero(truth & mask)
    false_positive = np.count_nonzero(mask) - true_positive
    false_negative = np.count_nonzero(truth) - true_positive
    true_negative = truth.size - true_positive - false_positive - false_negative
    return np.asarray([true_positive, false_positive, false_negative, true_negative], np.int64)


def stacked(images: Sequence[ImageScore]) -> Counts:
    """Pixel counts of images, at least one: int64 ``images 4``."""
    return np.stack([image.counts for image in images])


def class_scores(counts: Counts, *, paper_compat: bool = False) -> tuple[ClassScores, ClassScores]:
    """Score background and object from the pixel counts of `confusion`, see `class_ratios`."""
    background, foreground = class_ratios(counts, paper_compat=paper_compat).tolist()
    return ClassScores(*background), ClassScores(*foreground)


def class_ratios(counts: Counts, *, paper_compat: bool = False) -> NDArray[np.float64]:
    """Ratios of each class, for many counts at once.

    A ratio 0/0 is 1 where the class is absent from truth and prediction alike (nothing there,
    nothing claimed) and 0 where only one side has it. F1 keeps the authors' 1e-4 in its
    denominator, so that it compares with the paper's tables to the fourth digit; a perfect match is
    1 nonetheless. With ``paper_compat`` every denominator gets it, and 0/0 is 0.

    Counts ``... 4`` give float64 ``2 4 ...``: IoU, F1, precision, recall of background and object.
    """
    tp, fp, fn, tn = np.moveaxis(counts.astype(np.float64), -1, 0)
    hits, false, missed = np.stack([tn, tp]), np.stack([fn, fp]), np.stack([fp, fn])
    epsilon, least = (PAPER_EPS, 0) if paper_compat else (0, 1)
    claimed, there = epsilon + hits + false, epsilon + hits + missed
    wholes = (claimed + missed, claimed, there)
    iou, precision, recall = (hits / np.maximum(whole, least) for whole in wholes)
    f1 = 2 * precision * recall / (PAPER_EPS + precision + recall)
    ratios = np.stack([iou, f1, precision, recall], axis=1)
    return ratios if paper_compat else np.where((false + missed == 0)[:, None], 1.0, ratios)


def mean_iou(counts: Counts) -> float:
    """Mean IoU of background and object, of many counts the mean of each one's."""
    return float(class_ratios(counts)[:, 0].mean())


def boundary_f(
    truth: Mask, mask: Mask, ignore: Mask | None = None, tolerance: float = BOUNDARY_TOLERANCE
) -> float:
    """F measure of outlines of masks, bool ``h w``: which share of each lies near the other.

    Outline pixels in ``ignore`` are left out. F is 1 where neither side has an outline, 0 where
    only one has.
    """
    edges = []
    for each in (truth, mask):
        edge = edge_pixels(each) if ignore is None else edge_pixels(each) & ~ignore
        places = np.divmod(np.flatnonzero(edge), mask.shape[1])  # 5 x as fast as argwhere
        edges.append(np.stack(places, axis=1))
    if not all(map(len, edges)):
        return float(not any(map(len, edges)))
    reach = float(np.ceil(tolerance * np.hypot(*truth.shape)))
    shares = []
    for points, others in (edges, edges[::-1]):
        # Balancing a tree that is asked once costs more than it saves.
        tree = cKDTree(others, balanced_tree=False, compact_nodes=False)
        distances, _ = tree.query(points, distance_upper_bound=reach + 1e-6)
        shares.append(float(np.isfinite(distances).mean()))
    recall, precision = shares
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def score_image(
    name: str,
    truth: Mask,
    mask: Mask,
    *,
    ignore: Mask | None = None,
    alpha: NDArray[np.float32] | None = None,  # in [0, 1]
    truth_alpha: NDArray[np.float32] | None = None,  # None: the hard mask
) -> ImageScore:
    """Score one image outside ``ignore``; arrays are ``h w`` of one size."""
    mae = sad = None
    if alpha is not None:
        difference = np.abs(alpha - (truth if truth_alpha is None else truth_alpha))
        if ignore is not None:
            difference = difference[~ignore]
        total = float(difference.sum(dtype=np.float64))
        mae, sad = total / max(difference.size, 1), total / 1000
    counts = confusion(truth, mask, ignore)
    return ImageScore(name, counts, boundary_f(truth, mask, ignore), mae, sad)
