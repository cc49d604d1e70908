"""The images of one step: foregrounds with their features, and backgrounds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from l4f_datagen.models.generator import Features, Generator, Synthesis
from l4f_datagen.recipe import AlphaPart
from l4f_datagen.training.precision import synthesize
from l4f_datagen.training.sources import Background


@dataclass(frozen=True)
class Draws:
    """What decides the images of a step, for the joint batch: z, and a seed for either noise."""

    z: Tensor
    fg_seeds: list[int]
    bg_seeds: list[int]


@dataclass(frozen=True)
class ImageBatch:
    """Images to composite, as the step sees them.

    Attributes:
        fg_image: ``batch 3 h w``.
        features: of the foreground.
        bg_image: what the foreground is laid over.
        own_bg_image: the background of the foreground's own w; the same, if none is shuffled.
    """

    fg_image: Tensor
    features: Features
    bg_image: Tensor
    own_bg_image: Tensor


def draw_latents(batch: int, generator: Generator, stream: np.random.RandomState) -> Draws:
    """Draw what decides the images of a batch."""
    z = torch.from_numpy(stream.randn(batch, generator.spec.z_dim).astype(np.float32))
    fg_seeds, bg_seeds = ([int(stream.randint(2**31)) for _ in range(batch)] for _ in range(2))
    return Draws(z.to(generator.w_avg.device), fg_seeds, bg_seeds)


@torch.no_grad()
def render_foreground(
    part: AlphaPart, generator: Generator, w: Tensor, seeds: Sequence[int]
) -> Synthesis:
    """Render w truncated at ``psi``, with noise from the seeds, as the training sees it."""
    noise = generator.noise("random", [np.random.RandomState(seed) for seed in seeds])
    ws = generator.truncate(w, part.training.psi)
    return synthesize(generator, ws, noise, part.training.precision)


@torch.no_grad()
def render_batch(
    part: AlphaPart,
    generator: Generator,
    background: Background,
    draws: Draws,
    picked: Sequence[int] | None = None,
) -> ImageBatch:
    """Render some samples of the joint batch, by default all.

    The foreground is truncated at ``psi``; the background comes from the same z, or from the next
    sample's with ``background_shuffled``, and is not truncated. Noise is fresh for either.
    """
    picked = range(len(draws.z)) if picked is None else picked
    rows = torch.as_tensor(list(picked), device=draws.z.device)
    w = generator.mapping(draws.z[rows])
    foreground = render_foreground(part, generator, w, [draws.fg_seeds[k] for k in picked])
    seeds = [draws.bg_seeds[k] for k in picked]
    two_sided = part.training.balance == "two-sided"
    own = background(w, seeds) if two_sided or not part.background_shuffled else None
    other = own
    if part.background_shuffled:
        other = background(generator.mapping(draws.z[(rows + 1) % len(draws.z)]), seeds)
    assert other is not None
    return ImageBatch(foreground.image, foreground.features, other, other if own is None else own)
