"""A pretraining run as a folder: it resumes, shows what it has, and stops by itself."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from l4f_datagen.checkpoints.native import save_discriminator, save_generator
from l4f_datagen.checkpoints.open import DISCRIMINATOR, GENERATOR
from l4f_datagen.core.errors import InputRefused, L4FError, UsageError
from l4f_datagen.io.disk import PART
from l4f_datagen.io.photographs import check_photographs
from l4f_datagen.io.stores import open_store
from l4f_datagen.io.training_folder import claim_folder, hold_folder
from l4f_datagen.pretraining.distance import Gauge
from l4f_datagen.pretraining.plan import PretrainPlan
from l4f_datagen.pretraining.sheets import write_nearest, write_sheet
from l4f_datagen.pretraining.state import PretrainState, Start, new_state
from l4f_datagen.pretraining.step import train_step
from l4f_datagen.toys.scene import TOYS, render_scenes
from l4f_datagen.training.hardware import ALONE, Ranks

logger = logging.getLogger(__name__)

STATE, LOG, NEAREST, IMAGES = "state.pt", "progress.jsonl", "nearest.png", "images.npy"
ORIGIN = "l4f-datagen pretrain"
FEWEST = 16
"""Below one batch of the default there is nothing to learn a distribution from."""
FEW = 500
"""Below it a generator copies its images unless augmentation holds (Karras et al. 2020, fig. 1
starts at 1,000); the check for copies at the end says whether it did."""
SCENES = 30_000
"""Renders of a toy domain, each also mirrored: at 130 kimg none has been shown five times."""
STATE_SECONDS = 300  # a stop costs at most so much of the training
TELL_SECONDS = 30
COMPARED = 5_000
"""Photographs among which copies are looked for, at most: their distances fill a square."""
DECAYED_SLACK = 1.25
"""What the falling learning rate gains shows in images before it shows in the distance, whose value
for one generator varies by a tenth with the samples: while it falls the latest generator is kept,
unless it is worse than the best by more than this factor."""
COPY_SHARE = 0.1
"""Share of samples that may lie that near to a photograph; 0.01 is expected of photographs."""


def gather_images(
    source: str, side: int, cache: Path, *, offline: bool = False
) -> NDArray[np.uint8]:
    """Read or render every image once, as squares ``n side side 3`` kept in the file ``cache``.

    ``source`` is a toy domain, or photographs, which are cut to their middle square: a folder, zip
    file, LMDB, or the name of a Hugging Face dataset. InputRefused for no such store, too few or
    too small photographs, or one that cannot be read; NetworkError.
    """
    if not cache.exists():
        images: Iterable[NDArray[np.uint8]]
        if source in TOYS:
            count = SCENES
            images = (scene.image for scene in render_scenes(range(count), side, 1, source))
        else:
            photos = check_photographs(open_store(source, side=side, offline=offline), side)
            count, images = len(photos), map(photos.read, range(len(photos)))
            if count < FEWEST:
                problem = f"holds {count} photographs, a generator needs at least {FEWEST}"
                raise InputRefused(source, problem, f"gather more; from {FEW} on they are useful")
            if count < FEW:
                only = f"{source} holds only {count} photographs"
                logger.warning(f"{only}: look for copies in {NEAREST}")
        part = cache.with_name(cache.name + PART)
        written = open_memmap(part, "w+", np.uint8, (count, side, side, 3))
        for number, image in enumerate(images):
            written[number] = image
        written.flush()
        del written
        part.replace(cache)
    pixels: NDArray[np.uint8] = np.load(cache, mmap_mode="r")
    return pixels


def pretrain(
    plan: PretrainPlan,
    gather: Callable[[Path], NDArray[np.uint8]],
    out: Path,
    *,
    start: Start | None = None,
    device: torch.device | None = None,
    ranks: Ranks = ALONE,
) -> Path:
    """Train into ``out``, or resume what stopped there; return the generator's file.

    ``gather`` returns the training images, kept in the file it is given. Ends after ``plan.kimg``,
    or ``plan.decay_kimg`` after the distance has stopped falling. A second process with the same
    folder waits for the first. UsageError: the folder holds another run, or the start has another
    shape; L4FError where a loss is not a number; OSError where the disk is full.
    """
    state = new_state(plan, start, device)
    if ranks.leads:
        claim_folder(out, plan.identity, other="holds a pretraining of other images or settings")
    ranks.wait()
    with hold_folder(out, leads=ranks.leads, agree=ranks.any):
        if ranks.leads:
            _check_space(out, state)
            gather(out / IMAGES)  # the others find them there
        ranks.wait()
        pixels = gather(out / IMAGES)
        if (out / STATE).exists():
            state.load(out / STATE)
            logger.info(f"resuming at {state.step * plan.batch / 1000:.1f} kimg")
        gauge = Gauge(pixels, plan.distance_samples, plan.seed) if ranks.leads else None
        _train(state, plan, pixels, gauge, out, ranks)
        if gauge is not None:
            share = write_nearest(state.g_ema, pixels[:COMPARED], gauge.features, out / NEAREST)
            if share > COPY_SHARE:
                logger.warning(
                    f"{100 * share:.0f} % of the samples are near copies of photographs (see "
                    f"{out / NEAREST}): gather more of them, or train for a shorter time"
                )
        ranks.wait()
    return out / GENERATOR


def _check_space(out: Path, state: PretrainState) -> None:
    """Refuse a disk that cannot hold what the run writes: two states and the weights."""
    networks = (state.generator, state.discriminator)
    weights = sum(v.numel() * 4 for net in networks for v in net.state_dict().values())
    needed = 8 * weights  # a state holds each network with two moments; a new one is staged
    free = shutil.disk_usage(out).free
    if free < needed:
        problem = f"has {free / 1e6:.0f} MB free, the run needs {needed / 1e6:.0f} MB"
        raise UsageError(str(out), problem, "free some space or name another --out")


def _train(
    state: PretrainState,
    plan: PretrainPlan,
    pixels: NDArray[np.uint8],
    gauge: Gauge | None,
    out: Path,
    ranks: Ranks,
) -> None:
    """Train to the end; the process with the ``gauge`` tells, measures and saves."""
    every = max(1, plan.steps(plan.snapshot_kimg))
    started = told = saved = time.monotonic()
    first = state.step
    while state.step < state.end(plan):
        if not np.isfinite(train_step(state, pixels, plan, ranks)).all():
            remedy = "take --precision fp32, or a smaller --learning-rate"
            raise L4FError("pretraining", f"a loss is not a number at step {state.step}", remedy)
        end = state.end(plan)
        at_snapshot = state.step % every == 0 or state.step >= end
        now = time.monotonic()
        if gauge and (now - told > TELL_SECONDS or state.step >= end):
            told = now
            rate = (state.step - first) * plan.batch / (now - started)
            left = (end - state.step) * plan.batch / rate / 60
            shown, planned = (step * plan.batch / 1000 for step in (state.step, end))
            logger.info(
                f"{shown:.3g} of {planned:.3g} kimg, {rate:.1f} images/s, at most {left:.0f} "
                f"minutes left, augmentation {state.ada.p:.2f}"
            )
        if gauge and (at_snapshot or now - saved > STATE_SECONDS):
            state.seconds += now - saved
            if at_snapshot:
                _snapshot(state, plan, gauge, out)
            state.save(out / STATE)
            saved = time.monotonic()
        if ranks.count > 1 and at_snapshot:
            # Every process learns when the first one's distance has stopped falling.
            stall = torch.tensor([state.stalled_at or 0 if gauge else 0], dtype=torch.float64)
            ranks.add_up(stall)
            state.stalled_at = int(stall) or None


def _snapshot(state: PretrainState, plan: PretrainPlan, gauge: Gauge, out: Path) -> None:
    """Measure, show and, where it is the best so far, keep what the run has."""
    shown = state.step * plan.batch / 1000
    state.update_w_avg()
    distance = round(gauge.measure(state.g_ema), 4)
    minutes, p = round(state.seconds / 60, 1), round(state.ada.p, 3)
    found = {"kimg": shown, "minutes": minutes, "p": p, "frechet": distance}
    with (out / LOG).open("a") as log:
        log.write(json.dumps(found) + "\n")
    sheet = out / f"sheet-{round(shown * 10):06d}.png"
    write_sheet(state.g_ema, sheet, f"{1000 * shown:,.0f} images")
    logger.info(f"{shown:.1f} kimg: distance {distance:.4f}")
    slack = DECAYED_SLACK if state.step >= state.decay_from(plan) else 1.0
    if distance < slack * state.best:
        training = asdict(plan) | {"planned_kimg": plan.kimg} | found
        facts: dict[str, Any] = {"origin": ORIGIN, "training": training}
        save_generator(out / GENERATOR, state.g_ema.spec, state.g_ema.state_dict(), **facts)
        save_discriminator(out / DISCRIMINATOR, state.discriminator, **facts)
    if distance < state.best:
        state.best, state.stale = distance, 0
    else:
        state.stale += 1
        if 0 < plan.patience <= state.stale and state.stalled_at is None:
            state.stalled_at = state.step
            logger.info("the distance no longer falls: the learning rate begins to")
