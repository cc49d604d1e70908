"""Bench: one opened domain, its images, what a method is, and the row that it scores."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.checkpoints.open import GeneratorCheckpoint
from l4f_datagen.core.errors import InputRefused, UsageError
from l4f_datagen.core.masks import mask_to_rle
from l4f_datagen.core.progress import Meter
from l4f_datagen.io.disk import write_atomically
from l4f_datagen.io.figures import save_png
from l4f_datagen.io.photo import opened
from l4f_datagen.io.training_folder import claim_folder
from l4f_datagen.models.generator import Generator, Synthesis
from l4f_datagen.recipe import Recipe
from l4f_datagen.rendering.plan import Draw
from l4f_datagen.rendering.render import Renderer, noise_stream, renderer_of
from l4f_datagen.scoring.image_score import confusion
from l4f_datagen.toys.scene import MAX_SIZE, MIN_SIZE, TOYS

EVAL_SEED = 500_000  # the first of the images scored; far above the seeds of usual datasets
TRAINING_SEED = 600_000  # the first of the images that methods learn from; no image is in both
BLOCK = 50  # images in memory at once
SHOWN = 8  # images of the figure; their masks are kept in the row
IMAGES = "images"
TRIAL_SHARE, TRIAL_LEAST = 20, 50
"""A trial uses a twentieth of the data, but not less than 50 where there are as many."""

Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class BenchmarkConfig:
    """What to compare."""

    recipe: Recipe  # of the domain
    out: Path  # the benchmark's folder
    methods: tuple[str, ...] | None = None  # names from ``METHODS``; None: all that can run
    training_seeds: tuple[int, ...] = (0, 1, 2)  # every trained method is trained once with each
    num_images: int = 1_000  # at every psi
    psis: tuple[float, ...] = (1.0,)
    steps: int | None = None  # length of every method's training; None: each method's own
    trial: bool = False  # a short one, on a twentieth of the data; see ``methods``
    truth: Path | None = None  # folder of masks to score against; None: a toy domain's own
    unrelated: Path | None = None  # folder of images for ``unrelated-backgrounds``
    external: Mapping[str, Path] = field(default_factory=dict)  # tool's name -> folder of masks
    images_only: bool = False  # write the images and stop
    device: str = "auto"  # see ``choose_device``
    offline: bool = False


@dataclass(frozen=True)
class Block:
    """Some images to be masked."""

    draws: list[Draw]  # how they were generated; empty for renders of a toy domain
    images: NDArray[np.uint8]  # ``n h w 3``


@dataclass(frozen=True)
class Bench:
    """One domain, opened."""

    config: BenchmarkConfig
    recipe: Recipe  # of the domain, without latents: images come from seeds
    checkpoint: GeneratorCheckpoint
    generator: Generator  # frozen, on its device

    @cached_property
    def renderer(self) -> Renderer:
        """Renders images as ``make`` does, before any filter; without an alpha network."""
        return replace(renderer_of(self.recipe, self.generator, None), probes={}, background=None)

    def sized(self, number: int) -> int:
        """Return how many images or scenes a method uses: fewer in a trial."""
        return max(number // TRIAL_SHARE, min(number, TRIAL_LEAST)) if self.config.trial else number

    @property
    def device(self) -> torch.device:
        """Where the generator is."""
        return self.generator.w_avg.device

    @property
    def side(self) -> int:
        """Side of the generator's canvas, px."""
        return self.generator.spec.resolution

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the images, px."""
        left, top, right, bottom = self.recipe.generator.crop or (0, 0, self.side, self.side)
        return bottom - top, right - left

    @property
    def is_toy(self) -> bool:
        """Whether images of this domain can be rendered with their exact masks."""
        fits = MIN_SIZE <= self.side <= MAX_SIZE and self.recipe.generator.crop is None
        return fits and self.recipe.domain in TOYS

    def eval_draws(self, psi: float) -> list[Draw]:
        """List the scored images of one psi."""
        return [Draw(k + 1, psi, EVAL_SEED + k) for k in range(self.config.num_images)]

    def training_draws(self, number: int, first: int = 0) -> list[Draw]:
        """List images to train on, at the psi of the recipe's training."""
        psi = self.recipe.alpha.training.psi
        return [Draw(k + 1, psi, TRAINING_SEED + k) for k in range(first, first + number)]

    @torch.no_grad()
    def synthesis(self, draws: Sequence[Draw]) -> Synthesis:
        """Run the generator for draws: features and image that their images are made from."""
        renderer = self.renderer
        noise = self.generator.noise(renderer.noise_mode, [noise_stream(d.seed) for d in draws])
        ws = renderer.styles.ws(self.generator, draws)
        synthesis: Synthesis = self.generator.synthesis(ws, noise)
        return synthesis

    def image_path(self, draw: Draw) -> Path:
        """Return the file of a scored image."""
        return self.config.out / IMAGES / f"{draw.key}.png"

    def write_images(self) -> None:
        """Render what is missing of the scored images."""
        (self.config.out / IMAGES).mkdir(exist_ok=True)
        blocks = [
            draws
            for psi in self.config.psis
            for draws in blocks_of(self.eval_draws(psi))
            if not all(self.image_path(draw).exists() for draw in draws)
        ]
        with Meter(sum(map(len, blocks)), "benchmark", "images") as meter:
            for draws in blocks:
                for draw, sample in zip(draws, self.renderer.render(draws), strict=True):
                    save_png(Image.fromarray(sample.image), self.image_path(draw))
                    meter.advance()

    def read_block(self, draws: list[Draw]) -> Block:
        """Read scored images; a file that is no image or of another size is refused."""
        images = []
        for path in map(self.image_path, draws):
            with opened(path, str(path)) as image:
                (width, height), (wanted_h, wanted_w) = image.size, self.size_hw
                if (height, width) != (wanted_h, wanted_w):
                    problem = f"is {width} x {height} pixels, expected {wanted_w} x {wanted_h}"
                    raise InputRefused(str(path), problem, "remove it and run the command again")
                images.append(np.asarray(image.convert("RGB")))
        return Block(draws, np.stack(images))

    def network_folder(self, name: str, seed: int) -> Path:
        """Where the trained network of a method and training seed is kept."""
        return self.config.out / "networks" / f"{name}-seed{seed}"

    def claim_network(self, name: str, seed: int, identity: str) -> Path:
        """Reserve that folder for what has this identity; errors as ``claim_folder``."""
        folder = self.network_folder(name, seed)
        claim_folder(folder, identity, other="holds a network that was trained in another way")
        return folder


def blocks_of(draws: Sequence[Draw]) -> Iterator[list[Draw]]:
    """Cut draws into blocks."""
    for start in range(0, len(draws), BLOCK):
        yield list(draws[start : start + BLOCK])


@dataclass(frozen=True)
class Prepared:
    """A method that is ready to mask images."""

    label: Callable[[Block], Masks]  # bool ``n h w``
    collapse: str | None = None  # how its training ended if it collapsed in every attempt


@dataclass(frozen=True)
class Method:
    """One line of the tables."""

    prepare: Callable[[Bench, int], Prepared]
    """Trains it with a training seed, or opens what is trained."""
    settings: Callable[[Bench], str]
    """Names everything that decides its masks except the seed; any text."""
    needs: str = ""  # what a bench must have
    has: Callable[[Bench], object] = lambda bench: True  # whether it has
    same_as: Callable[[Bench], str | None] = lambda bench: None  # method that does the same here
    check: Callable[[Bench], object] = lambda bench: None
    """Refuses what ``prepare`` would refuse, before anything is written or trained."""
    seeded: bool = True  # whether the training seed matters
    takes_renders: bool = False  # needs only images, so that it can mask renders too

    def lacking(self, bench: Bench) -> str | None:
        """Say why it cannot run here."""
        return None if self.has(bench) else f"needs {self.needs}"


Tested = Iterable[tuple[Block, Masks, Masks]]
"""Blocks with their truth and their ignored pixels, bool ``n h w`` each."""


@dataclass(frozen=True)
class Row:
    """Scores of one method, training seed and set of images; measured once and kept as JSON."""

    method: str
    seed: int  # of the training; 0 where there is none
    on: str  # the images, ``psi0700`` or ``renders``
    settings: str  # digest of everything else that decides the masks
    counts: NDArray[np.int64]  # ``images 4``, as ``scoring.image_score.confusion`` counts
    shown: list[dict[str, Any]]  # masks of the first images, COCO run lengths
    collapse: str | None = None  # how the training ended if it collapsed in every attempt
    training_cpu_s: float = 0.0  # 0 if not all of the training was run for this row


def row_path(out: Path, method: str, seed: int, on: str) -> Path:
    """Return the file of a row."""
    return out / "rows" / f"{method}-seed{seed}-{on}.json"


def load_row(
    out: Path, method: str, seed: int, on: str, settings: str, *, images: int
) -> Row | None:
    """Return a row that was measured before, or None; refuse one of other settings or images."""
    path = row_path(out, method, seed, on)
    if not path.exists():
        return None
    try:
        data = json.loads(path.read_text())
        counts = np.asarray(data.pop("counts"), np.int64).reshape(-1, 4)
        row = Row(counts=counts, **data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(str(path), "is not a row of a benchmark", "remove it") from error
    if row.settings != settings:
        problem = "was measured with other settings"
        raise UsageError(str(path), problem, "name another --out or remove the file")
    if len(counts) != images:
        raise UsageError(str(path), f"counts {len(counts):,} of {images:,} images", "remove it")
    return row


def measure(out: Path, prepared: Prepared, tested: Tested, method: str, **facts: Any) -> Row:
    """Mask all images, count their pixels and keep the row; ``facts`` are its other fields."""
    counts: list[NDArray[np.int64]] = []
    shown: list[dict[str, Any]] = []
    with Meter(None, method, "images") as meter:
        for block, truth, ignored in tested:
            for true, mask, ignore in zip(truth, prepared.label(block), ignored, strict=True):
                counts.append(confusion(true, mask, ignore))
                if len(shown) < SHOWN:
                    shown.append(mask_to_rle(mask))
                meter.advance()
    facts |= {"counts": np.stack(counts), "shown": shown, "collapse": prepared.collapse}
    row = Row(method, **facts)
    path = row_path(out, method, row.seed, row.on)
    path.parent.mkdir(exist_ok=True)
    plain = vars(row) | {"counts": row.counts.tolist()}
    write_atomically(path, (json.dumps(plain) + "\n").encode())
    return row
