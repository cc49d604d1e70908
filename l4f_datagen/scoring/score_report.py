"""Score report: a score with its interval, its worst images, and all that looks wrong about it."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from l4f_datagen.annotations.truth import TruthSet
from l4f_datagen.core.errors import UsageError
from l4f_datagen.io.disk import write_atomically
from l4f_datagen.scoring.bootstrap import Interval
from l4f_datagen.scoring.image_score import ImageScore
from l4f_datagen.scoring.metrics import Scores

SCORES_FILE = "scores.json"
MANIFEST = "manifest.json"
SCHEMA = 1  # of scores.json


@dataclass(frozen=True)
class ScoreReport:
    """A score with everything one should know beside it."""

    scores: Scores  # pooled
    intervals: dict[str, Interval]  # of each pooled metric, 95 % over images
    images: list[ImageScore]  # in the order of the truth
    pairing: str  # how truth and prediction were paired, in words
    warnings: list[str] = field(default_factory=list)  # what looks wrong
    notes: list[str] = field(default_factory=list)  # what was skipped, clipped or cut, with counts
    settings: dict[str, Any] = field(default_factory=dict)  # what the score depends on
    average_precision: dict[str, float] | None = None  # see `AveragePrecision`
    truth: dict[str, Any] = field(default_factory=dict)  # images scored and without annotation

    def add_truth(self, truth: TruthSet) -> None:
        """Add what the truth set says of itself, once it has been read."""
        left_out = truth.unannotated and bool(truth.left_out)
        self.truth.update(
            images=self.scores.num_images,
            unannotated=truth.unannotated,
            unannotated_rule="skip" if left_out or not truth.unannotated else "empty",
        )
        self.warnings.extend(truth.warnings())
        self.notes.extend(f"truth: {line}" for line in truth.notes())

    def worst(self, count: int = 5) -> list[ImageScore]:
        """Images with the lowest mIoU, worst first."""
        return sorted(self.images, key=lambda image: (image.miou, image.name))[:count]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "scores": self.scores.to_dict(),
            "intervals_95": {name: value.to_dict() for name, value in self.intervals.items()},
            "average_precision": self.average_precision,
            "truth": self.truth,
            "pairing": self.pairing,
            "warnings": self.warnings,
            "notes": self.notes,
            "settings": self.settings,
            "images": [
                {
                    "name": image.name,
                    "miou": image.miou,
                    "iou_object": image.object_iou,
                    "boundary_f": image.boundary_f,
                    "mae": image.mae,
                    "sad_kpx": image.sad,
                    "counts_tp_fp_fn_tn": [int(count) for count in image.counts],
                }
                for image in self.images
            ],
        }

    def to_json(self) -> str:
        """JSON text, two spaces of indent."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def to_text(self, title: str = "", worst: int = 5) -> str:
        """Everything on one screen: table, intervals, worst images, warnings, notes."""
        scores = self.scores
        interval = self.intervals["miou"]
        lines = [
            scores.table(title),
            "",
            f"mIoU 95 % interval over {scores.num_images} images: "
            f"{interval.low:.4f} to {interval.high:.4f}",
            f"per image: mean mIoU {scores.mean_iou_per_image:.4f}, worst object IoU "
            f"{scores.worst_object_iou:.4f}, boundary F {scores.boundary_f:.4f}",
        ]
        if scores.mae is not None and scores.sad is not None:
            lines.append(f"soft alpha: MAE {scores.mae:.4f}, SAD {scores.sad:.3f} thousand px")
        if self.average_precision is not None:
            cells = (f"{name} {value:.4f}" for name, value in self.average_precision.items())
            lines.append(f"COCO average precision (one object an image): {', '.join(cells)}")
        lines += [
            f"coverage: truth {scores.truth_coverage:.4f}, prediction {scores.coverage:.4f}",
            f"pairing: {self.pairing}",
            "worst images:",
        ]
        lines += [
            f"  {image.name}  mIoU {image.miou:.4f}  object IoU {image.object_iou:.4f}"
            for image in self.worst(worst)
        ]
        lines += [f"warning: {line}" for line in self.warnings]
        lines += [f"note: {line}" for line in self.notes]
        return "\n".join(lines)


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
        record = _record(report) | {"manifest_sha256": digest}
        text = json.dumps(record, indent=2, ensure_ascii=False)
        write_atomically(target, f"{text}\n".encode())
    except FileNotFoundError as error:
        problem = f"holds no {MANIFEST}"
        remedy = "give --record with --pred DATASET, a folder that `make` finished"
        raise UsageError(str(dataset), problem, remedy) from error
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise UsageError(str(target), problem, "check its rights") from error
    return target


def _record(report: ScoreReport) -> dict[str, Any]:
    scores = report.scores
    metrics = {name: interval.value for name, interval in report.intervals.items()}
    metrics |= {"boundary_f": scores.boundary_f, "worst_object_iou": scores.worst_object_iou}
    if scores.mae is not None:
        metrics["mae"] = scores.mae
    return {
        "schema": SCHEMA,
        "truth": Path(str(report.settings.get("truth", "truth"))).name,
        "truth_format": report.settings.get("truth_format"),
        "n": scores.num_images,  # annotated
        "metrics": metrics,
        "intervals": {name: [each.low, each.high] for name, each in report.intervals.items()},
        "warnings": report.warnings,
    }
