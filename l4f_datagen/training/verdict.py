"""Verdict: whether an alpha network is good enough to label with, told without labels."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.generator import Generator, Mute
from l4f_datagen.training.sources import draw_latents, render, streams_of

Grade = Literal["good", "doubtful", "unusable"]

EVAL_SEED = 13
"""Other samples than those that the snapshot was chosen on."""
EVAL_SAMPLES, EVAL_BATCH = 32, 8
INDECISION = (0.5, 0.75)
"""Above which it is doubtful, and unusable. The shipped networks have 0.11 (toy cars) and 0.32 (toy
fish, thin shapes, mostly edge); one that was grey everywhere, and labelled nothing, had 0.84."""
MISSED = (0.1, 0.5)
"""Share of empty masks, or of full ones: filters can reject one in ten, not every other one."""
IN_GROUND = (0.25, 1.0)
"""Of 64 samples 0 to 5 % on the shipped domains. The masks may be right all the same."""
REMEDIES = (
    "train longer (alpha.training.steps), or raise alpha.training.binarization_weight",
    "train longer (alpha.training.steps), or with another alpha.training.seed",
    "train with another alpha.training.seed, or look whether alpha.background shows any",
    "give images of bare ground (alpha.background=pictures), a second generator "
    "(alpha.background=generator), or photographs with more room around the object",
)
EMPTY, FULL = 0.002, 0.98
"""Share of the image below which a mask counts as empty (a disc of 5 % of the side), and above
which it counts as full (no background is left to learn from)."""


@dataclass(frozen=True)
class Verdict:
    """How an alpha network does on samples of its generator."""

    grade: Grade
    why: str  # what was found, in words
    remedy: str  # what to do about it
    uncertainty: float  # mean min(alpha, 1 - alpha), 0 to 0.5
    coverage: float  # mean alpha, 0 to 1
    empty: float  # share of samples whose mask is empty
    full: float  # share of samples whose mask fills the image
    object_in_ground: float = 0.0
    """Share of samples whose muted background has the object's mean colour rather than the
    ground's; 0 where it was not looked at."""

    def __str__(self) -> str:
        return f"{self.grade}: {self.why}" + (f"; {self.remedy}" if self.remedy else "")

    @property
    def log_level(self) -> int:
        """INFO where the network is good, else WARNING."""
        return logging.INFO if self.grade == "good" else logging.WARNING

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def read_verdict(training: Mapping[str, Any]) -> Verdict | None:
    """Return the verdict that an alpha file's training facts hold; None where they hold none."""
    stored = training.get("verdict")
    try:
        verdict = Verdict(**stored) if isinstance(stored, Mapping) else None
    except TypeError:
        return None
    return verdict if verdict and verdict.grade in ("good", "doubtful", "unusable") else None


@torch.no_grad()
def judge_alpha(
    network: AlphaNetwork,
    generator: Generator,
    *,
    psi: float = 1.0,
    threshold: float = 0.5,
    samples: int = EVAL_SAMPLES,
    batch: int = EVAL_BATCH,
    mute: Mute | None = None,
) -> Verdict:
    """Look at an alpha network's mattes of samples that no training has seen.

    Both networks are on one device. Samples, a multiple of ``batch``, are truncated at ``psi``;
    masks are alpha > ``threshold``. ``mute`` is how the training's backgrounds are muted, where
    they are looked at too.
    """
    stream = np.random.RandomState(EVAL_SEED)
    alphas: list[Tensor] = []
    like_object: list[Tensor] = []
    for _ in range(samples // batch):
        draws = draw_latents(batch, generator, stream)
        w = generator.mapping(draws.z)
        drawn = render(generator, w, streams_of(draws.fg_seeds), psi)
        alphas.append(network(drawn.features))
        if mute is not None:
            ground = render(generator, w, streams_of(draws.fg_seeds), mute=mute).image
            like_object.append(resembles_object(drawn.image, alphas[-1], ground))
    alpha = torch.cat(alphas)
    masked = (alpha > threshold).float().mean(dim=(1, 2, 3))
    return verdict_of(
        uncertainty=float(torch.minimum(alpha, 1 - alpha).mean()),
        coverage=float(alpha.mean()),
        empty=float((masked < EMPTY).float().mean()),
        full=float((masked > FULL).float().mean()),
        object_in_ground=float(torch.cat(like_object).mean()) if like_object else 0.0,
    )


def resembles_object(
    images: Float[Tensor, "batch 3 h w"],
    alphas: Float[Tensor, "batch 1 h w"],
    grounds: Float[Tensor, "batch 3 h w"],
) -> Float[Tensor, " batch"]:
    """Say (1 or 0) where a background's mean colour is nearer to the object's than the ground's."""
    middle = grounds.mean(dim=(2, 3))
    gaps = []
    for weights in (alphas, 1 - alphas):
        colour = (weights * images).sum(dim=(2, 3)) / weights.sum(dim=(2, 3)).clamp(min=1e-3)
        gaps.append((colour - middle).norm(dim=1))
    nearer: Tensor = gaps[0] < gaps[1]
    return nearer.float()


def verdict_of(
    *,
    uncertainty: float,
    coverage: float,
    empty: float,
    full: float,
    object_in_ground: float = 0.0,
) -> Verdict:
    """Grade the measures; see ``Verdict``.

    Indecision is the uncertainty as a share of the largest that this coverage allows: 0 for a hard
    matte, 1 for one that is the same grey everywhere.
    """
    most = min(coverage, 1 - coverage)
    indecision = uncertainty / most if most > 0 else 0.0
    looks = zip(
        (indecision, empty, full, object_in_ground),
        (INDECISION, MISSED, MISSED, IN_GROUND),
        (
            f"the mattes are grey (uncertainty {uncertainty:.3f}, mean alpha {coverage:.2f})",
            f"{100 * empty:.0f} % of the masks are empty",
            f"{100 * full:.0f} % of the masks fill the image",
            f"in {100 * object_in_ground:.0f} % of the samples the muted background has the "
            "object's colours",
        ),
        REMEDIES,
        strict=True,
    )
    # "not <=": what is not a number is unusable.
    found = [
        (why, to_do, not value <= most)
        for value, (least, most), why, to_do in looks
        if not value <= least
    ]
    measures = (uncertainty, coverage, empty, full, object_in_ground)
    if not found:
        why = f"masks cover {100 * coverage:.0f} % on average, uncertainty {uncertainty:.3f}"
        return Verdict("good", why, "", *measures)
    _, to_do, unusable = max(found, key=lambda one: one[2])  # the first of the worst
    grade: Grade = "unusable" if unusable else "doubtful"
    why = ", ".join(why for why, *_ in found)
    return Verdict(grade, why, f"{to_do}; look at the preview sheets", *measures)
