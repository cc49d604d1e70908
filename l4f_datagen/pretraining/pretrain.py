"""Train a toy generator from renders: StyleGAN2 on one CPU, with snapshots that resume.

The only generators this project trains itself; every other domain brings its own. Run as
``python -m l4f_datagen.pretraining.pretrain --out DIR`` and again to resume.
"""

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from l4f_datagen.core.logs import show_logs
from l4f_datagen.io.disk import staged
from l4f_datagen.io.training_folder import claim_folder
from l4f_datagen.models.generator import Generator
from l4f_datagen.models.mapping import draw_z
from l4f_datagen.pretraining.distance import Features, frechet_distance
from l4f_datagen.pretraining.state import PretrainPlan, TrainState, new_state, resume, save
from l4f_datagen.recipe.domains import BUILTIN
from l4f_datagen.toys.scene import TOYS, render_scenes

logger = logging.getLogger(__name__)

HELD_OUT_SEED = 1_000_000
"""Scene seeds from here on are never trained on; distances are taken against them."""


def mixed_ws(generator: Generator, draw: torch.Generator, plan: PretrainPlan) -> Tensor:
    """Return ``batch num_ws w_dim`` with style mixing at a random layer."""
    w = generator.mapping(torch.randn(2 * plan.batch, generator.spec.z_dim, generator=draw))
    first, second = w.chunk(2)
    num_ws = generator.spec.num_ws
    switch = int(torch.randint(1, num_ws, (), generator=draw))
    if float(torch.rand((), generator=draw)) >= plan.style_mixing_prob:
        switch = num_ws
    rows = torch.arange(num_ws)[None, :, None] < switch
    return torch.where(rows, first[:, None], second[:, None])


def learning_rate(plan: PretrainPlan, step: int) -> float:
    """Rate of one step: constant, then linear to zero; a function of the step alone."""
    left_kimg = plan.kimg - step * plan.batch / 1000
    decay = min(1.0, max(0.0, left_kimg / plan.decay_kimg)) if plan.decay_kimg else 1.0
    return plan.learning_rate * decay


def train_step(state: TrainState, reals: Tensor, plan: PretrainPlan, draw: torch.Generator) -> None:
    """One step of both networks on one batch of reals ``batch 3 64 64``; the fakes are shared."""
    for optim in (state.g_optim, state.d_optim):
        for group in optim.param_groups:
            group["lr"] = learning_rate(plan, state.step)
    layers = state.generator.synthesis.layers()
    noise: list[Tensor | None] = [
        torch.randn(plan.batch, 1, *layer.noise_const.shape, generator=draw) for layer in layers
    ]
    ws = mixed_ws(state.generator, draw, plan)
    fakes = state.generator.synthesis(ws, noise).image
    fakes = fakes.contiguous(memory_format=torch.channels_last)

    state.discriminator.requires_grad_(True)
    state.d_optim.zero_grad()
    logits = F.softplus(state.discriminator(fakes.detach())).mean()
    (logits + F.softplus(-state.discriminator(reals)).mean()).backward()
    state.d_optim.step()
    if state.step % plan.r1_interval == 0:
        reals = reals.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(state.discriminator(reals).sum(), reals, create_graph=True)
        penalty = slope.square().sum(dim=(1, 2, 3)).mean() * (plan.r1_gamma / 2 * plan.r1_interval)
        state.d_optim.zero_grad()
        penalty.backward()
        state.d_optim.step()

    state.discriminator.requires_grad_(False)
    state.g_optim.zero_grad()
    F.softplus(-state.discriminator(fakes)).mean().backward()
    state.g_optim.step()
    state.step += 1
    shown_kimg = state.step * plan.batch / 1000
    half_life = min(plan.ema_kimg, shown_kimg * 0.05)
    decay = 0.5 ** (plan.batch / 1000 / half_life)
    with torch.no_grad():
        pairs = zip(state.g_ema.parameters(), state.generator.parameters(), strict=True)
        for average, live in pairs:
            average.lerp_(live, 1 - decay)


def batches(
    scenes: NDArray[np.uint8], plan: PretrainPlan, first_step: int
) -> Iterator[tuple[Tensor, torch.Generator]]:
    """Yield (reals, random stream) a step; both are functions of (seed, step) alone."""
    step = first_step
    while True:
        rng = np.random.RandomState((plan.seed * 1_000_003 + step) % 2**32)
        picked = scenes[rng.randint(0, len(scenes), plan.batch)]  # batch h w 3
        mirrored = rng.rand(plan.batch) < 0.5
        picked[mirrored] = picked[mirrored, :, ::-1]
        reals = torch.from_numpy(picked).permute(0, 3, 1, 2).float() / 127.5 - 1
        draw = torch.Generator().manual_seed(int(rng.randint(2**31)))
        yield reals.contiguous(memory_format=torch.channels_last), draw
        step += 1


@torch.no_grad()
def sample_images(generator: Generator, seeds: range, batch: int = 50) -> Tensor:
    """Return ``n 3 64 64`` images at psi 1 with the constant noise."""
    parts = []
    for start in range(seeds.start, seeds.stop, batch):
        z = draw_z(range(start, min(start + batch, seeds.stop)), generator.spec.z_dim)
        parts.append(generator(torch.from_numpy(z)).image.clamp(-1, 1))
    return torch.cat(parts)


def train(plan: PretrainPlan, out: Path) -> TrainState:
    """Train to ``plan.kimg``, writing state, sheet and distance at every snapshot and at the end.

    Raises:
        UsageError: the folder holds the run of another plan; its length may be another.
    """
    claim_folder(out, plan.identity, other="holds a pretraining of another domain, seed or start")
    state = new_state(plan)
    resume(state, out)
    scenes = rendered(plan.domain, range(plan.scenes), out / f"scenes-{plan.scenes}.npy")
    features = Features()
    held_out = range(HELD_OUT_SEED, HELD_OUT_SEED + plan.distance_samples)
    renders = rendered(plan.domain, held_out, out / f"held-out-{plan.distance_samples}.npy")
    truth = features.of(torch.from_numpy(renders).permute(0, 3, 1, 2).float() / 127.5 - 1)
    last_step = round(plan.kimg * 1000 / plan.batch)
    every = round(plan.snapshot_kimg * 1000 / plan.batch)
    tick = time.monotonic()
    for reals, draw in batches(scenes, plan, state.step):
        if state.step >= last_step:
            return state
        train_step(state, reals, plan, draw)
        if state.step % 125 and state.step % every and state.step != last_step:
            continue
        now = time.monotonic()
        state.seconds, tick = state.seconds + now - tick, now
        save(state, out)
        shown = state.step * plan.batch / 1000
        logger.info(f"{shown:7.1f} kimg  {state.seconds / 60:6.1f} min")
        if state.step % every == 0 or state.step == last_step:
            images = sample_images(state.g_ema, range(plan.distance_samples))
            entry = {
                "kimg": shown,
                "minutes": round(state.seconds / 60, 1),
                "frechet": round(frechet_distance(features.of(images), truth), 4),
            }
            logger.info(json.dumps(entry))
            with (out / "distance.jsonl").open("a") as log:
                log.write(json.dumps(entry | {"plan": asdict(plan)}) + "\n")
            write_sheet(state.g_ema, out / f"sheet-{round(shown):05d}kimg.png")
            tick = time.monotonic()  # the time of a snapshot is not training time
    return state


def rendered(domain: str, seeds: range, cache: Path) -> NDArray[np.uint8]:
    """Render scenes once, ``n 64 64 3``, and keep them beside the state."""
    if not cache.exists():
        images = np.stack([scene.image for scene in render_scenes(seeds, workers=2, domain=domain)])
        with staged(cache) as file:
            np.save(file, images)
    scenes: NDArray[np.uint8] = np.load(cache)
    return scenes


@torch.no_grad()
def write_sheet(generator: Generator, path: Path) -> None:
    """Save 64 samples at psi 1 beside the 64 muted backgrounds of the same z."""
    from PIL import Image

    from l4f_datagen.core.sample import image_to_uint8

    z = torch.from_numpy(draw_z(range(64), generator.spec.z_dim))
    sheets = []
    for mute in (None, "conv1"):
        tiles = image_to_uint8(generator(z, mute=mute).image).permute(0, 2, 3, 1).numpy()
        sheets.append(tiles.reshape(8, 8, 64, 64, 3).swapaxes(1, 2).reshape(512, 512, 3))
    Image.fromarray(np.concatenate(sheets, axis=1)).save(path)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Run folder.")
@click.option(
    "--domain", type=click.Choice(list(TOYS)), default=PretrainPlan.domain, show_default=True
)
@click.option(
    "--start", type=click.Choice(list(BUILTIN)), help="Shipped weights to start from, not noise."
)
@click.option("--kimg", default=PretrainPlan.kimg, show_default=True, help="Training length.")
@click.option(
    "--decay-kimg", default=PretrainPlan.decay_kimg, show_default=True, help="Of which in decay."
)
@click.option("--seed", default=PretrainPlan.seed, show_default=True, help="Seed of the run.")
def main(
    out: Path, domain: str, start: str | None, kimg: float, decay_kimg: float, seed: int
) -> None:
    """Train a toy generator, or resume its training, in OUT."""
    # Vanishing activations turn into denormals, which cost a CPU a quarter of its speed.
    torch.set_flush_denormal(True)
    plan = PretrainPlan(domain, start, seed, kimg, decay_kimg=decay_kimg)
    show_logs()
    train(plan, out)


if __name__ == "__main__":
    main()
