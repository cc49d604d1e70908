"""With truth: what a few annotated images do for a finished training."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from l4f_datagen.annotations.truth import TruthSet
from l4f_datagen.checkpoints.native import save_alpha
from l4f_datagen.checkpoints.open import AlphaCheckpoint, GeneratorCheckpoint, open_alpha
from l4f_datagen.io.disk import write_atomically
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import Recipe
from l4f_datagen.rendering.render import renderer_of
from l4f_datagen.scoring.bootstrap import Difference, Interval, compare_predictions
from l4f_datagen.scoring.match import match_truth
from l4f_datagen.scoring.pairing import Rule
from l4f_datagen.scoring.protocol import score_match
from l4f_datagen.training.verdict import judge_alpha

from .examples import Annotated, Rerendered, score_networks
from .few_shot import STEPS, few_shot, miou_interval
from .keys import check_rendered_alike, keys_in_names, read_key_file

logger = logging.getLogger(__name__)

DEFAULT_PICK = "alpha.safetensors"
CHOSEN = "alpha-chosen.safetensors"
EVIDENCE = "evidence.json"
SNAPSHOTS = "snapshot-*.safetensors"
FEW_SHOT = "alpha-few-shot.safetensors"


def choose_with_truth(
    run: Path,
    recipe: Recipe,
    checkpoint: GeneratorCheckpoint,
    generator: Generator,
    truth: TruthSet,
    *,
    keys: Path | None,
    fine_tune: bool = False,
    pair_by: Rule = "auto",
    offset: int | None = None,
) -> Path:
    """Choose the best snapshot of a finished training on annotated images; fine-tune it if asked.

    ``recipe`` is the one it was trained by: its noise mode, crop and threshold hold here too.
    ``keys`` names the key file of the images or its folder; None takes psi and seed from their
    names. ``pair_by`` and ``offset`` as in `match_truth`.

    Returns:
        ``alpha-chosen.safetensors``, or ``alpha-few-shot.safetensors`` where fine-tuned.

    Raises:
        AnnotationRefused: truth or keys that cannot be used.
    """
    names = [item.name for item in truth]
    key_file = keys_in_names(names, truth.source) if keys is None else read_key_file(keys)
    check_rendered_alike(key_file, recipe, checkpoint)
    default = open_alpha(run / DEFAULT_PICK).build().to(generator.w_avg.device)
    renderer = replace(renderer_of(recipe, generator, default), background=None, probes={})
    rendered = Rerendered(renderer, key_file, DEFAULT_PICK)
    matched = match_truth(truth, rendered, pair_by=pair_by, offset=offset)
    logger.info(score_match(matched).to_text(f"{DEFAULT_PICK} against {truth.source}"))
    annotated, threshold = Annotated(matched), recipe.output.mask_threshold
    evidence = choose_snapshot(run, annotated, threshold)
    logger.info(evidence.to_text())
    opened = open_alpha(run / evidence.best)
    start = opened.build().to(generator.w_avg.device)

    def verdict_on(network: AlphaNetwork) -> dict[str, Any]:
        psi = recipe.alpha.training.psi
        verdict = judge_alpha(network, generator, psi=psi, threshold=threshold)
        logger.log(verdict.log_level, "the alpha network is %s", verdict)
        return {"verdict": verdict.to_dict()}

    chosen = keep_choice(run, evidence, verdict_on(start))
    if not fine_tune:
        return chosen
    tuned = few_shot(start, annotated, threshold=threshold, steps=STEPS)
    logger.info(tuned.to_text())
    count, path = evidence.num_images, run / FEW_SHOT
    fit_to = f"few-shot: fine-tuned on {count} annotated images ({evidence.truth})"
    supervision = f"{fit_to}; no longer unsupervised"
    facts = {"few_shot": {"steps": STEPS, **tuned.to_dict()}, **verdict_on(tuned.network)}
    save_supervised(path, opened, tuned.network, supervision, count, facts, fitted=True)
    return path


@dataclass(frozen=True)
class Evidence:
    """What an annotated set says about the snapshots of a training."""

    truth: str  # file name of the annotated set
    num_images: int
    # File name -> pooled mIoU with its 95 % interval; the run's own choice first.
    mious: Mapping[str, Interval]
    best: str  # file name; the run's own choice where it is as good
    gain: Difference  # of the best over the run's own choice, on the same images

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
        """Return a line for each snapshot, then the choice and how certain it is."""
        lines = [
            f"{name:<28} mIoU {interval}{'  <- best' if name == self.best else ''}"
            for name, interval in self.mious.items()
        ]
        if self.best == DEFAULT_PICK:
            return "\n".join([*lines, f"{DEFAULT_PICK}, chosen without labels, is the best"])
        interval, width = self.gain.interval, self.gain.interval.high - self.gain.interval.low
        lines.append(
            f"{self.best} gains {interval} mIoU over {DEFAULT_PICK}, chosen without labels; "
            f"it scores higher in {100 * self.gain.share_above:.0f} % of the resamples"
        )
        clear = "the gain is clear of" if self.gain.is_clear else "all of the gain is within"
        size = f"95 % interval {width:.4f} wide, {self.num_images} images"
        lines.append(f"{clear} the noise of these images ({size})")
        return "\n".join(lines)


def choose_snapshot(run: Path, annotated: Annotated, threshold: float) -> Evidence:
    """Score the run's own choice and every snapshot on images of its generator; return the best."""
    paths = [run / DEFAULT_PICK, *sorted(run.glob(SNAPSHOTS))]
    device = annotated.rendered.renderer.generator.w_avg.device
    networks = {path.name: open_alpha(path).build().to(device) for path in paths}
    scores = score_networks(annotated, networks, threshold)
    mious = {name: miou_interval(images) for name, images in scores.items()}
    best = max(mious, key=lambda name: mious[name].value)  # the first of equals
    gain = compare_predictions(scores[best], scores[DEFAULT_PICK], np.random.RandomState(0))
    truth = Path(annotated.matched.truth.source).name
    return Evidence(truth, len(annotated), mious, best, gain)


def keep_choice(run: Path, evidence: Evidence, facts: Mapping[str, Any]) -> Path:
    """Write ``evidence.json`` and the best network as ``alpha-chosen.safetensors``; return it.

    ``alpha.safetensors`` stays the network that was chosen without labels. ``facts`` are further
    ones for the network's file, any JSON.
    """
    opened, path = open_alpha(run / evidence.best), run / CHOSEN
    count, facts = evidence.num_images, {"chosen": evidence.to_dict(), **facts}
    chosen_on = f"snapshot chosen on {count} annotated images ({evidence.truth})"
    supervision = f"{chosen_on}; trained without labels"
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
    """Write an alpha network that labels chose or fitted; manifest and card say so.

    Licence and training of ``origin``, which it came from, are carried along. ``supervision`` says
    in words what labels did. Where the weights were ``fitted`` to them, the network is no longer
    unsupervised.
    """
    past = origin.native.training if origin.native else {}
    unsupervised = past.get("unsupervised", True) and not fitted
    own = {"unsupervised": unsupervised, "labels": labels, "supervision": supervision}
    save_alpha(
        path,
        network,
        generator_fingerprint=origin.generator_fingerprint,
        licence=origin.licence,
        training={**past, **own, **facts},
    )
