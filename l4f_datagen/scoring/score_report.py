"""Score report: a score with its interval, its worst images, and all that looks odd about it."""

import json
from dataclasses import dataclass, field
from typing import Any

from l4f_datagen.scoring.bootstrap import Interval
from l4f_datagen.scoring.metrics import ImageScore, Scores


@dataclass(frozen=True)
class ScoreReport:
    """A score with everything one should know beside it.

    Attributes:
        scores: pooled scores.
        intervals: 95 % intervals over images of each pooled metric.
        images: score of each image, in the order of the truth.
        pairing: how truth and prediction were paired, in words.
        warnings: what looks wrong.
        notes: what was skipped, clipped, cut or voted on, with counts.
        settings: what the score depends on.
        average_precision: COCO AP of the masks as one object an image, None unless asked for.
    """

    scores: Scores
    intervals: dict[str, Interval]
    images: list[ImageScore]
    pairing: str
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    average_precision: dict[str, float] | None = None

    def worst(self, count: int = 5) -> list[ImageScore]:
        """Images with the lowest mIoU, worst first."""
        return sorted(self.images, key=lambda image: (image.miou, image.name))[:count]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "scores": self.scores.to_dict(),
            "intervals_95": {name: value.to_dict() for name, value in self.intervals.items()},
            "average_precision": self.average_precision,
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
        lines = [scores.table(title), ""]
        interval = self.intervals["miou"]
        lines.append(
            f"mIoU 95 % interval over {scores.num_images} images: "
            f"{interval.low:.4f} to {interval.high:.4f}"
        )
        lines.append(
            f"per image: mean mIoU {scores.mean_iou_per_image:.4f}, worst object IoU "
            f"{scores.worst_object_iou:.4f}, boundary F {scores.boundary_f:.4f}"
        )
        if scores.mae is not None and scores.sad is not None:
            lines.append(f"soft alpha: MAE {scores.mae:.4f}, SAD {scores.sad:.3f} thousand px")
        if self.average_precision is not None:
            cells = (f"{name} {value:.4f}" for name, value in self.average_precision.items())
            lines.append(f"COCO average precision (one object an image): {', '.join(cells)}")
        lines.append(
            f"coverage: truth {scores.truth_coverage:.4f}, prediction {scores.coverage:.4f}"
        )
        lines.append(f"pairing: {self.pairing}")
        lines.append("worst images:")
        lines.extend(
            f"  {image.name}  mIoU {image.miou:.4f}  object IoU {image.object_iou:.4f}"
            for image in self.worst(worst)
        )
        lines.extend(f"warning: {line}" for line in self.warnings)
        lines.extend(f"note: {line}" for line in self.notes)
        return "\n".join(lines)
