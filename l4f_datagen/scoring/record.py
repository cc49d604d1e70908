"""Record: the score of a dataset, kept beside its manifest for the card."""

import hashlib
import json
from pathlib import Path
from typing import Any

from l4f_datagen.core.errors import UsageError
from l4f_datagen.io.disk import write_atomically
from l4f_datagen.scoring.score_report import ScoreReport

SCORES_FILE = "scores.json"
MANIFEST = "manifest.json"
SCHEMA = 1


def record_scores(dataset: Path, report: ScoreReport) -> Path:
    """Write ``scores.json`` into a dataset that ``make`` finished; return its path.

    It names the truth by its file name (no path), and the manifest by its SHA-256: a dataset that
    is remade or extended no longer fits its record.

    Raises:
        UsageError: no finished dataset, or it cannot be written.
    """
    manifest = dataset / MANIFEST
    target = dataset / SCORES_FILE
    try:
        digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
        text = json.dumps(score_record(report, digest), indent=2, ensure_ascii=False)
        write_atomically(target, f"{text}\n".encode())
    except FileNotFoundError as error:
        problem = f"holds no {MANIFEST}"
        remedy = "give --record with --pred DATASET, a folder that `make` finished"
        raise UsageError(str(dataset), problem, remedy) from error
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise UsageError(str(target), problem, "check its rights") from error
    return target


def score_record(report: ScoreReport, manifest_sha256: str) -> dict[str, Any]:
    """What is recorded.

    Keys: ``truth``, its file name; ``n``, annotated images; ``metrics``, name to value;
    ``intervals``, name to [low, high] of 95 % over images; ``warnings``; ``manifest_sha256``.
    """
    scores = report.scores
    metrics = {name: interval.value for name, interval in report.intervals.items()}
    metrics |= {"boundary_f": scores.boundary_f, "worst_object_iou": scores.worst_object_iou}
    if scores.mae is not None:
        metrics["mae"] = scores.mae
    return {
        "schema": SCHEMA,
        "truth": Path(str(report.settings.get("truth", "truth"))).name,
        "truth_format": report.settings.get("truth_format"),
        "n": scores.num_images,
        "metrics": metrics,
        "intervals": {name: [each.low, each.high] for name, each in report.intervals.items()},
        "warnings": report.warnings,
        "manifest_sha256": manifest_sha256,
    }
