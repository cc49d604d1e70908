"""With truth: what a few annotated images do for a finished training."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
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
from l4f_datagen.scoring.bootstrap import Difference, Interval, compare_counts
from l4f_datagen.scoring.image_score import stacked
from l4f_datagen.scoring.match import match_truth
from l4f_datagen.scoring.protocol import score_match
from l4f_datagen.training.verdict import judge_alpha

from .examples import Annotated, Rerendered, score_networks
from .few_shot import STEPS, few_shot, miou_interval
from .keys import check_rendered_alike, keys_of

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
    **pairing: Any,
) -> Path:
    """Choose the best snapshot of a finished training on annotated images; fine-tune it if asked.

    ``recipe`` is the one it was trained by: its noise mode, crop and threshold hold here too.
    ``keys`` names the key file of the images or its folder; None takes psi and seed from their
    names. ``pairing`` are the options of `match_truth`. Returned is ``alpha-chosen.safetensors``,
    or ``alpha-few-shot.safetensors`` where fine-tuned.
    """
    key_file = keys_of([item.name for item in truth], truth.source, keys)
    check_rendered_alike(key_file, recipe, checkpoint)
    device, threshold = generator.w_avg.device, recipe.output.mask_threshold
    default = open_alpha(run / DEFAULT_PICK).build().to(device)
    renderer = replace(renderer_of(recipe, generator, default), background=None, probes={})
    matched = match_truth(truth, Rerendered(renderer, key_file, DEFAULT_PICK), **pairing)
    logger.info(score_match(matched).to_text(f"{DEFAULT_PICK} against {truth.source}"))
    annotated = Annotated(matched)
    evidence = choose_snapshot(run, annotated, threshold)
    logger.info(evidence.to_text())
    opened = open_alpha(run / evidence.best)
    start = opened.build().to(device)

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
    did = "few-shot: fine-tuned on {}; no longer unsupervised"
    facts = {"few_shot": {"steps": STEPS, **tuned.to_dict()}, **verdict_on(tuned.network)}
    return save_supervised(run / FEW_SHOT, opened, tuned.network, evidence, did, facts, fitted=True)


@dataclass(frozen=True)
class Evidence:
    """What an annotated set says about the snapshots of a training."""

    truth: str  # file name of the annotated set
    num_images: int
    miou: Mapping[str, Interval]  # file name -> pooled mIoU; the run's own choice first
    best: str  # file name; the run's own choice where it is as good
    gain: Difference  # of the best over the run's own choice, on the same images

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"gain": self.gain.to_dict()}

    def to_text(self) -> str:
        """Return a line for each snapshot, then the choice and how certain it is."""
        lines = [
            f"{name:<28} mIoU {interval}{'  <- best' if name == self.best else ''}"
            for name, interval in self.miou.items()
        ]
        if self.best == DEFAULT_PICK:
            return "\n".join([*lines, f"{DEFAULT_PICK}, chosen without labels, is the best"])
        interval, share = self.gain.interval, 100 * self.gain.share_above
        clear = "the gain is clear of" if self.gain.is_clear else "all of the gain is within"
        size = f"95 % interval {interval.high - interval.low:.4f} wide, {self.num_images} images"
        lines += [
            f"{self.best} gains {interval} mIoU over {DEFAULT_PICK}, chosen without labels; "
            f"it scores higher in {share:.0f} % of the resamples",
            f"{clear} the noise of these images ({size})",
        ]
        return "\n".join(lines)


def choose_snapshot(run: Path, annotated: Annotated, threshold: float) -> Evidence:
    """Score the run's own choice and every snapshot on images of its generator; return the best."""
    paths = [run / DEFAULT_PICK, *sorted(run.glob(SNAPSHOTS))]
    device = annotated.rendered.renderer.generator.w_avg.device
    networks = {path.name: open_alpha(path).build().to(device) for path in paths}
    scores = score_networks(annotated, networks, threshold)
    mious = {name: miou_interval(images) for name, images in scores.items()}
    best = max(mious, key=lambda name: mious[name].value)  # the first of equals
    best_counts, own_counts = stacked(scores[best]), stacked(scores[DEFAULT_PICK])
    gain = compare_counts(best_counts, own_counts, np.random.RandomState(0))
    truth = Path(annotated.matched.truth.source).name
    return Evidence(truth, len(annotated), mious, best, gain)


def keep_choice(run: Path, evidence: Evidence, facts: Mapping[str, Any]) -> Path:
    """Write ``evidence.json`` and the best network as ``alpha-chosen.safetensors``; return it.

    ``alpha.safetensors`` stays the network that was chosen without labels. ``facts`` are further
    ones for the network's file, any JSON.
    """
    opened, facts = open_alpha(run / evidence.best), {"chosen": evidence.to_dict(), **facts}
    did = "snapshot chosen on {}; trained without labels"
    save_supervised(run / CHOSEN, opened, opened.build(), evidence, did, facts, fitted=False)
    text = json.dumps(evidence.to_dict(), indent=2) + "\n"
    write_atomically(run / EVIDENCE, text.encode())
    return run / CHOSEN


def save_supervised(
    path: Path,
    origin: AlphaCheckpoint,
    network: AlphaNetwork,
    evidence: Evidence,
    did: str,  # what labels did, {} for which
    facts: Mapping[str, Any],
    *,
    fitted: bool,
) -> Path:
    """Write an alpha network that labels chose or fitted; manifest and card say so.

    Licence and training of ``origin``, which it came from, are carried along. Where the weights
    were ``fitted`` to labels, the network is no longer unsupervised.
    """
    past = origin.native.training if origin.native else {}
    images = f"{evidence.num_images} annotated images ({evidence.truth})"
    own = {
        "unsupervised": past.get("unsupervised", True) and not fitted,
        "labels": evidence.num_images,
        "supervision": did.format(images),
    }
    save_alpha(
        path,
        network,
        generator_fingerprint=origin.generator_fingerprint,
        licence=origin.licence,
        training={**past, **own, **facts},
    )
    return path
