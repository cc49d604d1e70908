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
    warnings: list[str]  # what looks wrong
    notes: list[str]  # what was skipped, clipped or cut, with counts
    settings: dict[str, Any]  # what the score depends on
    average_precision: dict[str, float] | None  # see `AveragePrecision`
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
            "intervals_95": {name: vars(value) for name, value in self.intervals.items()},
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
                    "counts_tp_fp_fn_tn": image.counts.tolist(),
                }
                for image in self.images
            ],
        }

    def to_json(self) -> str:
        """JSON text, two spaces of indent."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def to_text(self, title: str = "") -> str:
        """Everything on one screen: table, intervals, worst images, warnings, notes."""
        scores, interval = self.scores, self.intervals["miou"]
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
        for image in self.worst():
            own = f"mIoU {image.miou:.4f}  object IoU {image.object_iou:.4f}"
            lines.append(f"  {image.name}  {own}")
        lines += [f"warning: {line}" for line in self.warnings]
        return "\n".join([*lines, *(f"note: {line}" for line in self.notes)])


def record_scores(dataset: Path, report: ScoreReport) -> Path:
    """Write ``scores.json`` into a dataset that ``make`` finished; return its path.

    It names the truth by its file name (no path), and the manifest by its SHA-256: a dataset that
    is remade or extended no longer fits its record. UsageError where it cannot be written.
    """
    scores, target = report.scores, dataset / SCORES_FILE
    metrics = {name: interval.value for name, interval in report.intervals.items()}
    metrics |= {"boundary_f": scores.boundary_f, "worst_object_iou": scores.worst_object_iou}
    if scores.mae is not None:
        metrics["mae"] = scores.mae
    record = {
        "schema": SCHEMA,
        "truth": Path(str(report.settings.get("truth", "truth"))).name,
        "truth_format": report.settings.get("truth_format"),
        "n": scores.num_images,  # annotated
        "metrics": metrics,
        "intervals": {name: [each.low, each.high] for name, each in report.intervals.items()},
        "warnings": report.warnings,
    }
    try:
        record["manifest_sha256"] = hashlib.sha256((dataset / MANIFEST).read_bytes()).hexdigest()
        text = json.dumps(record, indent=2, ensure_ascii=False)
        write_atomically(target, f"{text}\n".encode())
    except FileNotFoundError as error:
        remedy = "give --record with --pred DATASET, a folder that `make` finished"
        raise UsageError(str(dataset), f"holds no {MANIFEST}", remedy) from error
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise UsageError(str(target), problem, "check its rights") from error
    return target
