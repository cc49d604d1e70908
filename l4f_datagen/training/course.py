"""Course: what a dataset says of the training of its alpha network, read from the run's folder."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

from l4f_datagen.training.curves import PANELS, read_log

LOG = "log.jsonl"
MAX_POINTS = 200
"""Of a curve: more are averaged in bins of equal length."""
MAX_ATTEMPTS = 8
MAX_LOG_BYTES = 64 * 2**20
DIGITS = 5
CURVES = tuple(name for names in PANELS.values() for name in names)


def read_course(run: Path, training: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the course of a finished training, small enough for a manifest.

    Args:
        run: its folder.
        training: what the file of its network says of it.

    Returns:
        ``steps``; ``kept_step``, None where the file does not name it; ``attempts``, each with
        ``attempt`` and lists of one length: ``step`` and the names of ``curves.PANELS``, None for
        what was no number. None where the folder has no log that can be read.
    """
    log = run / LOG
    try:
        if log.stat().st_size > MAX_LOG_BYTES:
            return None
        rows = read_log(log)
        attempts = [list(own) for _, own in groupby(rows, key=lambda row: int(row["attempt"]))]
        courses = [_thinned(own) for own in attempts[-MAX_ATTEMPTS:]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not courses:
        return None
    kept = training.get("kept_step")
    return {
        "steps": courses[-1]["step"][-1],
        "kept_step": kept if type(kept) is int else None,
        "attempts": courses,
    }


def preview_png(run: Path | None, course: Mapping[str, Any] | None) -> bytes | None:
    """Return the preview sheet of the kept snapshot, or else of the last one there is."""
    if run is None or course is None:
        return None
    sheets = sorted(run.glob("preview-*.png"))
    kept = course["kept_step"]
    chosen = [sheet for sheet in sheets if kept is not None and sheet.stem == f"preview-{kept:06d}"]
    try:
        return (chosen or sheets)[-1].read_bytes() if sheets else None
    except OSError:
        return None


def _thinned(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    size = math.ceil(len(rows) / MAX_POINTS)
    bins = [rows[start : start + size] for start in range(0, len(rows), size)]
    return {
        "attempt": int(rows[0]["attempt"]),
        "step": [int(part[-1]["step"]) for part in bins],
        **{name: [_mean([float(row[name]) for row in part]) for part in bins] for name in CURVES},
    }


def _mean(values: Sequence[float]) -> float | None:
    mean = fmean(values)
    return float(f"{mean:.{DIGITS}g}") if math.isfinite(mean) else None
