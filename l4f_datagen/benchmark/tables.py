"""Tables 1 to 5 of the paper's appendix in its columns, and one over psi: text, CSV and figure.

Intervals are 95 %: Student's t over several training seeds, or bootstrap over the images of one.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

from l4f_datagen.benchmark.bench import Row
from l4f_datagen.io.figures import explained, fit, outline, sheet
from l4f_datagen.scoring.bootstrap import METRICS, Interval, count_intervals, pooled_metrics

RENDERS = "renders"
BOOTSTRAP_SEED = 0
HEADER = f"{'IOU fg/bg':>13}  {'mIOU':>6} {'F1':>6} {'Prec':>6} {'Rec':>6} {'Acc':>6}"
LEGEND = (
    "+-: half the 95 % interval, of the mean over training seeds (Student's t) where there are "
    "several;\nlines with * have one, theirs is over images (bootstrap). fg is the object, bg "
    "the background."
)
TILE_PX = 128
FIGURE_TITLE = "The same images in every row, and what each method takes for the object"
FIGURE_NOTES = (
    "The line is the mask's edge, and what the mask leaves out is dimmed. Good: a row that looks "
    "like the truth. Shown is the first training seed at the largest psi."
)
DIMMED = 0.45  # brightness of what the mask leaves out


@dataclass(frozen=True)
class Line:
    """One line of a table."""

    method: str
    psi: float | None  # of its images, None for renders
    seeds: tuple[int, ...]  # of the trainings
    num_images: int  # scored for each seed
    scores: Mapping[str, Interval]  # metric -> value with its interval
    over: str  # what the interval is over, ``seeds`` or ``images``
    notes: tuple[str, ...]  # warnings for the reader
    training_cpu_s: float  # mean CPU seconds of a training, 0 if unknown

    @property
    def label(self) -> str:
        """Method and psi."""
        return self.method if self.psi is None else f"{self.method}, psi {self.psi:g}"


@dataclass(frozen=True)
class Table:
    """One table; numbers 1 to 5 as in the paper's appendix."""

    number: int
    title: str
    lines: tuple[Line, ...]


LARGEST, EVERY = "largest psi", "every psi"
SPECS = {
    1: (LARGEST, "unrelated-backgrounds const-mute conv1-mute full",
        "Backgrounds (paper: images of MIT Places)"),
    2: (LARGEST, "last-layer reals-generator full",
        "Alpha network of the last layer alone; no real image"),
    3: (LARGEST, "editing-in-style full", "Editing in Style, no truncation"),
    4: (LARGEST, "redo otsu colour-gmm external segmenter given-weights full taught supervised",
        "ReDO, simple baselines, external tools and upper bound on generated images"),
    5: (RENDERS, "redo otsu colour-gmm segmenter supervised",
        "ReDO on images that no generator made, exact masks (paper: CelebA-Mask)"),
    6: (EVERY, "*", "Every method over psi"),
}  # fmt: skip
"""Number -> images, methods in order (``*``: every one, ``external``: every tool), and title."""


def line_of(rows: Sequence[Row], psi: float | None) -> Line:
    """Pool the rows of one method on one set of images, one row per training seed.

    Notes tell collapsed trainings and masks that are nearly constant.
    """
    if len(rows) > 1:
        pooled = pooled_metrics(np.stack([row.counts.sum(axis=0) for row in rows]))
        scores = {name: seed_interval(pooled[name].tolist()) for name in METRICS}
    else:
        scores = count_intervals(rows[0].counts, np.random.RandomState(BOOTSTRAP_SEED))
    notes = [f"training seed {row.seed}: {row.collapse}" for row in rows if row.collapse]
    for row in rows:
        tp, fp, fn, tn = row.counts.sum(axis=0)
        coverage = (tp + fp) / max(tp + fp + fn + tn, 1)
        if not 0.01 <= coverage <= 0.99:
            shade = "black" if coverage < 0.5 else "white"
            notes.append(f"training seed {row.seed}: masks are almost all {shade}")
    trained = [row.training_cpu_s for row in rows if row.training_cpu_s] or [0.0]
    seeds, over = tuple(row.seed for row in rows), "seeds" if len(rows) > 1 else "images"
    facts = (scores, over, tuple(notes), float(np.mean(trained)))
    return Line(rows[0].method, psi, seeds, len(rows[0].counts), *facts)


def seed_interval(values: Sequence[float]) -> Interval:
    """Mean of at least two values and the 95 % interval of Student's t."""
    mean, count = float(np.mean(values)), len(values)
    half = float(stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return Interval(mean, mean - half, mean + half)


def build_tables(
    lines: Mapping[tuple[str, str], Line], psis: Sequence[float], external: Sequence[str]
) -> list[Table]:
    """Sort lines into the tables.

    ``lines`` are by method and set of images as ``Row.on``; the largest psi stands for "no
    truncation"; ``external`` names external tools.
    """
    tables = []
    groups = {"*": list(dict.fromkeys(method for method, _ in lines)), "external": external}
    sets = {RENDERS: [RENDERS], EVERY: list(map(on_psi, psis)), LARGEST: [on_psi(max(psis))]}
    for number, (images, methods, title) in SPECS.items():
        names = [name for word in methods.split() for name in groups.get(word, [word])]
        pairs = ((name, on) for name in names for on in sets[images])
        tables.append(Table(number, title, tuple(lines[pair] for pair in pairs if pair in lines)))
    return tables


def on_psi(psi: float) -> str:
    """Name the generated images of one psi."""
    return f"psi{round(psi * 1000):04d}"


def tables_text(tables: Sequence[Table], head: str) -> str:
    """Format tables in the paper's columns, an interval below each line."""
    parts = [head]
    for table in tables:
        rows = [f"Table {table.number}. {table.title}"]
        if not table.lines:
            parts.append(f"{rows[0]}\nnot measured")
            continue
        wide = max(len(line.label) for line in table.lines) + 2
        rows.append(" " * wide + HEADER + "  seeds")
        for line in table.lines:
            values = {name: score.value for name, score in line.scores.items()}
            halves = {name: (s.high - s.low) / 2 for name, s in line.scores.items()}
            seeds = ",".join(map(str, line.seeds)) if line.over == "seeds" else "*"
            rows.append(f"{line.label:<{wide}}{cells(values)}  {seeds}")
            rows.append(f"{'  +-':<{wide}}{cells(halves)}")
        rows += [f"{line.label}: {note}" for line in table.lines for note in line.notes]
        parts.append("\n".join(rows))
    return "\n\n".join([*parts, LEGEND])


def cells(values: Mapping[str, float]) -> str:
    """Format one line's numbers in the paper's columns."""
    pair = f"{values['iou_object']:.4f}/{values['iou_background']:.4f}"
    names = ("miou", "f1", "precision", "recall", "accuracy")
    return f"{pair}  " + " ".join(f"{values[name]:.4f}" for name in names)


def tables_csv(tables: Sequence[Table], note: str = "") -> str:
    """Format tables as CSV, every metric with both ends of its interval, and ``note`` first."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    ends = [f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")]
    first = ("table", "method", "images", "psi", "num_images", "training_seeds", "interval_over")
    writer.writerow([*first, *ends, "training_cpu_s", "notes"])
    for table in tables:
        for line in table.lines:
            scores = [line.scores[name] for name in METRICS]
            numbers = [f"{x:.6f}" for s in scores for x in (s.value, s.low, s.high)]
            on = RENDERS if line.psi is None else "generated"
            psi = "" if line.psi is None else f"{line.psi:g}"
            seeds = " ".join(map(str, line.seeds))
            facts = [table.number, line.method, on, psi, line.num_images, seeds, line.over]
            notes = "; ".join(filter(None, (note, *line.notes)))
            writer.writerow([*facts, *numbers, f"{line.training_cpu_s:.1f}", notes])
    return buffer.getvalue()


def figure(
    images: Sequence[NDArray[np.uint8]], rows: Sequence[tuple[str, Sequence[NDArray[np.bool_]]]]
) -> Image.Image:
    """Draw the images, then a row for each name with its masks outlined and the rest dimmed."""
    tiles = [list(images), *([*map(lit, images, masks)] for _, masks in rows)]
    names = ["images", *(name for name, _ in rows)]
    return explained(sheet(tiles, tile_px=TILE_PX), FIGURE_TITLE, FIGURE_NOTES, rows=names)


def lit(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Fit an image into its tile, dim what the mask leaves out and outline the mask."""
    tile = np.asarray(fit(image, TILE_PX))
    size = tile.shape[1::-1]
    fitted = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    shade = np.where(fitted[..., None], 1.0, DIMMED)
    return outline(np.rint(tile * shade).astype(np.uint8), fitted)
