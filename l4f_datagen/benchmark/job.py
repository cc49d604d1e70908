"""What one call of ``benchmark`` asks for: refused before anything is made, or opened."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from l4f_datagen.benchmark.bench import FIRST_SEED, Bench, Method
from l4f_datagen.benchmark.mask_folder import MaskFolder, outside_method
from l4f_datagen.benchmark.methods import METHODS
from l4f_datagen.benchmark.rows import row_path
from l4f_datagen.benchmark.tables import on_psi
from l4f_datagen.benchmark.truth import digest_of
from l4f_datagen.core.errors import UsageError
from l4f_datagen.models.devices import choose_device
from l4f_datagen.pipeline.networks import obtain_generator
from l4f_datagen.recipe import Recipe

logger = logging.getLogger(__name__)

TRUTH_NET = "truth"


@dataclass(frozen=True)
class Job:
    """What to compare.

    Attributes:
        recipe: of the domain.
        out: the benchmark's folder.
        methods: names from ``METHODS``; None: all that can run.
        training_seeds: one training of every trained method each.
        num_images: pictures at every psi.
        psis: truncations.
        steps: length of every method's training; None: each method's own.
        truth: folder of masks to score against; None: a toy domain's own.
        unrelated: folder of pictures for ``unrelated-backgrounds``.
        outside: name -> folder of masks of a tool from outside.
        images_only: write the pictures and stop.
        device: see ``choose_device``.
        offline: fetch nothing.
    """

    recipe: Recipe
    out: Path
    methods: tuple[str, ...] | None = None
    training_seeds: tuple[int, ...] = (0, 1, 2)
    num_images: int = 1_000
    psis: tuple[float, ...] = (1.0,)
    steps: int | None = None
    truth: Path | None = None
    unrelated: Path | None = None
    outside: Mapping[str, Path] = field(default_factory=dict)
    images_only: bool = False
    device: str = "auto"
    offline: bool = False


def check_outside(outside: Mapping[str, Path]) -> None:
    """Refuse names that are taken.

    Raises:
        UsageError: a tool from outside that is called like a method.
    """
    for name in outside:
        if name in METHODS or name == TRUTH_NET:
            raise UsageError(f"--pred {name}", "is the name of a method here", "name it otherwise")


def check_psis(psis: Sequence[float]) -> None:
    """Refuse psi whose pictures would have the same keys.

    Raises:
        UsageError: two of them agree to three decimals.
    """
    if len({on_psi(psi) for psi in psis}) < len(psis):
        named = ", ".join(f"{psi:g}" for psi in psis)
        remedy = "keep psi at least 0.001 apart"
        raise UsageError(f"--psi {named}", "two of them agree to three decimals", remedy)


def check_methods(bench: Bench, job: Job, methods: Mapping[str, Method]) -> None:
    """Refuse what a method's own turn would, hours later; errors as ``Method.check``."""
    for name, method in methods.items():
        seeds = job.training_seeds if method.seeded else (0,)
        paths = [row_path(bench.out, name, k, on_psi(psi)) for k in seeds for psi in job.psis]
        # A method that is measured trains no more, whatever has become of its pictures.
        if not all(path.exists() for path in paths):
            method.check(bench)


def open_bench(job: Job) -> Bench:
    """Open the generator; errors as ``weights.obtain_generator``."""
    sampling = job.recipe.sampling.model_copy(update={"latents": None})
    recipe = job.recipe.model_copy(update={"sampling": sampling})
    device = choose_device(job.device)
    checkpoint, generator = obtain_generator(recipe.generator, device, offline=job.offline)
    return Bench(
        recipe,
        checkpoint,
        generator,
        job.out,
        job.num_images,
        job.steps,
        job.unrelated,
        job.offline,
    )


def identity(bench: Bench) -> str:
    """Name what decides the pictures, and how alpha becomes a mask."""
    recipe = bench.recipe
    sampling = recipe.sampling.model_dump(mode="json")
    kept = ("noise_mode", "precision", "style_mixing", "truncation_cutoff", "mask_cleanup")
    return digest_of(
        {
            "generator": bench.checkpoint.fingerprint,
            "crop": recipe.generator.crop,
            "sampling": {name: sampling[name] for name in kept},
            "mask_threshold": recipe.output.mask_threshold,
            "images": [FIRST_SEED, bench.num_images],
        }
    )


def open_outside(bench: Bench, job: Job, path: Path) -> Method:
    """Check a tool's masks, all of them, before anything is trained; errors as ``MaskFolder``."""
    masks = MaskFolder(path, bench.size_hw, soft=True)
    digests = [masks.check(bench.draws(psi)) for psi in job.psis]
    for note in masks.notes():
        logger.info(note)
    return outside_method(path, " ".join(digests))


def psi_of(job: Job, on: str) -> float | None:
    """Return the psi that ``Row.on`` names, None for renders."""
    return next((psi for psi in job.psis if on_psi(psi) == on), None)
