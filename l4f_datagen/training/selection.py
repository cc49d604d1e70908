"""Which snapshot to keep, chosen without labels.

A good matte (1) stays where it is when only the noise is drawn anew, (2) agrees with the mattes of
the other snapshots, (3) looks real over *another* image's background, and (4) is hard. The
share of each is a number in [0, 1]; the score is their product. Mirroring says nothing here:
1x1 convolutions on mirrored features give the mirrored matte exactly.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.training import losses
from l4f_datagen.training.sources import draw_latents, render, streams_of
from l4f_datagen.training.state import TrainingState
from l4f_datagen.training.steps import StepContext

EVAL_SEED, EVAL_BATCHES, EVAL_BATCH = 11, 4, 8
THRESHOLD = 0.5


@dataclass(frozen=True)
class Score:
    """How a snapshot did, each in [0, 1], larger is better."""

    noise: float  # mean IoU of its masks under two draws of noise
    peers: float  # mean IoU of its masks with the mean mask of all snapshots
    realism: float  # over others' backgrounds: 0 as the bare background, 1 as the generator's image
    hardness: float  # 1 - 4 x mean alpha (1 - alpha), as a share of what the coverage allows

    @property
    def total(self) -> float:
        """Product of all four."""
        return self.noise * self.peers * self.realism * self.hardness

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {value:.3f}" for name, value in vars(self).items())
        return f"score {self.total:.3f} ({parts})"


def mean_iou(first: Bool[Tensor, "..."], second: Bool[Tensor, "..."]) -> float:
    """Mean of foreground and background IoU over all pixels; 1 where neither has the class."""
    ious = []
    for a, b in ((first, second), (~first, ~second)):
        union = int((a | b).sum())
        ious.append(int((a & b).sum()) / union if union else 1.0)
    return sum(ious) / 2


@torch.no_grad()
def score_snapshots(state: TrainingState, context: StepContext) -> dict[int, Score]:
    """Score every snapshot on the same images by the same, last discriminator."""
    generator, psi = context.generator, context.part.training.psi
    network = AlphaNetwork(state.average.channels, state.average.resolutions)
    network.to(generator.w_avg.device).eval()
    stream = np.random.RandomState(EVAL_SEED)
    discriminator = state.main.network.requires_grad_(False)
    # Of each snapshot: mattes, those under other noise, and opinions on its composites.
    parts: dict[int, list[list[Tensor]]] = {step: [] for step in sorted(state.snapshots)}
    whole, bare = [], []
    for _ in range(EVAL_BATCHES):
        draws = draw_latents(EVAL_BATCH, generator, stream)
        w = generator.mapping(draws.z)
        first = render(generator, w, streams_of(draws.fg_seeds), psi)
        second = render(generator, w, streams_of(draws.bg_seeds), psi)
        bg_image = context.sources.background(w.roll(1, 0), draws.bg_seeds)
        whole.append(discriminator(first.image))
        bare.append(discriminator(bg_image))
        for step, found in parts.items():
            network.load_state_dict(state.snapshots[step])
            alpha, again = network(first.features), network(second.features)
            opinion = discriminator(losses.composite(first.image, bg_image, alpha))
            found.append([alpha, again, opinion])
    top, bottom = float(torch.cat(whole).mean()), float(torch.cat(bare).mean())
    joined = {
        step: [torch.cat(part) for part in zip(*found, strict=True)]
        for step, found in parts.items()
    }
    masks = {step: alpha > THRESHOLD for step, (alpha, *_) in joined.items()}
    consensus = torch.stack(list(masks.values())).float().mean(0) > 0.5
    scores = {}
    for step, (alpha, again, opinion) in joined.items():
        realism = 1.0  # a discriminator that prefers bare backgrounds says nothing
        if top > bottom:
            realism = min(max((float(opinion.mean()) - bottom) / (top - bottom), 0.0), 1.0)
        stable, agreed = mean_iou(masks[step], again > THRESHOLD), mean_iou(masks[step], consensus)
        scores[step] = Score(stable, agreed, realism, hardness(alpha))
    return scores


def hardness(alpha: Float[Tensor, "batch 1 h w"]) -> float:
    """1 for a hard matte, 0 for one that is the same grey everywhere."""
    mean = float(alpha.mean())
    most = mean * (1 - mean)
    return 1 - float((alpha * (1 - alpha)).mean()) / most if most > 0 else 0.0
