"""Sources of images: what the discriminator is shown as real, and what composites are laid over.

Reals are a function of a stream, backgrounds of w and seeds; both are found in a table by the name
that the recipe gives.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.io.photographs import Box, Photographs, check_photographs
from l4f_datagen.io.stores import STORES, open_store
from l4f_datagen.models.generator import Generator, Mute
from l4f_datagen.recipe import AlphaPart
from l4f_datagen.toys.scene import TOYS, render_scene
from l4f_datagen.training.precision import synthesize


@runtime_checkable  # the tests check annotations
class Reals(Protocol):
    """A source of real images."""

    def __call__(self, stream: np.random.RandomState, batch: int) -> Float[Tensor, "batch 3 h w"]:
        """Return ``batch 3 h w`` in [-1, 1], a function of ``stream`` alone."""


@runtime_checkable  # the tests check annotations
class Background(Protocol):
    """A source of background images."""

    def __call__(
        self, w: Float[Tensor, "batch w_dim"], seeds: Sequence[int]
    ) -> Float[Tensor, "batch 3 h w"]:
        """Return ``batch 3 h w``; w is that of the foreground (or of its neighbour), untruncated.

        All that is random comes from ``seeds``, one a sample.
        """


@dataclass(frozen=True)
class SourceContext:
    """What a source is opened for.

    Attributes:
        part: the recipe's alpha part.
        generator: frozen, on its device.
        crop: part of the canvas that the generator draws in, px; None: all of it.
        offline: fetch nothing.
    """

    part: AlphaPart
    generator: Generator
    crop: Box | None = None
    offline: bool = False

    def photographs(self, path: str, kind: str | None = None) -> Photographs:
        """Open photographs for the generator's canvas and check them all.

        Raises:
            InputRefused: no such store, no image in it, or too many that cannot be used.
            NetworkError: a dataset that cannot be fetched.
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
    """Open the recipe's reals and backgrounds.

    Raises:
        InputRefused: no photographs, or some that cannot be used.
        CheckpointRefused: a second generator that cannot be used.
        NetworkError: a dataset or generator that cannot be fetched.
    """
    part = context.part
    return Sources(REALS[part.training.reals](context), BACKGROUNDS[part.background](context))


def generator_reals(context: SourceContext) -> Reals:
    """Samples of the frozen generator itself, at ``reals_psi``: no real image is needed."""
    generator, training = context.generator, context.part.training

    @torch.no_grad()
    def draw(stream: np.random.RandomState, batch: int) -> Tensor:
        z = torch.from_numpy(stream.randn(batch, generator.spec.z_dim).astype(np.float32))
        streams = [np.random.RandomState(stream.randint(2**31)) for _ in range(batch)]
        noise = generator.noise("random", streams)
        w = generator.mapping(z.to(generator.w_avg.device))
        ws = generator.truncate(w, training.reals_psi)
        return synthesize(generator, ws, noise, training.precision).image

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

    @torch.no_grad()
    def draw(w: Tensor, seeds: Sequence[int]) -> Tensor:
        noise = generator.noise("random", [np.random.RandomState(seed) for seed in seeds])
        return synthesize(generator, generator.truncate(w, 1.0), noise, precision, mute).image

    return draw


def stored_backgrounds(context: SourceContext) -> Background:
    """Photographs of a store (the paper's Places ablation)."""
    photographs = context.photographs(context.part.background_path or "")

    def draw(w: Tensor, seeds: Sequence[int]) -> Tensor:
        streams = [np.random.RandomState(seed) for seed in seeds]
        return torch.cat([draw_photographs(photographs, stream, 1) for stream in streams]).to(w)

    return draw


def second_generator(context: SourceContext) -> Background:
    """Images of another generator of the same size, untruncated.

    Raises:
        RecipeError: no such built-in or catalogue entry.
        InputRefused: it draws another size.
        CheckpointRefused: the file cannot be used.
        NetworkError: the file has to be fetched and cannot be.
    """
    from l4f_datagen.checkpoints.open import open_generator
    from l4f_datagen.recipe.domains import weights_path

    named, key = context.part.background_path or "", "alpha.background_path"
    opened = open_generator(weights_path(named, "generator", offline=context.offline, key=key))
    side, device = context.generator.spec.resolution, context.generator.w_avg.device
    if opened.spec.resolution != side:
        problem = (
            f"draws {opened.spec.resolution} px, the generator of the foregrounds draws {side} px"
        )
        raise InputRefused(f"{key} {named}", problem, "name one of the same size")
    other, precision = opened.build().to(device), context.part.training.precision

    @torch.no_grad()
    def draw(w: Tensor, seeds: Sequence[int]) -> Tensor:
        streams = [np.random.RandomState(seed) for seed in seeds]
        z = np.stack([stream.randn(other.spec.z_dim) for stream in streams])
        noise = other.noise("random", streams)
        ws = other.truncate(other.mapping(torch.from_numpy(z.astype(np.float32)).to(w)), 1.0)
        return synthesize(other, ws, noise, precision).image

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
