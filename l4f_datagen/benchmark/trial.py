"""Trial: how long a benchmark takes, and a short one that shows in minutes that everything runs."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from l4f_datagen.benchmark import methods as table
from l4f_datagen.benchmark import supervised
from l4f_datagen.benchmark.alphas import CHANGES, EMPTY_GROUNDS, UNRELATED, trial_rounds
from l4f_datagen.benchmark.baselines import editing_in_style
from l4f_datagen.benchmark.bench import Bench, Method
from l4f_datagen.core.errors import InputRefused
from l4f_datagen.core.progress import duration_text
from l4f_datagen.io.disk import write_atomically
from l4f_datagen.models.unet import UNet
from l4f_datagen.pipeline.estimate import training_renders

TRIAL_SECONDS = 300.0
PLANNED = 0.7
"""Share of it that is planned for; another process may take its part of the machine meanwhile."""
LAST_START = 0.85
"""Share of it after which no method begins."""
MIN_STEPS, MAX_STEPS = 2, 50
FIXED_RENDERS = 260
"""Of an alpha training besides its steps: 128 for the object's size (``object_size.IMAGES`` and
their muted twins), 96 for the choice of a snapshot, 32 for the verdict."""
REDO_UNETS = 1.5
"""A step of ReDO takes about so many steps of a U-Net, measured at 64 px on two cores."""
FILE = "trial.json"


@dataclass(frozen=True)
class Speed:
    """Seconds on this machine.

    Attributes:
        image: to generate one image.
        scene: to render one scene of a toy domain; 0 for others.
        unet_step: of a U-Net's training.
    """

    image: float
    scene: float
    unet_step: float


def measure_speed(bench: Bench) -> Speed:
    """Time a few images, scenes and steps: seconds of work."""
    piece = bench.renderer.pieces(bench.training_draws(8))[0]
    image = _timed(lambda: bench.renderer.render(piece)) / len(piece)
    scene, side = 0.0, bench.generator.spec.resolution
    if bench.is_toy:
        scenes = range(16)
        scene = _timed(lambda: supervised.render(scenes, side, bench.recipe.domain)) / len(scenes)
    plan = supervised.unet_plan(bench, 0, None)
    height, width = (-(-size // 8) * 8 for size in bench.size_hw)
    with torch.random.fork_rng(devices=[]):
        net = UNet(plan.width, plan.depth).to(bench.generator.w_avg.device)
        batch = torch.zeros(plan.batch, 3, height, width, device=bench.generator.w_avg.device)
        step = _timed(lambda: net(batch).mean().backward())
    return Speed(image, scene, step)


def _timed(work: Callable[[], object]) -> float:
    work()  # the first call also pays for kernels that are chosen once
    started = time.monotonic()
    work()
    return time.monotonic() - started


def seconds(bench: Bench, chosen: Mapping[str, Method], speed: Speed, steps: int | None) -> float:
    """Estimate a benchmark from an empty folder.

    Args:
        bench: the domain.
        chosen: methods by name.
        speed: of this machine.
        steps: of every training; None: each method's own.
    """
    config, unets = bench.config, supervised.UNETS
    scored = config.num_images * len(config.psis)
    total = scored * speed.image
    if bench.is_toy and config.truth is None:
        renders = bench.sized(unets.scenes) + bench.sized(unets.eval_scenes)
        own = bench.sized(unets.steps)
        if config.trial and steps:
            own = min(own, supervised.TRUTH_STEPS * steps)
        total += renders * speed.scene + own * speed.unet_step
    for name, method in chosen.items():
        once = _training_seconds(bench, name, speed, steps) + scored * speed.image
        total += once * (len(config.training_seeds) if method.seeded else 1)
    return total


def _training_seconds(bench: Bench, name: str, speed: Speed, steps: int | None) -> float:
    unets, part = supervised.UNETS, bench.recipe.alpha.training
    if name in CHANGES:
        if bench.config.trial:
            part = part.model_copy(update={"self_training": trial_rounds(part)})
        renders = FIXED_RENDERS + training_renders(part, steps)
        grounds = bench.sized(EMPTY_GROUNDS) if name == UNRELATED else 0
        return renders * speed.image + grounds * speed.scene
    if name == "taught":  # each image is generated, and masked by the truth's U-Net
        return (steps or supervised.TAUGHT.steps) * supervised.TAUGHT.batch * 2 * speed.image
    if name == "editing-in-style":
        return 2 * bench.sized(editing_in_style.FITTED_SAMPLES) * speed.image
    if name == "redo":
        own = (steps or table.REDO.steps) * REDO_UNETS * speed.unet_step
        return bench.sized(table.REDO_IMAGES) * speed.image + own
    if name == "segmenter":
        own = (steps or unets.steps) * speed.unet_step
        return bench.sized(unets.samples) * speed.image + own
    if name == "supervised":
        own = (steps or unets.steps) * speed.unet_step
        return bench.sized(unets.scenes) * speed.scene + own
    return 0.0


def trial_steps(bench: Bench, chosen: Mapping[str, Method], speed: Speed) -> int:
    """Return how many steps every training of a trial has; kept in its folder for a resumed one.

    Raises:
        InputRefused: the kept number cannot be read.
    """
    file = bench.config.out / FILE
    if file.exists():
        try:
            steps = json.loads(file.read_text())["steps"]
            if type(steps) is int and steps > 0:
                return steps
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise InputRefused(str(file), "does not say a number of steps", "name another --out")
    lower, upper = (seconds(bench, chosen, speed, steps) for steps in (MIN_STEPS, MAX_STEPS))
    room = (PLANNED * TRIAL_SECONDS - lower) / max(upper - lower, 1e-9)
    steps = round(float(np.clip(room, 0, 1)) * (MAX_STEPS - MIN_STEPS)) + MIN_STEPS
    write_atomically(file, json.dumps({"steps": steps}).encode())
    return steps


def estimate_text(
    bench: Bench, chosen: Mapping[str, Method], speed: Speed, steps: int | None
) -> str:
    """Say what will be done and how long it takes on this machine."""
    config = bench.config
    psis = ", ".join(f"{psi:g}" for psi in config.psis)
    trained = sum(len(config.training_seeds) for method in chosen.values() if method.seeded)
    length = "" if steps is None else f" of {steps} steps"
    spent = duration_text(seconds(bench, chosen, speed, steps))
    words = (
        f"{len(chosen)} methods, {trained} trainings{length}, {config.num_images:,} images at psi "
        f"{psis}: about {spent} on this machine, less what is there already"
    )
    if config.trial:
        limit = duration_text(TRIAL_SECONDS)
        return f"trial: {words}; after {limit} what is missing is left out"
    return f"{words} (--trial shows in {duration_text(TRIAL_SECONDS)} that everything runs)"


def trial_text(bench: Bench, left_out: list[str]) -> str:
    """Say above the tables of a trial what their numbers are worth."""
    config = bench.config
    words = (
        f"TRIAL: {config.num_images} images, trainings of {config.steps} steps on a twentieth of "
        "the data.\nIt shows that everything runs; its numbers say nothing of the methods."
    )
    if left_out:
        words += f"\nLeft out, the time was over: {', '.join(left_out)}; run it again to go on."
    return words
