"""A pretraining run as a folder: it resumes, shows what it has, and stops by itself."""

import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from l4f_datagen.checkpoints.native import save_discriminator, save_generator
from l4f_datagen.checkpoints.open import DISCRIMINATOR, GENERATOR
from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.io.training_folder import claim_folder, hold_folder
from l4f_datagen.pretraining.distance import Features, frechet_distance
from l4f_datagen.pretraining.plan import PretrainPlan
from l4f_datagen.pretraining.sheets import sample_images, to_images, write_nearest, write_sheet
from l4f_datagen.pretraining.state import PretrainState, Start, new_state
from l4f_datagen.pretraining.step import train_step
from l4f_datagen.recipe.catalogue import Licence
from l4f_datagen.training.ranks import ALONE, Ranks

logger = logging.getLogger(__name__)

STATE, LOG, NEAREST, IMAGES = "state.pt", "progress.jsonl", "nearest.png", "images.npy"
STATE_SECONDS = 300
"""A stop costs at most so much of the training."""
TELL_SECONDS = 30
COMPARED = 5_000
"""Photographs among which copies are looked for, at most: their distances fill a square."""
DECAYED_SLACK = 1.25
"""What the falling learning rate gains shows in images before it shows in the distance, whose value
for one generator varies by a tenth with the samples: while it falls the latest generator is kept,
unless it is worse than the best by more than this factor."""
COPY_SHARE = 0.1
"""Share of samples that may lie that near to a photograph; 0.01 is expected of photographs."""
ORIGIN = "l4f-datagen pretrain"


class NotFinite(L4FError):
    """A loss is not a number (exit 1)."""


@dataclass(frozen=True)
class Snapshot:
    """What a snapshot found: thousand images, minutes of training, p and Fréchet distance."""

    kimg: float
    minutes: float
    p: float
    frechet: float


def pretrain(
    plan: PretrainPlan,
    gather: Callable[[Path], NDArray[np.uint8]],
    out: Path,
    *,
    start: Start | None = None,
    licence: Licence | None = None,
    device: torch.device | None = None,
    ranks: Ranks = ALONE,
) -> Path:
    """Train into ``out``, or resume what stopped there; return the generator's file.

    ``gather`` returns the training images, kept in the file it is given.

    Writes the generator of the smallest distance so far, or once the learning rate falls the
    latest, with its discriminator; a sheet at every snapshot, the log, and at the end the sheet of
    nearest photographs. Ends after ``plan.kimg``, or ``plan.decay_kimg`` after the distance has
    stopped falling. A second process with the same folder waits for the first.

    Raises:
        UsageError: the folder holds another run, or the start has another shape.
        NotFinite: a loss is not a number.
        OSError: the disk is full.
    """
    state = new_state(plan, start, device)
    if ranks.leads:
        claim_folder(out, plan.identity, other="holds a pretraining of other images or settings")
    ranks.wait()
    with hold_folder(out, leads=ranks.leads, agree=ranks.any):
        return _pretrain(state, plan, gather, out, licence, ranks)


def _pretrain(
    state: PretrainState,
    plan: PretrainPlan,
    gather: Callable[[Path], NDArray[np.uint8]],
    out: Path,
    licence: Licence | None,
    ranks: Ranks,
) -> Path:
    """Train alone in the folder."""
    if ranks.leads:
        check_space(out, state)
        gather(out / IMAGES)  # the others find them there
    ranks.wait()
    pixels = gather(out / IMAGES)
    if (out / STATE).exists():
        state.load(out / STATE)
        logger.info("resuming at %.1f kimg", state.step * plan.batch / 1000)
    gauge = Gauge(plan, pixels) if ranks.leads else None
    every = max(1, plan.steps(plan.snapshot_kimg))
    started = told = saved = time.monotonic()
    first = state.step
    while state.step < state.end(plan):
        g_loss, d_loss = train_step(state, pixels, plan, ranks)
        if not np.isfinite([g_loss, d_loss]).all():
            remedy = "take --precision fp32, or a smaller --learning-rate"
            raise NotFinite("pretraining", f"a loss is not a number at step {state.step}", remedy)
        end = state.end(plan)
        at_snapshot = state.step % every == 0 or state.step >= end
        now = time.monotonic()
        if gauge is None:
            _share_stop(state, ranks, at_snapshot)
            continue
        if now - told > TELL_SECONDS or state.step >= end:
            told = now
            rate = (state.step - first) * plan.batch / (now - started)
            left = (end - state.step) * plan.batch / rate / 60
            shown = state.step * plan.batch / 1000
            logger.info(
                "%.3g of %.3g kimg, %.1f images/s, at most %.0f minutes left, augmentation %.2f",
                shown, end * plan.batch / 1000, rate, left, state.ada.p,
            )  # fmt: skip
        if at_snapshot or now - saved > STATE_SECONDS:
            state.seconds += now - saved
            if at_snapshot:
                snapshot(state, plan, gauge, out, licence)
            state.save(out / STATE)
            saved = time.monotonic()
        _share_stop(state, ranks, at_snapshot)
    if gauge is not None:
        _close(state, plan, pixels, gauge, out)
    ranks.wait()
    return out / GENERATOR


class Gauge:
    """The distance to the photographs on fixed features."""

    def __init__(self, plan: PretrainPlan, pixels: NDArray[np.uint8]) -> None:
        self.features = Features()
        count = min(plan.distance_samples, len(pixels))
        picked = np.random.RandomState(plan.seed).permutation(len(pixels))[:count]
        self.samples = plan.distance_samples
        self.real = self.features.of(to_images(pixels[np.sort(picked)]))

    def measure(self, state: PretrainState) -> float:
        """Return the Fréchet distance of the averaged generator's samples."""
        fake = self.features.of(sample_images(state.g_ema, range(self.samples)))
        return frechet_distance(fake, self.real)


def snapshot(
    state: PretrainState, plan: PretrainPlan, gauge: Gauge, out: Path, licence: Licence | None
) -> None:
    """Measure, show and, where it is the best so far, keep what the run has."""
    shown = state.step * plan.batch / 1000
    state.update_w_avg()
    found = Snapshot(
        shown, round(state.seconds / 60, 1), round(state.ada.p, 3), round(gauge.measure(state), 4)
    )
    with (out / LOG).open("a") as log:
        log.write(json.dumps(asdict(found)) + "\n")
    write_sheet(
        state.g_ema, out / f"sheet-{round(shown * 10):06d}.png", f"{1000 * shown:,.0f} images"
    )
    logger.info("%.1f kimg: distance %.4f", shown, found.frechet)
    slack = DECAYED_SLACK if state.step >= state.decay_from(plan) else 1.0
    if found.frechet < slack * state.best:
        facts = asdict(plan) | {"planned_kimg": plan.kimg} | asdict(found)
        save_networks(state, out, facts, licence)
    if found.frechet < state.best:
        state.best, state.stale = found.frechet, 0
    else:
        state.stale += 1
        if 0 < plan.patience <= state.stale and state.stalled_at is None:
            state.stalled_at = state.step
            logger.info("the distance no longer falls: the learning rate begins to")


def save_networks(
    state: PretrainState, out: Path, facts: dict[str, Any], licence: Licence | None
) -> None:
    """Write generator and discriminator as they are now."""
    weights = state.g_ema.state_dict()
    common: dict[str, Any] = {"licence": licence, "origin": ORIGIN, "training": facts}
    save_generator(out / GENERATOR, state.g_ema.spec, weights, **common)
    save_discriminator(out / DISCRIMINATOR, state.discriminator, **common)


def check_space(out: Path, state: PretrainState) -> None:
    """Refuse a disk that cannot hold what the run writes: two states and the weights.

    Raises:
        UsageError: there is not enough free space.
    """
    weights = sum(v.numel() * 4 for v in state.generator.state_dict().values())
    weights += sum(v.numel() * 4 for v in state.discriminator.state_dict().values())
    needed = 8 * weights  # a state holds each network with two moments; a new one is staged
    free = shutil.disk_usage(out).free
    if free < needed:
        problem = f"has {free / 1e6:.0f} MB free, the run needs {needed / 1e6:.0f} MB"
        raise UsageError(str(out), problem, "free some space or name another --out")


def _share_stop(state: PretrainState, ranks: Ranks, at_snapshot: bool) -> None:
    """Let every process know when the first one's distance has stopped falling."""
    if ranks.count > 1 and at_snapshot:
        told = torch.tensor([state.stalled_at or 0 if ranks.leads else 0], dtype=torch.float64)
        ranks.add_up(told)
        state.stalled_at = int(told) or None


def _close(
    state: PretrainState, plan: PretrainPlan, pixels: NDArray[np.uint8], gauge: Gauge, out: Path
) -> None:
    share = write_nearest(state.g_ema, pixels[:COMPARED], gauge.features, out / NEAREST)
    if share > COPY_SHARE:
        logger.warning(
            "%.0f %% of the samples are near copies of photographs (see %s): gather more of them, "
            "or train for a shorter time", 100 * share, out / NEAREST,
        )  # fmt: skip
