"""Few-shot: fine-tune an alpha network on a few annotated images; no longer unsupervised.

Generator and features stay frozen; the alpha network alone (some thousand weights of 1x1
convolutions) is fitted to the masks. Folds measure what that is worth: every image is scored by a
network that has not seen it. The network that is kept has seen them all.
"""

import logging
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.scoring.bootstrap import Difference, Interval, compare_counts, count_intervals
from l4f_datagen.scoring.image_score import ImageScore, stacked

from .examples import Annotated, Example, score_example, score_networks

logger = logging.getLogger(__name__)

STEPS = 200  # of each fit; a choice, as are batch and folds
BATCH = 4
FOLDS = 5
SEED = 0  # of folds and order
LEAST_IMAGES = 4  # with fewer, a fold would be fitted to one or two
LEARNING_RATE = 2e-3  # that of the training without labels


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
    network: AlphaNetwork,
    annotated: Annotated,
    *,
    threshold: float,
    steps: int = STEPS,
    folds: int = FOLDS,
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
    network: AlphaNetwork,
    annotated: Annotated,
    places: Sequence[int],
    *,
    steps: int,
    seed: int = SEED,
) -> AlphaNetwork:
    """Return a copy of a network, fitted to the images at ``places``; a function of the seed."""
    tuned = deepcopy(network).train().requires_grad_(True)
    optim = torch.optim.Adam(tuned.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optim, steps)
    stream = np.random.RandomState(seed)
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


def miou_interval(images: Sequence[ImageScore]) -> Interval:
    """Pooled mIoU of images with its 95 % interval."""
    return count_intervals(stacked(images), np.random.RandomState(0))["miou"]
