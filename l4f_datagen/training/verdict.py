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
from l4f_datagen.training.images import draw_latents

Grade = Literal["good", "doubtful", "unusable"]

EVAL_SEED = 13
"""Other samples than those that the snapshot was chosen on."""
EVAL_SAMPLES, EVAL_BATCH = 32, 8
DOUBTFUL_INDECISION, UNUSABLE_INDECISION = 0.5, 0.75
"""The shipped networks have 0.11 (toy cars) and 0.32 (toy fish, thin shapes, mostly edge); one that
was grey everywhere, and labelled nothing, had 0.84."""
DOUBTFUL_MISSED, UNUSABLE_MISSED = 0.1, 0.5
"""Share of empty masks, or of full ones: filters can reject one in ten, not every other one."""
DOUBTFUL_IN_GROUND = 0.25
"""Of 64 samples 0 to 5 % on the shipped domains."""
EMPTY, FULL = 0.002, 0.98
"""Share of the image below which a mask counts as empty (a disc of 5 % of the side), and above
which it counts as full (no background is left to learn from)."""


@dataclass(frozen=True)
class Verdict:
    """How an alpha network does on samples of its generator.

    Attributes:
        grade: "good", "doubtful" or "unusable".
        why: what was found, in words.
        remedy: what to do about it.
        uncertainty: mean min(alpha, 1 - alpha), 0 to 0.5.
        coverage: mean alpha, 0 to 1.
        empty: share of samples whose mask is empty.
        full: share of samples whose mask fills the image.
        object_in_ground: share of samples whose muted background has the object's mean colour
            rather than the ground's; 0 where it was not looked at.
    """

    grade: Grade
    why: str
    remedy: str
    uncertainty: float
    coverage: float
    empty: float
    full: float
    object_in_ground: float = 0.0

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

    Args:
        network: on the generator's device.
        generator: frozen.
        psi: truncation of the samples.
        threshold: mask = alpha > threshold.
        samples: how many, a multiple of ``batch``.
        batch: rendered at once.
        mute: how the training's backgrounds are muted, to look at them too.
    """
    stream = np.random.RandomState(EVAL_SEED)
    alphas: list[Tensor] = []
    like_object: list[Tensor] = []
    for _ in range(samples // batch):
        draws = draw_latents(batch, generator, stream)
        noise = generator.noise("random", [np.random.RandomState(k) for k in draws.fg_seeds])
        w = generator.mapping(draws.z)
        drawn = generator.synthesis(generator.truncate(w, psi), noise)
        alphas.append(network(drawn.features))
        if mute is not None:
            ground = generator.synthesis(generator.truncate(w, 1.0), noise, mute).image
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
    findings: list[tuple[Grade, str, str]] = []

    def check(value: float, doubtful: float, unusable: float, why: str, remedy: str) -> None:
        # "not <=": what is not a number is unusable.
        if not value <= unusable:
            findings.append(("unusable", why, remedy))
        elif value > doubtful:
            findings.append(("doubtful", why, remedy))

    check(
        indecision,
        DOUBTFUL_INDECISION,
        UNUSABLE_INDECISION,
        f"the mattes are grey (uncertainty {uncertainty:.3f}, mean alpha {coverage:.2f})",
        "train longer (alpha.training.steps), or raise alpha.training.binarization_weight",
    )
    check(
        empty,
        DOUBTFUL_MISSED,
        UNUSABLE_MISSED,
        f"{100 * empty:.0f} % of the masks are empty",
        "train longer (alpha.training.steps), or with another alpha.training.seed",
    )
    check(
        full,
        DOUBTFUL_MISSED,
        UNUSABLE_MISSED,
        f"{100 * full:.0f} % of the masks fill the image",
        "train with another alpha.training.seed, or look whether alpha.background shows any",
    )
    check(
        object_in_ground,
        DOUBTFUL_IN_GROUND,
        1.0,  # the masks may be right all the same
        f"in {100 * object_in_ground:.0f} % of the samples the muted background has the object's "
        "colours",
        "give images of bare ground (alpha.background=pictures), a second generator "
        "(alpha.background=generator), or photographs with more room around the object",
    )
    if not findings:
        why = f"masks cover {100 * coverage:.0f} % on average, uncertainty {uncertainty:.3f}"
        return Verdict("good", why, "", uncertainty, coverage, empty, full, object_in_ground)
    grade: Grade = "unusable" if any(found[0] == "unusable" for found in findings) else "doubtful"
    why = ", ".join(found[1] for found in findings)
    remedy = next(found[2] for found in findings if found[0] == grade)
    remedy += "; look at the preview sheets"
    return Verdict(grade, why, remedy, uncertainty, coverage, empty, full, object_in_ground)
