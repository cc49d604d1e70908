"""Evidence: which snapshot of a training run is best on an annotated set, and how sure that is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l4f_datagen.annotate.annotated import Annotated, score_networks
from l4f_datagen.checkpoints.native import save_alpha
from l4f_datagen.checkpoints.open import AlphaCheckpoint, open_alpha
from l4f_datagen.io.disk import write_atomically
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.scoring.bootstrap import Difference, Interval, compare_predictions, score_intervals
from l4f_datagen.scoring.image_score import ImageScore

DEFAULT_PICK = "alpha.safetensors"
CHOSEN = "alpha-chosen.safetensors"
EVIDENCE = "evidence.json"
SNAPSHOTS = "snapshot-*.safetensors"


@dataclass(frozen=True)
class Evidence:
    """What an annotated set says about the snapshots of a run.

    Attributes:
        truth: file name of the annotated set.
        num_images: annotated images.
        mious: file name -> pooled mIoU with its 95 % interval; the run's own pick first.
        best: file name of the best; the run's own pick where it is as good.
        gain: how far the best scores above the run's own pick, on the same images.
    """

    truth: str
    num_images: int
    mious: Mapping[str, Interval]
    best: str
    gain: Difference

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "truth": self.truth,
            "num_images": self.num_images,
            "miou": {name: interval.to_dict() for name, interval in self.mious.items()},
            "best": self.best,
            "gain": self.gain.to_dict(),
        }

    def to_text(self) -> str:
        """A line a snapshot, then the choice and how sure it is."""
        lines = [
            f"{name:<28} mIoU {interval}{'  <- best' if name == self.best else ''}"
            for name, interval in self.mious.items()
        ]
        if self.best == DEFAULT_PICK:
            return "\n".join([*lines, f"{DEFAULT_PICK}, the run's own pick, is the best"])
        interval, width = self.gain.interval, self.gain.interval.high - self.gain.interval.low
        lines.append(
            f"{self.best} gains {interval} mIoU over the run's own pick; it scores higher in "
            f"{100 * self.gain.share_above:.0f} % of the resamples"
        )
        verdict = (
            "the gain is clear of the noise of these images"
            if self.gain.is_clear
            else "all of the gain is within the noise of these images"
        )
        lines.append(f"{verdict} (95 % interval {width:.4f} wide, {self.num_images} images)")
        return "\n".join(lines)


def choose_snapshot(run: Path, annotated: Annotated, threshold: float) -> Evidence:
    """Score the run's own pick and every snapshot, and say which is best.

    Args:
        run: folder of a finished training.
        annotated: the annotated pictures, rendered by the run's generator.
        threshold: mask = alpha > threshold.

    Raises:
        AnnotationRefused: sizes that differ, or a broken record.
        CheckpointRefused: a snapshot that cannot be read.
    """
    paths = [run / DEFAULT_PICK, *sorted(run.glob(SNAPSHOTS))]
    device = annotated.rendered.renderer.generator.w_avg.device
    networks = {path.name: open_alpha(path).build().to(device) for path in paths}
    scores = score_networks(annotated, networks, threshold)
    mious = {name: miou_interval(images) for name, images in scores.items()}
    best = max(mious, key=lambda name: mious[name].value)  # the run's own pick of equals
    gain = compare_predictions(scores[best], scores[DEFAULT_PICK], np.random.RandomState(0))
    truth = Path(annotated.matched.truth.source).name
    return Evidence(truth, len(annotated), mious, best, gain)


def miou_interval(images: Sequence[ImageScore]) -> Interval:
    """Pooled mIoU of images with its 95 % interval."""
    return score_intervals(images, np.random.RandomState(0))["miou"]


def keep_choice(run: Path, evidence: Evidence) -> Path:
    """Write ``evidence.json`` and the best network as ``alpha-chosen.safetensors``.

    ``alpha.safetensors`` stays the pick that was made without labels. The chosen file says that
    annotated images chose it.

    Returns:
        The chosen network's file.
    """
    opened = open_alpha(run / evidence.best)
    path = run / CHOSEN
    supervision = (
        f"snapshot chosen on {evidence.num_images} annotated images ({evidence.truth}); "
        "trained without labels"
    )
    facts = {"chosen": evidence.to_dict()}
    count = evidence.num_images
    save_supervised(path, opened, opened.build(), supervision, count, facts, fitted=False)
    text = json.dumps(evidence.to_dict(), indent=2) + "\n"
    write_atomically(run / EVIDENCE, text.encode())
    return path


def save_supervised(
    path: Path,
    origin: AlphaCheckpoint,
    network: AlphaNetwork,
    supervision: str,
    labels: int,
    facts: Mapping[str, Any],
    *,
    fitted: bool,
) -> None:
    """Write an alpha network that labels had a part in; manifest and card say so.

    Args:
        path: the file to write.
        origin: the network it came from; its licence and training are carried along.
        network: to be written.
        supervision: what labels did, in words.
        labels: annotated images that had the part.
        facts: further facts for the reader; any JSON.
        fitted: the weights were fitted to the labels: the network is no longer unsupervised.
    """
    past = origin.native.training if origin.native else {}
    save_alpha(
        path,
        network,
        generator_fingerprint=origin.generator_fingerprint,
        licence=origin.licence,
        training={
            **past,
            "unsupervised": past.get("unsupervised", True) and not fitted,
            "labels": labels,
            "supervision": supervision,
            **facts,
        },
    )
