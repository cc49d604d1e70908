"""The table of all methods: which can run here, how long they take, and a short trial."""

import difflib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from l4f_datagen.benchmark import alphas, baselines, supervised
from l4f_datagen.benchmark.bench import Bench, BenchmarkConfig, Method
from l4f_datagen.benchmark.tables import on_psi
from l4f_datagen.core.errors import InputRefused, UsageError
from l4f_datagen.core.progress import duration_text
from l4f_datagen.io.disk import write_atomically
from l4f_datagen.models.unet import UNet
from l4f_datagen.pipeline.estimate import training_renders

logger = logging.getLogger(__name__)

METHODS: dict[str, Method] = alphas.ALPHAS | baselines.BASELINES | supervised.SUPERVISED


def check_config(config: BenchmarkConfig) -> None:
    """Refuse what needs no network to be refused: unknown names, and those of two things."""
    names = list(config.methods or ())
    for name in names:
        if name not in METHODS:
            near = difflib.get_close_matches(name, METHODS, n=1, cutoff=0.4)
            remedy = f"did you mean {near[0]}?" if near else f"choose from {', '.join(METHODS)}"
            raise UsageError(f"--methods {name}", "no such method", remedy)
        if names.count(name) > 1:
            raise UsageError(f"--methods {name}", "is given twice", "give it once")
    for name in config.external:
        if name in METHODS or name == supervised.TRUTH:
            raise UsageError(f"--pred {name}", "is the name of a method", "choose another name")
    if len(set(map(on_psi, config.psis))) < len(config.psis):
        named = ", ".join(f"{psi:g}" for psi in config.psis)
        remedy = "keep psi at least 0.001 apart"
        raise UsageError(f"--psi {named}", "two of them agree to three decimals", remedy)


def choose_methods(bench: Bench, names: Sequence[str] | None) -> dict[str, Method]:
    """Return the named methods, which must run here, or all that do; those left out are logged."""
    chosen = {}
    for name in METHODS if names is None else names:
        method = METHODS[name]
        lacking = method.lacking(bench)
        if lacking and names is not None:
            raise UsageError(f"--methods {name}", lacking, "or leave it out")
        if names is None and (same_as := method.same_as(bench)):
            lacking = lacking or f"is what {same_as} does in this recipe"
        if lacking:
            logger.info(f"left out: {name} {lacking}")
        else:
            chosen[name] = method
    return chosen


TRIAL_SECONDS = 300.0
PLANNED = 0.7  # share of it that is planned for: other processes may take part of the machine
LAST_START = 0.85  # share of it after which no method begins
MIN_STEPS, MAX_STEPS = 2, 50
FIXED_RENDERS = 260
"""Of an alpha training besides its steps: 128 for the object's size (``object_size.IMAGES`` and
their muted twins), 96 for the choice of a snapshot, 32 for the verdict."""
REDO_UNETS = 1.5  # steps of a U-Net that one of ReDO takes, measured at 64 px on two cores
FILE = "trial.json"


@dataclass(frozen=True)
class Speed:
    """Seconds on this machine."""

    image: float  # to generate one image
    scene: float  # to render one scene of a toy domain; 0 for others
    unet_step: float  # of a U-Net's training


def measure_speed(bench: Bench) -> Speed:
    """Time a few images, scenes and steps: seconds of work."""
    domain, device = bench.recipe.domain, bench.device
    piece = bench.renderer.pieces(bench.training_draws(8))[0]
    image, scene = _timed(lambda: bench.renderer.render(piece)) / len(piece), 0.0
    if bench.is_toy:
        scene = _timed(lambda: supervised.render(range(16), bench.side, domain)) / 16
    plan = supervised.unet_plan(bench, 0, None)
    height, width = (-(-size // 8) * 8 for size in bench.size_hw)
    with torch.random.fork_rng(devices=[]):
        net = UNet(plan.width, plan.depth).to(device)
        batch = torch.zeros(plan.batch, 3, height, width, device=device)
        step = _timed(lambda: net(batch).mean().backward())
    return Speed(image, scene, step)


def _timed(work: Callable[[], object]) -> float:
    work()  # the first call also pays for kernels that are chosen once
    started = time.monotonic()
    work()
    return time.monotonic() - started


def seconds(bench: Bench, chosen: Mapping[str, Method], speed: Speed, steps: int | None) -> float:
    """Estimate a benchmark from an empty folder; ``steps`` None: each method's own."""
    config, unets, sized = bench.config, supervised.UNETS, bench.sized
    scored = config.num_images * len(config.psis)
    alpha = FIXED_RENDERS + training_renders(alphas.trial_part(bench).training, steps)
    taught = (steps or supervised.TAUGHT.steps) * supervised.TAUGHT.batch
    redo = (steps or baselines.REDO.steps) * REDO_UNETS
    costs: dict[str, tuple[float, float, float]] = {  # images, scenes, steps of a U-Net
        **dict.fromkeys(alphas.CHANGES, (alpha, 0, 0)),
        alphas.UNRELATED: (alpha, sized(alphas.EMPTY_GROUNDS), 0),
        "taught": (2 * taught, 0, 0),  # each is generated, and masked by the truth's U-Net
        "editing-in-style": (2 * sized(baselines.FITTED_SAMPLES), 0, 0),
        "redo": (sized(baselines.REDO_IMAGES), 0, redo),
        "segmenter": (sized(unets.samples), 0, steps or unets.steps),
        "supervised": (0, sized(unets.scenes), steps or unets.steps),
    }
    total = scored * speed.image
    if bench.is_toy and config.truth is None:
        renders = sized(unets.scenes) + sized(unets.eval_scenes)
        own = sized(unets.steps)
        if config.trial and steps:
            own = min(own, supervised.TRUTH_STEPS * steps)
        total += renders * speed.scene + own * speed.unet_step
    for name, method in chosen.items():
        images, scenes, unet_steps = costs.get(name, (0, 0, 0))
        once = (images + scored) * speed.image + scenes * speed.scene + unet_steps * speed.unet_step
        total += once * (len(config.training_seeds) if method.seeded else 1)
    return total


def trial_steps(bench: Bench, chosen: Mapping[str, Method], speed: Speed) -> int:
    """Return how many steps every training of a trial has; kept in its folder for a resumed one."""
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
    psis, limit = ", ".join(f"{psi:g}" for psi in config.psis), duration_text(TRIAL_SECONDS)
    trained = sum(len(config.training_seeds) for method in chosen.values() if method.seeded)
    length = "" if steps is None else f" of {steps} steps"
    spent = duration_text(seconds(bench, chosen, speed, steps))
    words = (
        f"{len(chosen)} methods, {trained} trainings{length}, {config.num_images:,} images at psi "
        f"{psis}: about {spent} on this machine, less what is there already"
    )
    if config.trial:
        return f"trial: {words}; after {limit} what is missing is left out"
    return f"{words} (--trial shows in {limit} that everything runs)"


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
