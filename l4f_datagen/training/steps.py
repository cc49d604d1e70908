"""One step of discriminator and alpha network.

The joint batch is processed in shares (``accumulate`` of them on each rank); gradients add up to
those of the whole. Shares keep together what the discriminator groups for its minibatch standard
deviation, so that a joint batch gives the same numbers however it is divided.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import AlphaPart, TrainingPart
from l4f_datagen.training import losses
from l4f_datagen.training.balance import (
    UNCHANGED,
    LossBalance,
    RestartScales,
    learning_rate_share,
    next_balance,
    r1_gamma,
    weights_at,
)
from l4f_datagen.training.images import ImageBatch, draw_latents, render_batch
from l4f_datagen.training.object_size import CoverageRange
from l4f_datagen.training.precision import autocast
from l4f_datagen.training.ranks import ALONE, Ranks
from l4f_datagen.training.sources import Sources
from l4f_datagen.training.state import Learner, StepFacts, TrainingState, step_stream

GROUP = 4
"""Samples in a group of the discriminator's minibatch standard deviation (StyleGAN2's choice)."""


@dataclass(frozen=True)
class StepContext:
    """What stays the same from step to step of one attempt."""

    part: AlphaPart
    generator: Generator
    sources: Sources
    coverage: CoverageRange
    scales: RestartScales = UNCHANGED
    ranks: Ranks = ALONE


@dataclass(frozen=True)
class BatchShare:
    """A part of the joint batch.

    Attributes:
        images: to composite.
        real: ``batch 3 h w``.
        bare: backgrounds of other samples, ``batch 3 h w``, for the second discriminator.
        first: whether it holds the joint batch's first sample.
    """

    images: ImageBatch
    real: Tensor
    first: bool
    bare: Tensor | None = None


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


def draw_shares(state: TrainingState, context: StepContext) -> list[BatchShare]:
    """Draw the joint batch's numbers and render this rank's shares of it."""
    part, config = context.part, context.part.training
    stream = step_stream(config.seed, state.step, state.attempt)
    draws = draw_latents(config.batch, context.generator, stream)
    real = context.sources.reals(stream, config.batch)
    if config.mirror:
        mirrored = torch.from_numpy(stream.rand(config.batch) < 0.5).to(real.device)
        real = torch.where(mirrored[:, None, None, None], real.flip(3), real)
    ranks, background = context.ranks, context.sources.background
    two_sided = config.balance == "two-sided"
    other = draw_latents(config.batch, context.generator, stream) if two_sided else None
    every = shares_of(config.batch, config.accumulate * ranks.count)
    shares = []
    for picked in every[ranks.own :: ranks.count]:
        images = render_batch(part, context.generator, background, draws, picked)
        bare = None
        if other is not None:
            with torch.no_grad():
                w = context.generator.mapping(other.z[picked])
            bare = background(w, [other.bg_seeds[k] for k in picked])
        shares.append(BatchShare(images, real[picked].to(images.fg_image), 0 in picked, bare))
    return shares


def train_step(state: TrainingState, context: StepContext) -> StepFacts:
    """Do one step of discriminator and alpha network, and update the average."""
    config = context.part.training
    shares = draw_shares(state, context)
    reals = [share.real for share in shares]
    alphas = [mattes(state, config, share) for share in shares]
    fakes = [
        losses.composite(share.images.fg_image, share.images.bg_image, alpha)
        for share, alpha in zip(shares, alphas, strict=True)
    ]
    firsts = [share.first for share in shares]
    d_loss = discriminator_step(state, config, reals, fakes, firsts, context.ranks)
    rest_d_loss = rest_step(state, config, shares, alphas, context.ranks)
    realism, binarization, coverage, rest_realism = alpha_step(state, context, shares)
    state.step += 1
    keep = average_keep(config, state.step)
    with torch.no_grad():
        pairs = zip(state.average.parameters(), state.alpha.parameters(), strict=True)
        for average, live in pairs:
            average.lerp_(live, 1 - keep)
    facts = StepFacts(
        state.step, d_loss, realism, binarization, coverage, state.attempt, rest_d_loss,
        rest_realism,
    )  # fmt: skip
    state.note(facts)
    return facts


def average_keep(config: TrainingPart, step: int) -> float:
    """Share of itself that the average keeps: half is gone in ``ema_steps``, sooner at first."""
    if not config.ema_steps:
        return 0.0
    # A young average would otherwise consist of the random start.
    return float(min(0.5 ** (1 / config.ema_steps), step / (step + 9)))


def alpha_step(
    state: TrainingState, context: StepContext, shares: list[BatchShare]
) -> tuple[float, float, float, float]:
    """Step the alpha network; return realism loss, binarisation, mean alpha and the rest's realism.

    Unless ``balance`` is fixed, the first step only measures the discriminators' gradients.
    """
    config, ranks, scaler = context.part.training, context.ranks, state.alpha_scaler
    measured_pull = config.balance != "fixed"
    measuring = measured_pull and state.balance is None
    balance = state.balance or LossBalance(1.0, 1.0)
    weights = weights_at(config, context.coverage, state.step, balance, context.scales)
    portion = 1 / (config.accumulate * ranks.count)
    state.discriminator.requires_grad_(False)
    state.alpha_optim.zero_grad()
    sums = torch.zeros(5, dtype=torch.float64)
    for share in shares:
        with autocast(config.precision, share.real.device):
            alpha = state.alpha(share.images.features)
        fake = losses.composite(share.images.fg_image, share.images.bg_image, alpha)
        with autocast(config.precision, share.real.device):
            logits = state.discriminator(fake)
        realism = losses.realism_loss(logits)
        (slope,) = torch.autograd.grad(scaler.scale(realism), alpha)
        slope = slope / scaler.get_scale()
        matte = alpha.detach()
        rest_realism, rest_slope = rest_gradient(state, config, share, matte)
        scaler.scale(portion * weights.loss(slope, alpha, rest_slope)).backward()
        pull = slope.abs().sum() + (0 if rest_slope is None else rest_slope.abs().sum())
        measured = losses.binarization_loss(matte), matte.mean(), pull, rest_realism
        values = [realism.detach(), *measured]
        sums += portion * torch.tensor([float(value) for value in values], dtype=torch.float64)
    ranks.add_up(sums)
    ranks.add_up_gradients(state.alpha)
    scaler.unscale_(state.alpha_optim)
    if not measuring:
        factor = learning_rate_share(config, state.step) * context.scales.learning_rate
        set_rate(state.alpha_optim, factor)
        scaler.step(state.alpha_optim)
    scaler.update()
    coverage, grad_norm = float(sums[2]), float(sums[3])
    # A scaled gradient may exceed the range of float16.
    if measured_pull and math.isfinite(grad_norm):
        state.balance = next_balance(state.balance, grad_norm, coverage)
    return float(sums[0]), float(sums[1]), float(sums[2]), float(sums[4])


def rest_gradient(
    state: TrainingState, config: TrainingPart, share: BatchShare, matte: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Return the second discriminator's realism loss and its gradient by alpha, ``batch 1 h w``."""
    if state.rest is None:
        return torch.zeros(()), None
    network, scaler = state.rest.network.requires_grad_(False), state.alpha_scaler
    alpha = matte.detach().requires_grad_(True)
    rest = losses.rest_image(share.images.fg_image, share.images.own_bg_image, alpha)
    with autocast(config.precision, share.real.device):
        logits = network(rest)
    realism = losses.realism_loss(logits)
    (slope,) = torch.autograd.grad(scaler.scale(realism), alpha)
    return realism.detach(), slope / scaler.get_scale()


def rest_step(
    state: TrainingState,
    config: TrainingPart,
    shares: list[BatchShare],
    alphas: list[Tensor],
    ranks: Ranks,
) -> float:
    """Step the second discriminator: bare backgrounds against images without their object."""
    if state.rest is None:
        return 0.0
    bare, rests = [], []
    for share, alpha in zip(shares, alphas, strict=True):
        assert share.bare is not None
        bare.append(losses.seen_as_ground(share.bare))
        rests.append(losses.rest_image(share.images.fg_image, share.images.own_bg_image, alpha))
    return discriminator_step(
        state, config, bare, rests, [False] * len(shares), ranks, learner=state.rest
    )


def set_rate(optim: torch.optim.Optimizer, factor: float) -> None:
    """Set the learning rate to ``factor`` times the one it was built with."""
    for group in optim.param_groups:
        group["lr"] = factor * group.setdefault("full_lr", group["lr"])


def discriminator_step(
    state: TrainingState,
    config: TrainingPart,
    reals: list[Float[Tensor, "batch 3 h w"]],
    fakes: list[Float[Tensor, "batch 3 h w"]],
    firsts: list[bool],
    ranks: Ranks = ALONE,
    *,
    learner: Learner | None = None,
) -> float:
    """Do a logistic step, and every ``d_reg_interval`` steps a separate R1 step in float32.

    Args:
        state: whose discriminator learns.
        config: the recipe's training part.
        reals: one tensor for each share of this rank.
        fakes: composites, likewise.
        firsts: whether a share holds the joint batch's first sample.
        ranks: the processes that train.
        learner: the discriminator; None: that of composites.

    Returns:
        The logistic loss of the joint batch.
    """
    learner = learner or state.main
    discriminator, optim = learner.network.requires_grad_(True), learner.optim
    scaler = learner.scaler
    portion = 1 / (len(reals) * ranks.count)
    optim.zero_grad()
    total = torch.zeros(1, dtype=torch.float64)
    for real, fake in zip(reals, fakes, strict=True):
        with autocast(config.precision, real.device):
            logits = discriminator(real), discriminator(fake)
        loss = losses.discriminator_loss(*logits)
        scaler.scale(portion * loss).backward()
        total += portion * float(loss.detach())
    ranks.add_up(total)
    ranks.add_up_gradients(discriminator)
    scaler.step(optim)
    scaler.update()
    if state.step % config.d_reg_interval == 0:
        optim.zero_grad()
        gamma = r1_gamma(config, state.discriminator.resolution)
        lazy_weight = gamma / 2 * config.d_reg_interval
        for share, first in zip(reals, firsts, strict=True):
            real = share.detach().requires_grad_(True)
            logits = discriminator(real)
            penalty = portion * lazy_weight * losses.r1_penalty(logits, real)
            penalty = penalty + config.real_score_weight * logits[0] * first
            penalty.backward()
        ranks.add_up_gradients(discriminator)
        optim.step()
    return float(total)


@torch.no_grad()
def mattes(
    state: TrainingState, config: TrainingPart, share: BatchShare
) -> Float[Tensor, "batch 1 h w"]:
    """Return a share's mattes by the alpha network as it stands."""
    # Without a gradient, apart from the passes with one: autocast keeps the weights it casts.
    with autocast(config.precision, share.real.device):
        alpha: Tensor = state.alpha(share.images.features)
    return alpha
