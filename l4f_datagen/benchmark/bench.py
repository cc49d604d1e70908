"""Bench: what every method of a benchmark works on, and what a method is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.checkpoints.open import GeneratorCheckpoint
from l4f_datagen.io.training_folder import claim_folder
from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import Recipe
from l4f_datagen.rendering.plan import Draw
from l4f_datagen.rendering.render import Renderer, renderer_of
from l4f_datagen.toys.scene import MAX_SIZE, MIN_SIZE, TOYS

FIRST_SEED = 500_000
"""Of the pictures that are scored; the ones that rivals learn from are other seeds."""
LEARNT_SEED = 600_000
BLOCK = 50
"""Pictures in memory at once."""

Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class Block:
    """Some pictures to be masked.

    Attributes:
        draws: how they were generated; empty for renders, which come from no generator.
        images: uint8 ``n h w 3``.
    """

    draws: list[Draw]
    images: NDArray[np.uint8]


Labeller = Callable[[Block], Masks]
"""Masks bool ``n h w`` of a block."""


@dataclass(frozen=True)
class Bench:
    """One domain, opened.

    Attributes:
        recipe: its sampling names no latents.
        checkpoint: of the generator.
        generator: frozen, on its device.
        out: the benchmark's folder.
        num_images: pictures scored at every psi.
        steps: length of every method's training; None: each method's own.
        unrelated: folder of pictures that show nothing of the domain, or None.
        offline: fetch nothing.
    """

    recipe: Recipe
    checkpoint: GeneratorCheckpoint
    generator: Generator
    out: Path
    num_images: int
    steps: int | None
    unrelated: Path | None
    offline: bool = False

    @cached_property
    def renderer(self) -> Renderer:
        """Renders pictures as ``make`` does, before any filter; has no alpha network yet."""
        return replace(renderer_of(self.recipe, self.generator, None), probes={}, background=None)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the pictures, px."""
        side = self.generator.spec.resolution
        left, top, right, bottom = self.recipe.generator.crop or (0, 0, side, side)
        return bottom - top, right - left

    @property
    def is_toy(self) -> bool:
        """Whether pictures of this domain can be rendered with their exact masks."""
        side = self.generator.spec.resolution
        fits = MIN_SIZE <= side <= MAX_SIZE and self.recipe.generator.crop is None
        return self.recipe.domain in TOYS and fits

    def draws(self, psi: float) -> list[Draw]:
        """List the scored pictures of one psi."""
        return [Draw(k + 1, psi, FIRST_SEED + k) for k in range(self.num_images)]

    def network_folder(self, name: str, seed: int) -> Path:
        """Where a method's trained network is kept."""
        return self.out / "networks" / f"{name}-seed{seed}"


def claim_network(folder: Path, identity: str) -> None:
    """Make a folder that of one trained network; errors as ``training_folder.claim_folder``."""
    claim_folder(folder, identity, other="holds a network that was trained in another way")


@dataclass(frozen=True)
class Prepared:
    """A method that is ready to mask pictures.

    Attributes:
        label: masks blocks.
        collapse: how its training ended where it collapsed for good, else None.
    """

    label: Labeller
    collapse: str | None = None


@dataclass(frozen=True)
class Method:
    """One line of the tables.

    Attributes:
        about: what it is, a line.
        prepare: trains it with a training seed, or opens what is trained.
        settings: names all that decides its masks but the seed; any text.
        lacking: why it cannot run here, None when it can.
        same_as: name of a method that would do exactly the same here, or None.
        check: refuses what ``prepare`` would, before anything is written or trained.
        seeded: whether the training seed matters.
        pictures_alone: needs no generator, so that renders can be given to it too.
    """

    about: str
    prepare: Callable[[Bench, int], Prepared]
    settings: Callable[[Bench], str]
    lacking: Callable[[Bench], str | None] = lambda bench: None
    same_as: Callable[[Bench], str | None] = lambda bench: None
    check: Callable[[Bench], object] = lambda bench: None
    seeded: bool = True
    pictures_alone: bool = False
