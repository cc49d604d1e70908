"""Backgrounds for the composites: a table of sources, each a function of w and seeds."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.io.stores import draw_pictures_of, open_store
from l4f_datagen.models.generator import Generator, Mute
from l4f_datagen.recipe import AlphaPart
from l4f_datagen.training.precision import paint


@runtime_checkable  # the tests check annotations
class Background(Protocol):
    """A source of background images."""

    def __call__(
        self, w: Float[Tensor, "batch w_dim"], seeds: Sequence[int]
    ) -> Float[Tensor, "batch 3 h w"]:
        """Return ``batch 3 h w``; w is that of the foreground (or of its neighbour), untruncated.

        All that is random comes from ``seeds``, one a sample.
        """


class OpenBackground(Protocol):
    """Opens a source; ``offline`` forbids it to fetch anything."""

    def __call__(
        self, part: AlphaPart, generator: Generator, *, offline: bool = False
    ) -> Background:
        """Return the source; errors as each one's."""


def muted(
    part: AlphaPart, generator: Generator, *, mute: Mute, offline: bool = False
) -> Background:
    """Synthesis with the trunk's start zeroed (Labels4Free, sec. 3.1).

    What is left is stationary: colour and texture from w, structure from the noise alone.
    """

    @torch.no_grad()
    def draw(w: Tensor, seeds: Sequence[int]) -> Tensor:
        noise = generator.noise("random", [np.random.RandomState(seed) for seed in seeds])
        ws = generator.truncate(w, 1.0)
        return paint(generator, ws, noise, part.training.precision, mute).image

    return draw


def pictures(part: AlphaPart, generator: Generator, *, offline: bool = False) -> Background:
    """Pictures of a folder, zip, LMDB or Hugging Face dataset (the paper's Places ablation)."""
    store = open_store(part.background_path or "", generator.spec.resolution, offline=offline)

    def draw(w: Tensor, seeds: Sequence[int]) -> Tensor:
        streams = [np.random.RandomState(seed) for seed in seeds]
        return torch.cat([draw_pictures_of(store, stream, 1) for stream in streams]).to(w)

    return draw


def second_generator(part: AlphaPart, generator: Generator, *, offline: bool = False) -> Background:
    """Pictures of another generator of the same size, untruncated.

    Raises:
        RecipeError: no such built-in or catalogue entry.
        InputRefused: it draws another size.
        CheckpointRefused: the file cannot be used.
        NetworkError: the file has to be fetched and cannot be.
    """
    from l4f_datagen.checkpoints.open import open_generator
    from l4f_datagen.recipe.domains import weights_path

    named = part.background_path or ""
    key = "alpha.background_path"
    opened = open_generator(weights_path(named, "generator", offline=offline, key=key))
    if opened.spec.resolution != generator.spec.resolution:
        sides = opened.spec.resolution, generator.spec.resolution
        problem = f"draws {sides[0]} px, the generator of the foregrounds {sides[1]} px"
        raise InputRefused(f"{key} {named}", problem, "name one of the same size")
    other = opened.build().to(generator.w_avg.device)

    @torch.no_grad()
    def draw(w: Tensor, seeds: Sequence[int]) -> Tensor:
        streams = [np.random.RandomState(seed) for seed in seeds]
        z = np.stack([stream.randn(other.spec.z_dim) for stream in streams])
        noise = other.noise("random", streams)
        ws = other.truncate(other.mapping(torch.from_numpy(z.astype(np.float32)).to(w)), 1.0)
        return paint(other, ws, noise, part.training.precision).image

    return draw


BACKGROUNDS: dict[str, OpenBackground] = {
    "conv1": partial(muted, mute="conv1"),
    "const": partial(muted, mute="const"),
    "pictures": pictures,
    "generator": second_generator,
}
