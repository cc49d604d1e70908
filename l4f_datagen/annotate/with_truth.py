"""With truth: what a few annotated images do for a finished training.

They choose a snapshot. Asked for, they also fine-tune it, and it is no longer unsupervised:
generator and features stay frozen, the alpha network alone (some thousand weights of 1x1
convolutions) is fitted to the masks. Folds measure what that is worth: every image is scored by a
network that has not seen it. The network that is kept has seen them all.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from l4f_datagen.annotations.truth import TruthSet
from l4f_datagen.checkpoints.native import Facts, save_alpha
from l4f_datagen.checkpoints.open import AlphaCheckpoint, GeneratorCheckpoint, open_alpha
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.io.disk import write_atomically
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import Recipe
from l4f_datagen.rendering.render import renderer_of
from l4f_datagen.scoring.bootstrap import Difference, Interval, compare_counts, count_intervals
from l4f_datagen.scoring.image_score import ImageScore, stacked
from l4f_datagen.scoring.match import match_truth
from l4f_datagen.scoring.protocol import score_match
from l4f_datagen.training.verdict import judge_alpha

from .examples import Annotated, Example, Rerendered, score_example, score_networks
from .keys import check_rendered_alike, keys_of

logger = logging.getLogger(__name__)

DEFAULT_PICK = "alpha.safetensors"
CHOSEN = "alpha-chosen.safetensors"
EVIDENCE = "evidence.json"
SNAPSHOTS = "snapshot-*.safetensors"
FEW_SHOT = "alpha-few-shot.safetensors"
STEPS = 200  # of each fit; a choice, as are batch and folds
BATCH = 4
FOLDS = 5
SEED = 0  # of folds and order
LEAST_IMAGES = 4  # with fewer, a fold would be fitted to one or two
LEARNING_RATE = 2e-3  # that of the training without labels


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
    ``keys`` is as in `keys_of`, and ``pairing`` are options of `match_truth`. Returned is
    ``alpha-chosen.safetensors``, or ``alpha-few-shot.safetensors`` where fine-tuned.
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
    return Evidence(Path(annotated.matched.truth.source).name, len(annotated), mious, best, gain)


def keep_choice(run: Path, evidence: Evidence, facts: Mapping[str, Any]) -> Path:
    """Write ``evidence.json`` and the best network, with further ``facts``; return its path.

    ``alpha.safetensors`` stays the network that was chosen without labels.
    """
    opened, facts = open_alpha(run / evidence.best), {"chosen": evidence.to_dict(), **facts}
    did = "snapshot chosen on {}; trained without labels"
    network, text = opened.build(), json.dumps(evidence.to_dict(), indent=2) + "\n"
    save_supervised(run / CHOSEN, opened, network, evidence, did, facts, fitted=False)
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
    own = {"labels": evidence.num_images, "supervision": did.format(images)}
    own["unsupervised"] = past.get("unsupervised", True) and not fitted
    trained, whose = {**past, **own, **facts}, origin.generator_fingerprint
    said: Facts = {"training": trained, "licence": origin.licence, "generator_fingerprint": whose}
    save_alpha(path, network, **said)
    return path


def miou_interval(images: Sequence[ImageScore]) -> Interval:
    """Pooled mIoU of images with its 95 % interval."""
    return count_intervals(stacked(images), np.random.RandomState(0))["miou"]


@dataclass(frozen=True)
class FewShot:
    """A fine-tuned network and what the folds say of it."""

    network: AlphaNetwork  # fitted to all annotated images
    before: Interval  # mIoU of the network it started from
    held_out: Interval  # mIoU where every image is scored by a network that has not seen it
    seen: Interval  # mIoU of `network` on the images it was fitted to; flattering
    gain: Difference  # held out less before, on the same images
    folds: Sequence[Sequence[str]]  # names of the images held out together

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        scores = {name: vars(getattr(self, name)) for name in ("before", "held_out", "seen")}
        return {**scores, "gain": self.gain.to_dict(), "folds": self.folds}

    def to_text(self) -> str:
        """Scores before, held out and seen, and how sure the gain is."""
        return (
            f"before fine-tuning            mIoU {self.before}\n"
            f"fine-tuned, held out ({len(self.folds)} folds) mIoU {self.held_out}\n"
            f"fine-tuned, on what it saw    mIoU {self.seen}  (flattering)\n"
            f"gain, held out: {self.gain}\n"
            "a network fine-tuned on labels is no longer unsupervised; its file says so"
        )


def few_shot(
    network: AlphaNetwork, annotated: Annotated, *, threshold: float, steps: int, folds: int = FOLDS
) -> FewShot:
    """Fine-tune a copy of an alpha network on annotated images; fewer than 4 are refused.

    ``threshold`` cuts the alphas that are scored. Images are held out in ``folds`` parts, at most
    one image each.
    """
    count = len(annotated)
    if count < LEAST_IMAGES:
        problem = f"{count} images to fine-tune on, at least {LEAST_IMAGES} are needed"
        remedy = "annotate more, or drop --few-shot"
        raise AnnotationRefused(annotated.matched.truth.source, problem, remedy)
    order = np.random.RandomState(SEED).permutation(count).tolist()
    parts = [sorted(order[k :: min(folds, count)]) for k in range(min(folds, count))]
    before = score_networks(annotated, {"before": network}, threshold)["before"]
    held_out = list(before)
    for number, part in enumerate(parts, 1):
        logger.info(f"few-shot: fold {number} of {len(parts)}")
        rest = [place for place in range(count) if place not in part]
        tuned = fit(network, annotated, rest, steps=steps)
        for place in part:
            held_out[place] = score_example(annotated, annotated[place], tuned, threshold)
    logger.info("few-shot: fit to all images")
    final = fit(network, annotated, range(count), steps=steps)
    seen = score_networks(annotated, {"seen": final}, threshold)["seen"]
    gain = compare_counts(stacked(held_out), stacked(before), np.random.RandomState(0))
    names = [[before[place].name for place in part] for part in parts]
    was, held, learnt = map(miou_interval, (before, held_out, seen))
    return FewShot(final, was, held, learnt, gain, names)


def fit(
    network: AlphaNetwork, annotated: Annotated, places: Sequence[int], *, steps: int
) -> AlphaNetwork:
    """Return a copy of a network, fitted to the images at ``places``."""
    tuned = deepcopy(network).train().requires_grad_(True)
    optim = torch.optim.Adam(tuned.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optim, steps)
    stream = np.random.RandomState(SEED)
    for _ in range(steps):
        picked = stream.choice(places, min(BATCH, len(places)), replace=False)
        optim.zero_grad()
        for place in picked:
            example = annotated[int(place)]
            (few_shot_loss(tuned, annotated, example) / len(picked)).backward()
        optim.step()
        schedule.step()
    return tuned.eval().requires_grad_(False)


def few_shot_loss(
    network: AlphaNetwork, annotated: Annotated, example: Example
) -> Float[Tensor, ""]:
    """Cross-entropy plus soft IoU loss over the pixels that are not ignored."""
    logits = annotated.cut(network.logits(example.features))[0, 0]
    truth = example.truth
    wanted = truth.mask.astype(np.float32) if truth.alpha is None else truth.alpha
    target = torch.from_numpy(wanted).to(logits)
    if truth.ignore is not None:
        scored = torch.from_numpy(~truth.ignore).to(logits.device)
        logits, target = logits[scored], target[scored]
    alpha = torch.sigmoid(logits)
    both = (alpha * target).sum()
    either = (alpha + target).sum() - both
    return F.binary_cross_entropy_with_logits(logits, target) + 1 - both / either.clamp_min(1)
