"""One step of discriminator and alpha network.

The joint batch is processed in shares (``accumulate`` of them on each rank); gradients add up to
those of the whole. Shares keep together what the discriminator groups for its minibatch standard
deviation, so that a joint batch gives the same numbers however it is divided.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import AlphaPart, TrainingPart
from l4f_datagen.training import losses
from l4f_datagen.training.hardware import ALONE, Ranks, autocast
from l4f_datagen.training.losses import UNCHANGED, LossBalance, RestartScales
from l4f_datagen.training.object_size import CoverageRange
from l4f_datagen.training.sources import ImageBatch, Sources, draw_latents, render_batch
from l4f_datagen.training.state import RECENT_STEPS, Learner, StepFacts, TrainingState, step_stream

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
    """A part of the joint batch."""

    images: ImageBatch
    real: Tensor  # ``batch 3 h w``
    first: bool  # whether it holds the joint batch's first sample
    bare: Tensor | None  # backgrounds of other samples, where a second discriminator sees them


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
    part, config, generator = context.part, context.part.training, context.generator
    stream = step_stream(config.seed, state.step, state.attempt)
    draws = draw_latents(config.batch, generator, stream)
    real = context.sources.reals(stream, config.batch)
    if config.mirror:
        mirrored = torch.from_numpy(stream.rand(config.batch) < 0.5).to(real.device)
        real = torch.where(mirrored[:, None, None, None], real.flip(3), real)
    ranks, background = context.ranks, context.sources.background
    other = draw_latents(config.batch, generator, stream) if state.rest else None
    shares = []
    every = shares_of(config.batch, config.accumulate * ranks.count)
    for picked in every[ranks.own :: ranks.count]:
        images, bare = render_batch(part, generator, background, draws, picked), None
        if other is not None:
            with torch.no_grad():
                w = generator.mapping(other.z[picked])
            bare = background(w, [other.bg_seeds[k] for k in picked])
        shares.append(BatchShare(images, real[picked].to(images.fg_image), 0 in picked, bare))
    return shares


def train_step(state: TrainingState, context: StepContext) -> StepFacts:
    """Do one step of discriminator and alpha network, and update the average."""
    config, ranks = context.part.training, context.ranks
    shares = draw_shares(state, context)
    images, reals = [share.images for share in shares], [share.real for share in shares]
    # Without a gradient, apart from the passes with one: autocast keeps the weights it casts.
    with torch.no_grad(), autocast(config.precision, reals[0].device):
        alphas: list[Tensor] = [state.alpha(share.features) for share in images]
    pairs = list(zip(images, alphas, strict=True))
    fakes = [losses.composite(share.fg_image, share.bg_image, alpha) for share, alpha in pairs]
    firsts = [share.first for share in shares]
    d_loss = discriminator_step(state, state.main, config, reals, fakes, firsts, ranks)
    rest_d_loss = 0.0
    if state.rest:  # bare backgrounds against images without their object
        bare = [losses.seen_as_ground(share.bare) for share in shares if share.bare is not None]
        rests = [
            losses.rest_image(part.fg_image, part.own_bg_image, alpha) for part, alpha in pairs
        ]
        nowhere = [False] * len(shares)
        rest_d_loss = discriminator_step(state, state.rest, config, bare, rests, nowhere, ranks)
    realism, binarization, coverage, rest_realism = alpha_step(state, context, shares)
    state.step += 1
    # Half of the average is gone in ``ema_steps``; a young one would consist of the random start.
    half_life = 0.5 ** (1 / config.ema_steps) if config.ema_steps else 0.0
    keep = min(half_life, state.step / (state.step + 9))
    with torch.no_grad():
        weights = zip(state.average.parameters(), state.alpha.parameters(), strict=True)
        for average, live in weights:
            average.lerp_(live, 1 - keep)
    measured = d_loss, realism, binarization, coverage, state.attempt, rest_d_loss, rest_realism
    facts = StepFacts(state.step, *measured)
    state.recent = [*state.recent, facts][-RECENT_STEPS:]
    return facts


def alpha_step(
    state: TrainingState, context: StepContext, shares: Sequence[BatchShare]
) -> tuple[float, float, float, float]:
    """Step the alpha network; return realism loss, binarisation, mean alpha and the rest's realism.

    Unless ``balance`` is fixed, the first step only measures the discriminators' gradients.
    """
    config, ranks, scaler = context.part.training, context.ranks, state.alpha_scaler
    measured_pull = config.balance != "fixed"
    measuring = measured_pull and state.balance is None
    balance = state.balance or LossBalance(1.0, 1.0)
    weights = losses.weights_at(config, context.coverage, state.step, balance, context.scales)
    portion = 1 / (config.accumulate * ranks.count)
    state.main.network.requires_grad_(False)
    state.alpha_optim.zero_grad()
    sums = torch.zeros(5, dtype=torch.float64)
    for share in shares:
        images, device = share.images, share.real.device
        with autocast(config.precision, device):
            alpha = state.alpha(images.features)
        fake = losses.composite(images.fg_image, images.bg_image, alpha)
        with autocast(config.precision, device):
            logits = state.main.network(fake)
        realism = losses.realism_loss(logits)
        (slope,) = torch.autograd.grad(scaler.scale(realism), alpha)
        slope, matte = slope / scaler.get_scale(), alpha.detach()
        rest_realism, rest_slope = rest_gradient(state, config, share, matte)
        scaler.scale(portion * weights.loss(slope, alpha, rest_slope)).backward()
        pull = slope.abs().sum() + (0 if rest_slope is None else rest_slope.abs().sum())
        hardness = losses.binarization_loss(matte)
        values = realism.detach(), hardness, matte.mean(), rest_realism, pull
        sums += portion * torch.tensor([float(value) for value in values], dtype=torch.float64)
    ranks.add_up(sums)
    ranks.add_up_gradients(state.alpha)
    scaler.unscale_(state.alpha_optim)
    if not measuring:
        share_of_rate = losses.learning_rate_share(config, state.step)
        for group in state.alpha_optim.param_groups:
            full = group.setdefault("full_lr", group["lr"])
            group["lr"] = share_of_rate * context.scales.learning_rate * full
        scaler.step(state.alpha_optim)
    scaler.update()
    *measured, grad_norm = sums.tolist()
    # A scaled gradient may exceed the range of float16.
    if measured_pull and math.isfinite(grad_norm):
        state.balance = losses.next_balance(state.balance, grad_norm, measured[2])
    return tuple(measured)


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


def discriminator_step(
    state: TrainingState,
    learner: Learner,
    config: TrainingPart,
    reals: Sequence[Tensor],
    fakes: Sequence[Tensor],
    firsts: Sequence[bool],
    ranks: Ranks = ALONE,
) -> float:
    """Do a logistic step, and every ``d_reg_interval`` steps a separate R1 step in float32.

    Reals and fakes are one tensor ``batch 3 h w`` for each share of this rank; ``firsts`` says
    which holds the joint batch's first sample. Returns the logistic loss of the joint batch.
    """
    network, optim, scaler = learner.network.requires_grad_(True), learner.optim, learner.scaler
    portion = 1 / (len(reals) * ranks.count)
    optim.zero_grad()
    total = torch.zeros(1, dtype=torch.float64)
    for real, fake in zip(reals, fakes, strict=True):
        with autocast(config.precision, real.device):
            logits = network(real), network(fake)
        loss = losses.discriminator_loss(*logits)
        scaler.scale(portion * loss).backward()
        total += portion * float(loss.detach())
    ranks.add_up(total)
    ranks.add_up_gradients(network)
    scaler.step(optim)
    scaler.update()
    if state.step % config.d_reg_interval == 0:
        optim.zero_grad()
        gamma = losses.r1_gamma(config, state.main.network.resolution)
        for share, first in zip(reals, firsts, strict=True):
            real = share.detach().requires_grad_(True)
            scores = network(real)
            lazy_weight = portion * (gamma / 2 * config.d_reg_interval)
            penalty = lazy_weight * losses.r1_penalty(scores, real)
            (penalty + config.real_score_weight * scores[0] * first).backward()
        ranks.add_up_gradients(network)
        optim.step()
    return float(total)
