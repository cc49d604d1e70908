"""Styles: the ws of a sample, from its seed or from a row of the user's latents."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from l4f_datagen.core.errors import UsageError
from l4f_datagen.models.generator import Generator, GeneratorSpec, draw_z
from l4f_datagen.recipe import SamplingPart
from l4f_datagen.rendering.latents import Latents, open_latents
from l4f_datagen.rendering.plan import Draw

MIXING_STREAM = 2


@dataclass(frozen=True)
class Styles:
    """How the recipe comes by ws."""

    latents: Latents | None = None  # rows used instead of drawn z
    latent_space: str = "w"  # what those rows are, "w" or "z"
    style_mixing: float = 0.0  # share of samples whose finer layers take the w of a second z
    truncation_cutoff: int | None = None  # first rows of ws that psi acts on; None: all

    def ws(
        self, generator: Generator, draws: Sequence[Draw]
    ) -> Float[Tensor, "batch num_ws w_dim"]:
        """Return the truncated ws of draws, float32 on the generator's device.

        Each row is a function of its own draw: psi, seed, and the latents' row of that number.
        """
        device, spec = generator.w_avg.device, generator.spec
        seeds = [draw.seed for draw in draws]
        rows = draw_z(seeds, spec.z_dim) if self.latents is None else self.latents.take(seeds)
        w = on_device(rows, device)
        if self.latents is None or self.latent_space == "z":
            w = generator.mapping(w)
        if self.style_mixing:  # each sample's own layer of the switch and those behind take another
            mixes = [draw_mix(seed, self.style_mixing, spec) for seed in seeds]
            second = generator.mapping(on_device(np.stack([z for _, z in mixes]), device))
            mix_from = on_device(np.array([layer for layer, _ in mixes]), device)
            ws = w if w.ndim == 3 else w[:, None].expand(-1, spec.num_ws, -1)
            is_second = torch.arange(spec.num_ws, device=device) >= mix_from[:, None]
            w = torch.where(is_second[:, :, None], second[:, None], ws)
        psi = on_device(np.array([draw.psi for draw in draws], np.float32), device)
        return generator.truncate(w, psi, self.truncation_cutoff)


def draw_mix(seed: int, probability: float, spec: GeneratorSpec) -> tuple[int, NDArray[np.float32]]:
    """Draw a sample's style mixing from a stream of its own: a row of ws, and the second z.

    The row, from 1, is the first that takes the second w; ``num_ws`` for a sample that is not
    mixed. All is drawn whatever the probability, so that another one mixes more samples or fewer,
    and none of them otherwise.
    """
    stream = np.random.RandomState(np.array([seed, MIXING_STREAM], dtype=np.uint32))
    chosen = stream.random_sample() < probability
    mix_from = int(stream.randint(1, spec.num_ws))
    z = stream.randn(spec.z_dim).astype(np.float32)
    return (mix_from if chosen else spec.num_ws), z


def styles_of(part: SamplingPart, generator: Generator) -> Styles:
    """Return the recipe's styles for a generator.

    UsageError for a cutoff beyond its layers, InputRefused for latents that cannot be read or do
    not fit it.
    """
    num_ws = generator.spec.num_ws
    if part.truncation_cutoff is not None and part.truncation_cutoff > num_ws:
        problem = f"{part.truncation_cutoff} is beyond the {num_ws} rows of ws"
        raise UsageError("--truncation-cutoff", problem, f"give 1 to {num_ws}")
    latents = None if part.latents is None else open_latents(part.latents)
    if latents is not None:
        latents.check(generator, part.latent_space)
    return Styles(latents, part.latent_space, part.style_mixing, part.truncation_cutoff)


def on_device(values: NDArray[np.generic], device: torch.device) -> Tensor:
    """Copy an array to a device; to CUDA through pinned memory, without waiting for it."""
    host = torch.from_numpy(values)
    if device.type == "cuda":
        return host.pin_memory().to(device, non_blocking=True)
    return host.to(device)
