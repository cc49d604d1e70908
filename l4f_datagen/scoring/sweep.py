"""Sweep: the score over truncation and threshold, so that both are chosen by evidence.

A watcher of `score_pairs`: it cuts every alpha at all thresholds at once (one histogram an image),
groups the counts by the psi in the names, and pools them.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.annotations.records import sample_key_in
from l4f_datagen.annotations.truth import TruthMask
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.scoring.bootstrap import Difference, Interval, compare_counts, grid_intervals
from l4f_datagen.scoring.image_score import Counts, class_scores, confusion
from l4f_datagen.scoring.match import Pair

AXES = ("psi", "threshold")
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))  # 0.05 to 0.95


@dataclass(frozen=True)
class SweepRow:
    """One cell of a sweep."""

    psi: float | None  # truncation of the images, None for all of them together
    threshold: float | None  # mask = alpha > threshold; None for the masks as they were given
    num_images: int
    miou: Interval  # pooled, with its 95 % interval
    iou: float  # pooled, of the object, as are the next two
    precision: float
    recall: float


@dataclass(frozen=True)
class ScoreSweep:
    """Scores over truncation, threshold, or both."""

    axes: tuple[str, ...]  # of `AXES`
    rows: Sequence[SweepRow]  # by psi (all of them first), then threshold (as given first)
    best_threshold: float | None = None  # of the highest mIoU over all images
    gain: Difference | None = None  # of the masks cut there over the masks as given

    def row(self, psi: float | None = None, threshold: float | None = None) -> SweepRow:
        """The cell of one psi (None: all) and threshold (None: as given); KeyError if none."""
        for row in self.rows:
            if (row.psi, row.threshold) == (psi, threshold):
                return row
        raise KeyError((psi, threshold))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"gain": self.gain and self.gain.to_dict()}

    def to_text(self) -> str:
        """Table of the pooled mIoU: a line a threshold, a column a psi; intervals for all images.

        Object IoU, precision and recall of every cell stand in `to_dict`.
        """
        psis = [psi for psi in dict.fromkeys(row.psi for row in self.rows) if psi is not None]
        cuts = list(dict.fromkeys(row.threshold for row in self.rows))
        heads = [f"psi {psi:g} ({self.row(psi, cuts[0]).num_images})" for psi in psis]
        total = f"all ({self.rows[0].num_images})"
        lines = [f"mIoU, threshold  {total:>8}  {'95 % interval':<16}  " + "  ".join(heads)]
        for cut in cuts:
            row = self.row(None, cut)
            cells = [
                f"{self.row(psi, cut).miou.value:>{len(head)}.4f}"
                for psi, head in zip(psis, heads, strict=True)
            ]
            name = "masks as given" if cut is None else f"{cut:g}"
            interval = f"{row.miou.low:.4f} to {row.miou.high:.4f}"
            lines.append(f"{name:>15}  {row.miou.value:8.4f}  {interval}  " + "  ".join(cells))
        lines = [line.rstrip() for line in lines]
        if self.gain is not None:
            best = f"best threshold {self.best_threshold:g}"
            lines.append(f"{best}, against the masks as given: {self.gain}")
            lines.append("(chosen on these same images: the gain on others is smaller)")
        return "\n".join(lines)


class SweepCounts:
    """Collects what a sweep over some of `AXES` needs; a few hundred bytes an image are kept."""

    def __init__(self, axes: Sequence[str]) -> None:
        self.axes = tuple(name for name in AXES if name in axes)
        self.thresholds = THRESHOLDS if "threshold" in self.axes else ()
        self._psis: list[float | None] = []
        self._counts: list[Counts] = []

    def __call__(self, pair: Pair) -> None:
        """Count one pair."""
        key = sample_key_in(pair.name)
        if "psi" in self.axes and key is None:
            problem = "its name holds no psi to sweep over"
            raise AnnotationRefused(f"truth {pair.name}", problem, "use --sweep threshold")
        counts = [confusion(pair.truth.mask, pair.mask, pair.truth.ignore)]
        if self.thresholds:
            if pair.alpha is None:
                problem = "has no soft alpha, so no threshold to sweep over"
                remedy = "score a dataset with alpha/, or --domain or --generator"
                raise AnnotationRefused(f"prediction of {pair.name}", problem, remedy)
            counts.extend(threshold_counts(pair.truth, pair.alpha, self.thresholds))
        self._psis.append(None if key is None else int(key[3 : key.index("-")]) / 1000)
        self._counts.append(np.stack(counts))

    def sweep(self, random: np.random.RandomState) -> ScoreSweep:
        """Pool what was counted, at least one pair; ``random`` is the stream of the intervals."""
        counts = np.stack(self._counts)  # images cells 4
        cuts = (None, *self.thresholds)
        psis = {psi for psi in self._psis if psi is not None} if "psi" in self.axes else ()
        rows = []
        for group in (None, *sorted(psis)):
            members = [n for n, psi in enumerate(self._psis) if group is None or psi == group]
            chosen = counts[members]
            cells = zip(cuts, chosen.sum(axis=0), grid_intervals(chosen, random), strict=True)
            for cut, cell, interval in cells:
                _, own = class_scores(cell)
                shares = (own.iou, own.precision, own.recall)
                rows.append(SweepRow(group, cut, len(members), interval, *shares))
        if not self.thresholds:
            return ScoreSweep(self.axes, rows)
        best = max(range(1, len(cuts)), key=lambda cell: rows[cell].miou.value)
        gain = compare_counts(counts[:, best], counts[:, 0], random)
        return ScoreSweep(self.axes, rows, cuts[best], gain)


def threshold_counts(
    truth: TruthMask, alpha: NDArray[np.float32], thresholds: Sequence[float]
) -> Counts:
    """Counts of an alpha cut strictly above each threshold (ascending); int64 ``thresholds 4``."""
    mask = truth.mask
    if truth.ignore is not None:
        mask, alpha = mask[~truth.ignore], alpha[~truth.ignore]
    # How many thresholds lie strictly below a pixel's alpha: it is object at just those.
    passed = np.searchsorted(np.asarray(thresholds, alpha.dtype), alpha.ravel(), side="left")
    bins = len(thresholds) + 1
    joint = np.bincount(passed + bins * mask.ravel(), minlength=2 * bins).reshape(2, bins)
    above = joint[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
    below = joint.sum(axis=1, keepdims=True) - above
    return np.stack([above[1], above[0], below[1], below[0]], axis=1).astype(np.int64)
