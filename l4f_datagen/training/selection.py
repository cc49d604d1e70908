"""Which snapshot to keep, chosen without labels.

A good matte (1) stays where it is when only the noise is drawn anew, (2) agrees with the mattes of
the other snapshots, (3) looks real over *another* image's background, and (4) is hard. The
share of each is a number in [0, 1]; the score is their product. Mirroring says nothing here:
1x1 convolutions on mirrored features give the mirrored matte exactly.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.generator import Synthesis
from l4f_datagen.training import losses
from l4f_datagen.training.images import Draws, draw_latents
from l4f_datagen.training.state import TrainingState
from l4f_datagen.training.steps import StepContext

EVAL_SEED = 11
EVAL_BATCHES = 4
EVAL_BATCH = 8
THRESHOLD = 0.5


@dataclass(frozen=True)
class Score:
    """How a snapshot did, each in [0, 1], larger is better.

    Attributes:
        noise: mean IoU of its masks under two draws of noise.
        peers: mean IoU of its masks with the mean mask of all snapshots.
        realism: the discriminator's opinion over others' backgrounds: 0 as the bare background,
            1 as the generator's own image.
        hardness: 1 - 4 x mean alpha (1 - alpha), as a share of what the coverage allows.
    """

    noise: float
    peers: float
    realism: float
    hardness: float

    @property
    def total(self) -> float:
        """Product of all four."""
        return self.noise * self.peers * self.realism * self.hardness

    def __str__(self) -> str:
        return (
            f"score {self.total:.3f} (noise {self.noise:.3f}, peers {self.peers:.3f}, "
            f"realism {self.realism:.3f}, hardness {self.hardness:.3f})"
        )


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
    generator = context.generator
    steps = sorted(state.snapshots)
    network = AlphaNetwork(state.average.channels, state.average.resolutions)
    network.to(generator.w_avg.device).eval()
    alphas: dict[int, list[Tensor]] = {step: [] for step in steps}
    again: dict[int, list[Tensor]] = {step: [] for step in steps}
    logits: dict[int, list[Tensor]] = {step: [] for step in steps}
    whole, bare = [], []
    stream = np.random.RandomState(EVAL_SEED)
    discriminator = state.discriminator.requires_grad_(False)
    for _ in range(EVAL_BATCHES):
        draws = draw_latents(EVAL_BATCH, generator, stream)
        first, second = (
            _foreground(context, draws, seeds) for seeds in (draws.fg_seeds, draws.bg_seeds)
        )
        w = generator.mapping(draws.z.roll(1, 0))
        bg_image = context.sources.background(w, draws.bg_seeds)
        whole.append(discriminator(first.image))
        bare.append(discriminator(bg_image))
        for step in steps:
            network.load_state_dict(state.snapshots[step])
            alpha = network(first.features)
            alphas[step].append(alpha)
            again[step].append(network(second.features))
            logits[step].append(discriminator(losses.composite(first.image, bg_image, alpha)))
    top, bottom = float(torch.cat(whole).mean()), float(torch.cat(bare).mean())
    joined = {step: torch.cat(alphas[step]) for step in steps}
    consensus = torch.stack([alpha > THRESHOLD for alpha in joined.values()]).float().mean(0) > 0.5
    return {
        step: Score(
            noise=mean_iou(joined[step] > THRESHOLD, torch.cat(again[step]) > THRESHOLD),
            peers=mean_iou(joined[step] > THRESHOLD, consensus),
            realism=_scaled(float(torch.cat(logits[step]).mean()), bottom, top),
            hardness=hardness(joined[step]),
        )
        for step in steps
    }


def _foreground(context: StepContext, draws: Draws, seeds: list[int]) -> Synthesis:
    generator = context.generator
    noise = generator.noise("random", [np.random.RandomState(seed) for seed in seeds])
    ws = generator.truncate(generator.mapping(draws.z), context.part.training.psi)
    synthesis: Synthesis = generator.synthesis(ws, noise)
    return synthesis


def _scaled(value: float, bottom: float, top: float) -> float:
    if not top > bottom:
        return 1.0  # a discriminator that prefers bare backgrounds says nothing
    return min(max((value - bottom) / (top - bottom), 0.0), 1.0)


def hardness(alpha: Float[Tensor, "batch 1 h w"]) -> float:
    """1 for a hard matte, 0 for one that is the same grey everywhere."""
    mean = float(alpha.mean())
    most = mean * (1 - mean)
    return 1 - float((alpha * (1 - alpha)).mean()) / most if most > 0 else 0.0


def best_of(scores: Mapping[int, Score]) -> int:
    """Return the step of the best snapshot; the later one of equals."""
    return max(scores, key=lambda step: (scores[step].total, step))
