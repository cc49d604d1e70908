"""One step of discriminator and alpha network.

The joint batch is walked through in shares (``accumulate`` of them on each rank); gradients add
up to those of the whole. Shares keep together what the discriminator groups for its minibatch
standard deviation, so that a joint batch gives the same numbers however it is shared out.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import AlphaPart, TrainingPart
from l4f_datagen.training import losses
from l4f_datagen.training.backgrounds import Background
from l4f_datagen.training.balance import (
    UNCHANGED,
    Forces,
    Knobs,
    learning_rate_share,
    next_forces,
    weights_at,
)
from l4f_datagen.training.images import Pictures, draw_latents, render_pictures
from l4f_datagen.training.object_size import Bracket
from l4f_datagen.training.precision import lowered
from l4f_datagen.training.ranks import ALONE, Ranks
from l4f_datagen.training.reals import Reals
from l4f_datagen.training.state import StepFacts, Training

GROUP = 4
"""Samples in a group of the discriminator's minibatch standard deviation."""


@dataclass(frozen=True)
class Setting:
    """What stays the same from step to step of one attempt."""

    part: AlphaPart
    generator: Generator
    reals: Reals
    background: Background
    bracket: Bracket
    knobs: Knobs = UNCHANGED
    ranks: Ranks = ALONE


@dataclass(frozen=True)
class Share:
    """A part of the joint batch: its composites' ingredients and its reals."""

    pictures: Pictures
    real: Tensor
    first: bool


def step_stream(seed: int, step: int, attempt: int = 1) -> np.random.RandomState:
    """The one stream of a step: any change of seed, step or attempt gives an unrelated one."""
    words = [seed, step] if attempt == 1 else [seed, step, attempt]
    return np.random.RandomState(np.array(words, dtype=np.uint32))


def shares_of(batch: int, count: int) -> list[list[int]]:
    """Cut ``range(batch)`` in ``count`` shares that keep the discriminator's groups together.

    It groups sample i with i + n, i + 2n, i + 3n, where n = batch / 4.

    >>> shares_of(8, 2)
    [[0, 2, 4, 6], [1, 3, 5, 7]]
    """
    columns = batch // GROUP if batch % GROUP == 0 and (batch // GROUP) % count == 0 else batch
    wide = columns // count
    return [
        [k for k in range(batch) if share * wide <= k % columns < (share + 1) * wide]
        for share in range(count)
    ]


def draw_shares(training: Training, setting: Setting) -> list[Share]:
    """Draw the joint batch's numbers and render this rank's shares of it."""
    part, config = setting.part, setting.part.training
    stream = step_stream(config.seed, training.step, training.attempt)
    draws = draw_latents(config.batch, setting.generator, stream)
    real = setting.reals(stream, config.batch)
    if config.mirror:
        mirrored = torch.from_numpy(stream.rand(config.batch) < 0.5).to(real.device)
        real = torch.where(mirrored[:, None, None, None], real.flip(3), real)
    ranks = setting.ranks
    every = shares_of(config.batch, config.accumulate * ranks.count)
    shares = []
    for picked in every[ranks.own :: ranks.count]:
        pictures = render_pictures(part, setting.generator, setting.background, draws, picked)
        shares.append(Share(pictures, real[picked].to(pictures.fg_image), 0 in picked))
    return shares


def train_step(training: Training, setting: Setting) -> StepFacts:
    """One step of discriminator and alpha network; moves the average on."""
    config = setting.part.training
    shares = draw_shares(training, setting)
    fakes = []
    for share in shares:
        with torch.no_grad():
            with lowered(config.precision, share.real.device):
                alpha = training.alpha(share.pictures.features)
            images = share.pictures.fg_image, share.pictures.bg_image
            fakes.append(losses.composite(*images, alpha))
    reals = [share.real for share in shares]
    firsts = [share.first for share in shares]
    d_loss = discriminator_step(training, config, reals, fakes, firsts, setting.ranks)
    realism, binarization, coverage = alpha_step(training, setting, shares)
    training.step += 1
    keep = average_keep(config, training.step)
    with torch.no_grad():
        pairs = zip(training.average.parameters(), training.alpha.parameters(), strict=True)
        for average, live in pairs:
            average.lerp_(live, 1 - keep)
    facts = StepFacts(training.step, d_loss, realism, binarization, coverage, training.attempt)
    training.note(facts)
    return facts


def average_keep(config: TrainingPart, step: int) -> float:
    """Share of itself that the average keeps: half is gone in ``ema_steps``, sooner at first."""
    if not config.ema_steps:
        return 0.0
    # A young average would otherwise consist of the random start.
    return float(min(0.5 ** (1 / config.ema_steps), step / (step + 9)))


def alpha_step(
    training: Training, setting: Setting, shares: list[Share]
) -> tuple[float, float, float]:
    """Step the alpha network; return realism loss, binarisation and mean alpha of the joint batch.

    With ``balance: auto`` the first step only measures the discriminator's pull.
    """
    config, ranks, scaler = setting.part.training, setting.ranks, training.alpha_scaler
    auto = config.balance == "auto"
    measuring = auto and training.forces is None
    forces = training.forces or Forces(1.0, 1.0)
    weights = weights_at(config, setting.bracket, training.step, forces, setting.knobs)
    portion = 1 / (config.accumulate * ranks.count)
    training.discriminator.requires_grad_(False)
    training.alpha_optim.zero_grad()
    sums = torch.zeros(4, dtype=torch.float64)
    for share in shares:
        with lowered(config.precision, share.real.device):
            alpha = training.alpha(share.pictures.features)
        fake = losses.composite(share.pictures.fg_image, share.pictures.bg_image, alpha)
        with lowered(config.precision, share.real.device):
            logits = training.discriminator(fake)
        realism = losses.realism_loss(logits)
        (slope,) = torch.autograd.grad(scaler.scale(realism), alpha)
        slope = slope / scaler.get_scale()
        scaler.scale(portion * weights.loss(slope, alpha)).backward()
        matte = alpha.detach()
        measured = losses.binarization_loss(matte), matte.mean(), slope.abs().sum()
        values = [realism.detach(), *measured]
        sums += portion * torch.tensor([float(value) for value in values], dtype=torch.float64)
    ranks.add_up(sums)
    ranks.add_up_gradients(training.alpha)
    scaler.unscale_(training.alpha_optim)
    if not measuring:
        factor = learning_rate_share(config, training.step) * setting.knobs.learning_rate
        set_rate(training.alpha_optim, factor)
        scaler.step(training.alpha_optim)
    scaler.update()
    coverage, pull = float(sums[2]), float(sums[3])
    if auto and math.isfinite(pull):  # not where a scaled slope passed float16
        training.forces = next_forces(training.forces, pull, coverage)
    return float(sums[0]), float(sums[1]), float(sums[2])


def set_rate(optim: torch.optim.Optimizer, factor: float) -> None:
    """Set the learning rate to ``factor`` times the one it was built with."""
    for group in optim.param_groups:
        group["lr"] = factor * group.setdefault("full_lr", group["lr"])


def discriminator_step(
    training: Training,
    config: TrainingPart,
    reals: list[Float[Tensor, "batch 3 h w"]],
    fakes: list[Float[Tensor, "batch 3 h w"]],
    firsts: list[bool],
    ranks: Ranks = ALONE,
) -> float:
    """Logistic step, and every ``d_reg_interval`` steps a separate R1 step in float32 on the reals.

    Args:
        training: whose discriminator learns.
        config: the recipe's training part.
        reals: one tensor a share of this rank.
        fakes: composites, likewise.
        firsts: whether a share holds the joint batch's first sample.
        ranks: who else trains.
    """
    discriminator, scaler = training.discriminator.requires_grad_(True), training.d_scaler
    portion = 1 / (len(reals) * ranks.count)
    training.d_optim.zero_grad()
    total = torch.zeros(1, dtype=torch.float64)
    for real, fake in zip(reals, fakes, strict=True):
        with lowered(config.precision, real.device):
            logits = discriminator(real), discriminator(fake)
        loss = losses.discriminator_loss(*logits)
        scaler.scale(portion * loss).backward()
        total += portion * float(loss.detach())
    ranks.add_up(total)
    ranks.add_up_gradients(discriminator)
    scaler.step(training.d_optim)
    scaler.update()
    if training.step % config.d_reg_interval == 0:
        training.d_optim.zero_grad()
        lazy_weight = config.r1_gamma / 2 * config.d_reg_interval
        for share, first in zip(reals, firsts, strict=True):
            real = share.detach().requires_grad_(True)
            logits = discriminator(real)
            penalty = portion * lazy_weight * losses.r1_penalty(logits, real)
            penalty = penalty + config.real_score_weight * logits[0] * first
            penalty.backward()
        ranks.add_up_gradients(discriminator)
        training.d_optim.step()
    return float(total)
