"""One step of StyleGAN2's training: both networks on one batch of images."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from l4f_datagen.models.generator import Generator
from l4f_datagen.models.unet import to_tensor
from l4f_datagen.pretraining import augmentation
from l4f_datagen.pretraining.plan import PretrainPlan
from l4f_datagen.pretraining.state import PretrainState
from l4f_datagen.training.hardware import ALONE, Ranks, autocast

RAMP = 0.05
"""The average's half-life as a share of the images so far: a young one would hold the start."""


@dataclass(frozen=True)
class Draws:
    """What decides a step, for the joint batch of all devices."""

    reals: Tensor  # ``batch 3 h w`` in [-1, 1]
    z: Tensor  # ``2 batch z_dim``, for style mixing
    switch: int  # the layer from which on the second z is used
    noise: list[Tensor]  # one map a layer, ``batch 1 h w``
    # Of reals, of fakes before the discriminator's step, and before the generator's.
    transforms: tuple[augmentation.Transforms | None, ...]


def turned(image: NDArray[np.uint8], turn: int, symmetry: str) -> NDArray[np.uint8]:
    """Return one of the eight turns and flips of ``h w 3``, as far as the symmetry allows."""
    if symmetry != "none" and turn & 1:
        image = image[:, ::-1]
    return np.rot90(image, turn >> 1) if symmetry == "square" else image


def draw_step(
    pixels: NDArray[np.uint8], plan: PretrainPlan, generator: Generator, step: int, p: float
) -> Draws:
    """Draw a step's numbers and images; all are functions of (seed, step, p) alone."""
    stream = np.random.RandomState((plan.seed * 1_000_003 + step) % 2**32)
    picked = stream.randint(0, len(pixels), plan.batch)
    turns = stream.randint(0, 8, plan.batch)
    pairs = zip(picked, turns, strict=True)
    images = np.stack([turned(pixels[k], int(turn), plan.symmetry) for k, turn in pairs])
    draw = torch.Generator().manual_seed(int(stream.randint(2**31)))
    maps = [layer.noise_const.shape for layer in generator.synthesis.layers()]
    noise = [torch.randn(plan.batch, 1, *shape, generator=draw) for shape in maps]
    z = torch.randn(2 * plan.batch, generator.spec.z_dim, generator=draw)
    num_ws = generator.spec.num_ws
    switch = int(torch.randint(1, num_ws, (), generator=draw))
    if float(torch.rand((), generator=draw)) >= plan.style_mixing_prob:
        switch = num_ws
    drawn = (plan.batch, p, plan.resolution, draw)
    transforms = tuple(augmentation.draw_transforms(*drawn) for _ in range(3))
    return Draws(to_tensor(images), z, switch, noise, transforms)


def train_step(
    state: PretrainState, pixels: NDArray[np.uint8], plan: PretrainPlan, ranks: Ranks = ALONE
) -> tuple[float, float]:
    """One step of both networks; return the losses of generator and discriminator."""
    decayed = (state.step - state.decay_from(plan)) / max(1, plan.steps(plan.decay_kimg))
    for optim in (state.g_optim, state.d_optim):
        for group in optim.param_groups:
            group["lr"] = plan.learning_rate * min(1.0, max(0.0, 1 - decayed))
    p = state.ada.p if plan.ada_kimg is not None else 0.0
    draws = draw_step(pixels, plan, state.generator, state.step, p)
    own = list(range(plan.batch))[ranks.own :: ranks.count]
    shares = [own[k :: plan.accumulate] for k in range(plan.accumulate)]
    sums = torch.zeros(4, dtype=torch.float64)  # losses of G and D, sign and number of logits
    batch = _Batch(state, plan, draws, ranks, shares, sums)
    # With one share the fakes, and the way back to the generator, serve both steps.
    kept = batch.render(shares[0]) if len(shares) == 1 else None
    batch.train_discriminator(kept)
    batch.train_generator(kept)
    ranks.add_up(sums)
    state.step += 1
    if plan.ada_kimg is not None:
        state.ada.sign_sum += float(sums[2])
        state.ada.count += int(sums[3])
        if state.step % augmentation.ADJUST_INTERVAL == 0:
            state.ada.adjust(augmentation.ADJUST_INTERVAL * plan.batch, plan.ada_kimg)
    half_life = min(plan.ema_kimg, state.step * plan.batch / 1000 * RAMP)
    keep = 0.5 ** (plan.batch / 1000 / half_life)
    pairs = zip(state.g_ema.parameters(), state.generator.parameters(), strict=True)
    with torch.no_grad():
        for average, live in pairs:
            average.lerp_(live, 1 - keep)
    return float(sums[0]), float(sums[1])


@dataclass(frozen=True)
class _Batch:
    """One step's draws, and this process's shares of them."""

    state: PretrainState
    plan: PretrainPlan
    draws: Draws
    ranks: Ranks
    shares: list[list[int]]
    sums: Tensor

    @property
    def device(self) -> torch.device:
        return self.state.g_ema.w_avg.device

    def render(self, rows: list[int]) -> Tensor:
        """Generate the fakes of a share, ``rows 3 h w``."""
        generator, draws = self.state.generator, self.draws
        with autocast(self.plan.precision, self.device):
            first, second = draws.z.chunk(2)
            w = generator.mapping(torch.cat([first[rows], second[rows]]).to(self.device))
            first, second = w.chunk(2)
            early = torch.arange(generator.spec.num_ws, device=self.device) < draws.switch
            ws = torch.where(early[None, :, None], first[:, None], second[:, None])
            noise = [part[rows].to(self.device) for part in draws.noise]
            image: Tensor = generator.synthesis(ws, noise).image
        return image.contiguous(memory_format=torch.channels_last)

    def augmented(self, images: Tensor, use: int, rows: list[int]) -> Tensor:
        """Transform a share; ``use``: 0 reals, 1 and 2 fakes before either network's step."""
        transforms = self.draws.transforms[use]
        return augmentation.augment(images, transforms and transforms.rows(rows))

    def logits(self, images: Tensor) -> Tensor:
        """Return the discriminator's logits."""
        with autocast(self.plan.precision, self.device):
            logits: Tensor = self.state.discriminator(images)
        return logits

    def train_discriminator(self, kept: Tensor | None) -> None:
        """Train it on reals and fakes, those ``kept`` or rendered here."""
        state, plan, sums = self.state, self.plan, self.sums
        net, optim, scaler = state.discriminator.requires_grad_(True), state.d_optim, state.d_scaler
        optim.zero_grad()
        reals = []
        for rows in self.shares:
            with torch.no_grad():
                fakes = self.render(rows) if kept is None else kept.detach()
            real = self.draws.reals[rows].to(self.device, memory_format=torch.channels_last)
            reals.append(self.augmented(real, 0, rows))
            real_logits = self.logits(reals[-1])
            fake_logits = self.logits(self.augmented(fakes, 1, rows))
            loss = (F.softplus(fake_logits) + F.softplus(-real_logits)).sum() / plan.batch
            scaler.scale(loss).backward()
            sums[1] += float(loss.detach())
            sums[2] += float(real_logits.detach().sign().sum())
            sums[3] += len(rows)
        self.ranks.add_up_gradients(net)
        scaler.step(optim)
        scaler.update()
        if state.step % plan.r1_interval:
            return
        # R1 on what it saw, in float32 (Mescheder et al. 2018; lazy: StyleGAN2, 3.1).
        optim.zero_grad()
        for real in reals:
            shown = real.detach().requires_grad_(True)
            (slope,) = torch.autograd.grad(net(shown).sum(), shown, create_graph=True)
            penalty = slope.square().sum() / plan.batch * (plan.gamma / 2 * plan.r1_interval)
            penalty.backward()
        self.ranks.add_up_gradients(net)
        optim.step()

    def train_generator(self, kept: Tensor | None) -> None:
        """Train it against the discriminator as it is now."""
        state = self.state
        state.discriminator.requires_grad_(False)
        state.g_optim.zero_grad()
        for rows in self.shares:
            fakes = self.render(rows) if kept is None else kept
            logits = self.logits(self.augmented(fakes, 2, rows))
            loss = F.softplus(-logits).sum() / self.plan.batch
            state.g_scaler.scale(loss).backward()
            self.sums[0] += float(loss.detach())
        self.ranks.add_up_gradients(state.generator)
        state.g_scaler.step(state.g_optim)
        state.g_scaler.update()
