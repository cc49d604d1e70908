"""History: what the log of a training says, as curves and as numbers for a manifest."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

from l4f_datagen.io.disk import staged

FINAL_PREVIEW = "preview-final.png"
LOG = "log.jsonl"


@dataclass(frozen=True)
class Panel:
    """One panel of ``curves.png``: its title, what good looks like, and its curves by name."""

    title: str
    good: str
    curves: Mapping[str, str]


PANELS = (
    Panel(
        "Adversarial losses",
        "Good: both level off. Bad: the discriminator's falls to 0 and the other one climbs.",
        {"d_loss": "discriminator (d_loss)", "realism": "alpha network (realism)"},
    ),
    Panel(
        "Coverage: mean alpha",
        "Good: settles near the object's share of the image. Bad: ends at 0 (empty) or 1 (full).",
        {"alpha_coverage": "mean alpha"},
    ),
    Panel(
        "Indecision: mean min(alpha, 1 - alpha)",
        "Good: falls towards 0, where every pixel is object or background. Bad: stays (grey).",
        {"binarization": "indecision"},
    ),
)
REST = {"rest_d_loss": "second discriminator", "rest_realism": "alpha network (realism)"}
RISES = "Rises to its limit, by default 0.8 in attempt 1, which measures the object; 0.5 if small."
STAYS = "Stays high: self-training, after these steps, decides what is object."
TWO_SIDED_PANELS = (
    PANELS[0],
    Panel("Adversarial losses of what is left without the object", PANELS[0].good, REST),
    replace(PANELS[1], good=RISES),
    replace(PANELS[2], good=STAYS),
)
SCORES = Panel(
    "Score of every snapshot, without labels: stable, agreed on, realistic and hard",
    "1 is the best possible. The snapshot with the highest score is kept.",
    {},
)
CURVES = tuple(name for panel in PANELS for name in panel.curves)
WIDTH_INCHES, PANEL_INCHES, DPI = 8.0, 2.4, 100
MAX_POINTS = 200
"""Of a curve in a manifest: more are averaged in bins of equal length."""
MAX_ATTEMPTS = 8
MAX_LOG_BYTES = 64 * 2**20
DIGITS = 5


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the rows of ``log.jsonl``; a last line that was cut short does not count."""
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def write_curves(
    rows: Sequence[dict[str, Any]], path: Path, scores: Mapping[int, float], kept: int | None
) -> None:
    """Draw the log as ``curves.png``, staged and renamed; every attempt has lines of its own.

    Scores of the snapshots, by step, have a panel of their own where there are any; the step of the
    snapshot that was kept is drawn through all panels.
    """
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    attempts = sorted({row["attempt"] for row in rows})
    two_sided = any(row.get("rest_d_loss") for row in rows)
    panels = (*(TWO_SIDED_PANELS if two_sided else PANELS), *([SCORES] if scores else []))
    with style.context("default"):  # whatever the user's matplotlibrc says
        figure = Figure(figsize=(WIDTH_INCHES, PANEL_INCHES * len(panels)), layout="constrained")
        FigureCanvasAgg(figure)
        drawn = figure.subplots(len(panels), 1, sharex=True)
        for axes, panel in zip(drawn, panels, strict=True):
            for attempt in attempts:
                own = [row for row in rows if row["attempt"] == attempt]
                for name, words in panel.curves.items():
                    label = words if len(attempts) == 1 else f"{words}, attempt {attempt}"
                    values = [row[name] for row in own]
                    axes.plot([row["step"] for row in own], values, label=label, linewidth=1)
            if panel is SCORES:
                axes.plot(list(scores), list(scores.values()), "o-", label="score", linewidth=1)
            if kept is not None:
                line = f"kept snapshot: step {kept}" if axes is drawn[0] else None
                axes.axvline(kept, color="black", linewidth=1, linestyle=":", label=line)
            axes.set_title(panel.title, fontsize="medium", loc="left", pad=18)
            place = {"xycoords": "axes fraction", "textcoords": "offset points"}
            axes.annotate(panel.good, (0, 1), (0, 5), **place, fontsize="small", color="#555555")
            axes.grid(alpha=0.3)
            axes.legend(fontsize="small")
            if panel is SCORES or "alpha_coverage" in panel.curves:
                axes.set_ylim(0, 1)
        drawn[-1].set_xlabel("training step")
        words = f"Training of the alpha network, {rows[-1]['step']} steps"
        words += f" in attempt {attempts[-1]}" if len(attempts) > 1 else ""
        figure.suptitle(words, fontsize="large")
        with staged(path) as file:
            figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})


def read_history(run: Path, training: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the history of a finished training, small enough for a manifest.

    ``run`` is its folder, ``training`` what the file of its network says of it. The history has
    ``steps``; ``kept_step``, None where the file does not name it; ``attempts``, each with
    ``attempt`` and lists of one length: ``step`` and the names of ``CURVES``, None for what was not
    a number. None where the folder has no log that can be read.
    """
    log = run / LOG
    try:
        if log.stat().st_size > MAX_LOG_BYTES:
            return None
        rows = read_log(log)
        attempts = [list(own) for _, own in groupby(rows, key=lambda row: int(row["attempt"]))]
        histories = [_thinned(own) for own in attempts[-MAX_ATTEMPTS:]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not histories:
        return None
    kept = training.get("kept_step")
    kept_step = kept if type(kept) is int else None
    return {"steps": histories[-1]["step"][-1], "kept_step": kept_step, "attempts": histories}


def preview_file(run: Path, kept_step: int | None) -> Path | None:
    """Return the sheet of the result, or else of the kept snapshot, or of the last there is."""
    if (final := run / FINAL_PREVIEW).exists():
        return final
    sheets = sorted(run.glob("preview-*.png"))  # by attempt and step
    kept = [sheet for sheet in sheets if sheet.stem.endswith(f"-{kept_step or 0:06d}")]
    return (kept or sheets)[-1] if sheets else None


def preview_png(run: Path | None, history: Mapping[str, Any] | None) -> bytes | None:
    """Return the bytes of ``preview_file``; None where there is none."""
    if run is None or history is None:
        return None
    sheet = preview_file(run, history["kept_step"])
    try:
        return sheet.read_bytes() if sheet else None
    except OSError:
        return None


def _thinned(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    size = math.ceil(len(rows) / MAX_POINTS)
    bins = [rows[start : start + size] for start in range(0, len(rows), size)]
    steps = [int(part[-1]["step"]) for part in bins]
    curves = {name: [_mean(float(row[name]) for row in part) for part in bins] for name in CURVES}
    return {"attempt": int(rows[0]["attempt"]), "step": steps, **curves}


def _mean(values: Iterable[float]) -> float | None:
    mean = fmean(values)
    return float(f"{mean:.{DIGITS}g}") if math.isfinite(mean) else None
