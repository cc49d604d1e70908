"""Tables 1 to 5 of the paper's appendix in its columns, and one over psi; as text and CSV.

A line with several training seeds shows their mean and the 95 % interval of Student's t over seeds;
a line with one shows its value and the 95 % bootstrap interval over pictures.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from l4f_datagen.benchmark.rows import Row
from l4f_datagen.scoring.bootstrap import METRICS, Interval, count_intervals, pooled_metrics

RENDERS = "renders"
BOOTSTRAP_SEED = 0
HEADER = f"{'IOU fg/bg':>13}  {'mIOU':>6} {'F1':>6} {'Prec':>6} {'Rec':>6} {'Acc':>6}"
LEGEND = (
    "+-: half the 95 % interval, of the mean over training seeds (Student's t) where there are "
    "several;\nlines with * have one, theirs is over pictures (bootstrap). fg is the object, bg "
    "the background."
)


@dataclass(frozen=True)
class Line:
    """One line of a table.

    Attributes:
        method: its name.
        psi: of its pictures, None for renders.
        seeds: training seeds.
        num_images: pictures scored for each.
        scores: metric -> value with its interval.
        over: what the interval is over, ``seeds`` or ``pictures``.
        notes: what a reader must know of it.
        training_cpu_s: mean CPU seconds of a training, as far as it was done here.
    """

    method: str
    psi: float | None
    seeds: tuple[int, ...]
    num_images: int
    scores: Mapping[str, Interval]
    over: str
    notes: tuple[str, ...]
    training_cpu_s: float


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        number: 1 to 5 as in the paper's appendix; 6 is not in it.
        title: what it compares.
        lines: in order.
    """

    number: int
    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Spec:
    """What a table holds.

    Attributes:
        title: what it compares.
        methods: in the order of its lines; ``*`` stands for all that no other entry names.
        on: ``psi``, every psi; ``untruncated``, the largest psi; or ``renders``.
    """

    title: str
    methods: tuple[str, ...]
    on: str = "untruncated"


SPECS = {
    1: Spec(
        "Backgrounds (paper: pictures of MIT Places)",
        ("unrelated-backgrounds", "const-mute", "conv1-mute", "full"),
    ),
    2: Spec(
        "Alpha network of the last layer alone; no real image",
        ("last-layer", "reals-generator", "full"),
    ),
    3: Spec("Editing in Style, no truncation", ("editing-in-style", "full")),
    4: Spec(
        "ReDO, floors, tools from outside and ceiling on generated pictures",
        (
            "redo",
            "otsu",
            "colour-gmm",
            "outside",
            "segmenter",
            "given-weights",
            "full",
            "taught",
            "supervised",
        ),
    ),
    5: Spec(
        "ReDO on pictures that no generator made, exact masks (paper: CelebA-Mask)",
        ("redo", "otsu", "colour-gmm", "segmenter", "supervised"),
        on=RENDERS,
    ),
    6: Spec("Every method over psi", ("*",), on="psi"),
}


def line_of(rows: Sequence[Row], psi: float | None) -> Line:
    """Pool the rows of one method on one set of pictures, one row a training seed."""
    pooled = [pooled_metrics(row.counts.sum(axis=0, keepdims=True)) for row in rows]
    if len(rows) > 1:
        scores = {
            name: seed_interval([float(values[name][0]) for values in pooled]) for name in METRICS
        }
    else:
        stream = np.random.RandomState(BOOTSTRAP_SEED)
        scores = count_intervals(rows[0].counts, stream)
    trained = [row.training_cpu_s for row in rows if row.training_cpu_s]
    return Line(
        rows[0].method,
        psi,
        tuple(row.seed for row in rows),
        len(rows[0].counts),
        scores,
        "seeds" if len(rows) > 1 else "pictures",
        tuple(notes_of(rows)),
        float(np.mean(trained)) if trained else 0.0,
    )


def seed_interval(values: Sequence[float]) -> Interval:
    """Mean of at least two values and the 95 % interval of Student's t."""
    mean, count = float(np.mean(values)), len(values)
    half = float(stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return Interval(mean, mean - half, mean + half)


def notes_of(rows: Sequence[Row]) -> list[str]:
    """Say where a training collapsed, and where masks are all but constant."""
    notes = [f"training seed {row.seed}: {row.collapse}" for row in rows if row.collapse]
    for row in rows:
        tp, fp, fn, tn = row.counts.sum(axis=0)
        coverage = (tp + fp) / max(tp + fp + fn + tn, 1)
        if not 0.01 <= coverage <= 0.99:
            shade = "black" if coverage < 0.5 else "white"
            notes.append(f"training seed {row.seed}: masks are all but {shade}")
    return notes


def build_tables(
    lines: Mapping[tuple[str, str], Line], psis: Sequence[float], outside: Sequence[str]
) -> list[Table]:
    """Sort lines into the tables.

    Args:
        lines: (method, set of pictures as ``Row.on``) -> line.
        psis: all psi; the largest stands for "no truncation".
        outside: names of tools from outside.
    """
    tables = []
    every = list(dict.fromkeys(method for method, _ in lines))
    for number, spec in SPECS.items():
        sets = {RENDERS: [RENDERS], "psi": [on_psi(psi) for psi in psis]}
        wanted = sets.get(spec.on, [on_psi(max(psis))])
        names: list[str] = []
        for name in spec.methods:
            names += every if name == "*" else outside if name == "outside" else [name]
        found = tuple(lines[name, on] for name in names for on in wanted if (name, on) in lines)
        tables.append(Table(number, spec.title, found))
    return tables


def on_psi(psi: float) -> str:
    """Name the generated pictures of one psi."""
    return f"psi{round(psi * 1000):04d}"


def tables_text(tables: Sequence[Table], head: str) -> str:
    """Write tables in the paper's columns, an interval below each line."""
    parts = [head]
    for table in tables:
        rows = [f"Table {table.number}. {table.title}"]
        if not table.lines:
            parts.append(f"{rows[0]}\nnot measured")
            continue
        wide = max(len(label_of(line)) for line in table.lines) + 2
        rows.append(" " * wide + HEADER + "  seeds")
        for line in table.lines:
            values = {name: score.value for name, score in line.scores.items()}
            halves = {name: (s.high - s.low) / 2 for name, s in line.scores.items()}
            seeds = ",".join(map(str, line.seeds)) if line.over == "seeds" else "*"
            rows.append(f"{label_of(line):<{wide}}{cells(values)}  {seeds}")
            rows.append(f"{'  +-':<{wide}}{cells(halves)}")
        rows += [f"{label_of(line)}: {note}" for line in table.lines for note in line.notes]
        parts.append("\n".join(rows))
    return "\n\n".join([*parts, LEGEND])


def label_of(line: Line) -> str:
    """Name a line."""
    return line.method if line.psi is None else f"{line.method}, psi {line.psi:g}"


def cells(values: Mapping[str, float]) -> str:
    """Write one line's numbers in the paper's columns."""
    pair = f"{values['iou_object']:.4f}/{values['iou_background']:.4f}"
    names = ("miou", "f1", "precision", "recall", "accuracy")
    return f"{pair}  " + " ".join(f"{values[name]:.4f}" for name in names)


def tables_csv(tables: Sequence[Table]) -> str:
    """Write all lines of all tables, every metric with both ends of its interval."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    ends = [f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")]
    first = ("table", "method", "pictures", "psi", "num_images", "training_seeds", "interval_over")
    writer.writerow([*first, *ends, "training_cpu_s", "notes"])
    for table in tables:
        for line in table.lines:
            scores = [line.scores[name] for name in METRICS]
            numbers = [f"{x:.6f}" for s in scores for x in (s.value, s.low, s.high)]
            on = RENDERS if line.psi is None else "generated"
            psi = "" if line.psi is None else f"{line.psi:g}"
            seeds = " ".join(map(str, line.seeds))
            facts = [table.number, line.method, on, psi, line.num_images, seeds, line.over]
            writer.writerow([*facts, *numbers, f"{line.training_cpu_s:.1f}", "; ".join(line.notes)])
    return buffer.getvalue()
