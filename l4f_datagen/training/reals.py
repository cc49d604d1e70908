"""What the discriminator takes for real: a table of sources, each a function of its stream."""

from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from l4f_datagen.io.stores import STORES, draw_pictures_of, open_store
from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import TrainingPart
from l4f_datagen.toys.scene import TOYS, render_scene
from l4f_datagen.training.precision import paint


@runtime_checkable  # the tests check annotations
class Reals(Protocol):
    """A source of real images."""

    def __call__(self, stream: np.random.RandomState, batch: int) -> Float[Tensor, "batch 3 h w"]:
        """Return ``batch 3 h w`` in [-1, 1], a function of ``stream`` alone."""


class OpenReals(Protocol):
    """Opens a source; ``offline`` forbids it to fetch anything."""

    def __call__(self, part: TrainingPart, generator: Generator, *, offline: bool = False) -> Reals:
        """Return the source; errors as each one's."""


def generator_reals(part: TrainingPart, generator: Generator, *, offline: bool = False) -> Reals:
    """Samples of the frozen generator itself, at ``reals_psi``: no real image is needed."""

    @torch.no_grad()
    def draw(stream: np.random.RandomState, batch: int) -> Tensor:
        z = torch.from_numpy(stream.randn(batch, generator.spec.z_dim).astype(np.float32))
        streams = [np.random.RandomState(stream.randint(2**31)) for _ in range(batch)]
        noise = generator.noise("random", streams)
        ws = generator.truncate(generator.mapping(z.to(generator.w_avg.device)), part.reals_psi)
        return paint(generator, ws, noise, part.precision).image

    return draw


def stored_reals(
    part: TrainingPart, generator: Generator, *, kind: str, offline: bool = False
) -> Reals:
    """Pictures of a store, fitted into the generator's square canvas.

    Raises:
        InputRefused: no such store, no image in it, or one that cannot be read.
        NetworkError: a dataset that cannot be fetched.
    """
    store = open_store(str(part.reals_folder), generator.spec.resolution, kind, offline=offline)
    return lambda stream, batch: draw_pictures_of(store, stream, batch)


def toy_reals(
    part: TrainingPart, generator: Generator, *, domain: str, offline: bool = False
) -> Reals:
    """Fresh renders of a toy domain, a key of ``TOYS``."""
    size = generator.spec.resolution

    def draw(stream: np.random.RandomState, batch: int) -> Tensor:
        seeds = stream.randint(0, 2**31, batch)
        images = np.stack([render_scene(int(seed), size, domain).image for seed in seeds])
        return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1

    return draw


REALS: dict[str, OpenReals] = {
    "generator": generator_reals,
    **{domain: partial(toy_reals, domain=domain) for domain in TOYS},
    **{kind: partial(stored_reals, kind=kind) for kind in STORES},
}
