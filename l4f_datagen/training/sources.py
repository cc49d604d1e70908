"""The images of a training: reals, backgrounds, and foregrounds with their features.

Reals, which the discriminator is shown, are a function of a stream; backgrounds, which composites
are laid over, of w and seeds. Both are found in a table by the name that the recipe gives.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.io.photographs import Box, Photographs, check_photographs
from l4f_datagen.io.stores import STORES, open_store
from l4f_datagen.models.generator import Features, Generator, Half, Mute, Synthesis
from l4f_datagen.recipe import AlphaPart
from l4f_datagen.rendering.render import HALF_RESOLUTIONS
from l4f_datagen.toys.scene import TOYS, render_scene
from l4f_datagen.training.hardware import autocast

Reals = Callable[[np.random.RandomState, int], Tensor]
"""Real images: ``batch 3 h w`` in [-1, 1], a function of the stream alone."""
Background = Callable[[Tensor, Sequence[int]], Tensor]
"""Background images, ``batch 3 h w``, for w of the foreground (or of its neighbour), untruncated.
All that is random comes from the seeds, one a sample."""


@dataclass(frozen=True)
class SourceContext:
    """What a source is opened for; the generator is frozen, on its device."""

    part: AlphaPart
    generator: Generator
    crop: Box | None = None  # part of the canvas that the generator draws in, px; None: all of it
    offline: bool = False  # fetch nothing

    def photographs(self, path: str, kind: str | None = None) -> Photographs:
        """Open photographs for the generator's canvas and check them all.

        ``InputRefused``: no such store, no image in it, or too many that cannot be used;
        ``NetworkError``: a dataset that cannot be fetched.
        """
        side, part = self.generator.spec.resolution, self.part
        store = open_store(path, kind, side=side, offline=self.offline)
        batch = part.training.batch
        return check_photographs(store, side, crop=self.crop, fit=part.fit, batch=batch)


@dataclass(frozen=True)
class Sources:
    """The sources of one training, opened."""

    reals: Reals
    background: Background


def open_sources(context: SourceContext) -> Sources:
    """Open the recipe's reals and backgrounds; errors as those of each source."""
    part = context.part
    return Sources(REALS[part.training.reals](context), BACKGROUNDS[part.background](context))


@dataclass(frozen=True)
class Draws:
    """What decides the images of a batch: z, and a seed for either noise."""

    z: Tensor
    fg_seeds: list[int]
    bg_seeds: list[int]


def draw_latents(
    batch: int, generator: Generator, stream: np.random.RandomState, *, backgrounds: bool = True
) -> Draws:
    """Draw what decides the images of a batch, or of its foregrounds alone."""
    z = torch.from_numpy(stream.randn(batch, generator.spec.z_dim).astype(np.float32))
    counts = (batch, batch if backgrounds else 0)
    fg_seeds, bg_seeds = ([int(stream.randint(2**31)) for _ in range(count)] for count in counts)
    return Draws(z.to(generator.w_avg.device), fg_seeds, bg_seeds)


def streams_of(seeds: Sequence[int]) -> list[np.random.RandomState]:
    """Return a stream for each sample."""
    return [np.random.RandomState(seed) for seed in seeds]


@torch.no_grad()
def render(
    generator: Generator,
    w: Float[Tensor, "batch w_dim"],
    streams: Sequence[np.random.RandomState],
    psi: float = 1.0,
    *,
    mute: Mute | None = None,
    precision: str = "fp32",
) -> Synthesis:
    """Render w truncated at ``psi``, with noise from the streams.

    As ``sample`` does, fp16 takes the trunk's top resolutions alone. The image is float32; features
    come in the precision they were made in.
    """
    ws, noise, half = generator.truncate(w, psi), generator.noise("random", streams), None
    if precision == "fp16":
        half = Half(torch.float16, generator.spec.resolution // 2 ** (HALF_RESOLUTIONS - 1))
    with autocast(precision, w.device) if precision == "bf16" else nullcontext():
        synthesis: Synthesis = generator.synthesis(ws, noise, mute, half=half)
    return synthesis


def generator_reals(context: SourceContext) -> Reals:
    """Samples of the frozen generator itself, at ``reals_psi``: no real image is needed."""
    generator, training = context.generator, context.part.training

    @torch.no_grad()
    def draw(stream: np.random.RandomState, batch: int) -> Tensor:
        draws = draw_latents(batch, generator, stream, backgrounds=False)
        w, streams = generator.mapping(draws.z), streams_of(draws.fg_seeds)
        psi, precision = training.reals_psi, training.precision
        return render(generator, w, streams, psi, precision=precision).image

    return draw


def stored_reals(context: SourceContext, kind: str) -> Reals:
    """Photographs of a store; errors as ``SourceContext.photographs``."""
    photographs = context.photographs(str(context.part.training.reals_folder), kind)
    return lambda stream, batch: draw_photographs(photographs, stream, batch)


def toy_reals(context: SourceContext, domain: str) -> Reals:
    """Fresh renders of a toy domain, a key of ``TOYS``."""
    size = context.generator.spec.resolution

    def draw(stream: np.random.RandomState, batch: int) -> Tensor:
        seeds = stream.randint(0, 2**31, batch)
        return to_tensor([render_scene(int(seed), size, domain).image for seed in seeds])

    return draw


REALS: dict[str, Callable[[SourceContext], Reals]] = {
    "generator": generator_reals,
    **{domain: partial(toy_reals, domain=domain) for domain in TOYS},
    **{kind: partial(stored_reals, kind=kind) for kind in STORES},
}


def muted(context: SourceContext, mute: Mute) -> Background:
    """Synthesis with the trunk's start zeroed (Labels4Free, sec. 3.1).

    What is left is stationary: colour and texture from w, structure from the noise alone.
    """
    generator, precision = context.generator, context.part.training.precision

    def draw(w: Tensor, seeds: Sequence[int]) -> Tensor:
        return render(generator, w, streams_of(seeds), mute=mute, precision=precision).image

    return draw


def stored_backgrounds(context: SourceContext) -> Background:
    """Photographs of a store (the paper's Places ablation)."""
    photographs = context.photographs(context.part.background_path or "")

    def draw(w: Tensor, seeds: Sequence[int]) -> Tensor:
        images = [draw_photographs(photographs, stream, 1) for stream in streams_of(seeds)]
        return torch.cat(images).to(w)

    return draw


def second_generator(context: SourceContext) -> Background:
    """Images of another generator of the same size, untruncated.

    ``InputRefused`` where it draws another size, else errors as ``weights_path`` and
    ``open_generator``.
    """
    from l4f_datagen.checkpoints.open import open_generator
    from l4f_datagen.recipe.domains import weights_path

    named, key = context.part.background_path or "", "alpha.background_path"
    opened = open_generator(weights_path(named, "generator", offline=context.offline, key=key))
    side, device = context.generator.spec.resolution, context.generator.w_avg.device
    if (drawn := opened.spec.resolution) != side:
        problem = f"draws {drawn} px, the generator of the foregrounds draws {side} px"
        raise InputRefused(f"{key} {named}", problem, "name one of the same size")
    other, precision = opened.build().to(device), context.part.training.precision

    @torch.no_grad()
    def draw(w: Tensor, seeds: Sequence[int]) -> Tensor:
        streams = streams_of(seeds)
        z = np.stack([stream.randn(other.spec.z_dim) for stream in streams]).astype(np.float32)
        own_w = other.mapping(torch.from_numpy(z).to(w))
        return render(other, own_w, streams, precision=precision).image

    return draw


BACKGROUNDS: dict[str, Callable[[SourceContext], Background]] = {
    "conv1": partial(muted, mute="conv1"),
    "const": partial(muted, mute="const"),
    "pictures": stored_backgrounds,
    "generator": second_generator,
}


def draw_photographs(
    photographs: Photographs, stream: np.random.RandomState, batch: int
) -> Float[Tensor, "batch 3 side side"]:
    """Return ``batch 3 side side`` in [-1, 1], drawn with replacement."""
    picked = stream.randint(0, len(photographs), batch)
    return to_tensor([photographs.read(int(number)) for number in picked])


def to_tensor(images: Sequence[NDArray[np.uint8]]) -> Float[Tensor, "batch 3 h w"]:
    """Turn images ``h w 3`` into ``batch 3 h w`` floats in [-1, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


@dataclass(frozen=True)
class ImageBatch:
    """Images to composite, ``batch 3 h w``, as the step sees them."""

    fg_image: Tensor
    features: Features  # of the foreground
    bg_image: Tensor  # what the foreground is laid over
    own_bg_image: Tensor  # that of the foreground's own w; the same, if none is shuffled


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
    rows, training = torch.as_tensor(list(picked), device=draws.z.device), part.training
    w, streams = generator.mapping(draws.z[rows]), streams_of([draws.fg_seeds[k] for k in picked])
    drawn = render(generator, w, streams, training.psi, precision=training.precision)
    seeds = [draws.bg_seeds[k] for k in picked]
    if not part.background_shuffled:
        own = other = background(w, seeds)
    else:
        other = background(generator.mapping(draws.z[(rows + 1) % len(draws.z)]), seeds)
        own = background(w, seeds) if training.balance == "two-sided" else other
    return ImageBatch(drawn.image, drawn.features, other, own)
