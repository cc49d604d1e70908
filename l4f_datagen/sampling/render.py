"""Render a block of the plan: one synthesis pass gives image, alpha and mask."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from l4f_datagen.alpha.network import AlphaNetwork
from l4f_datagen.masks import alpha_to_mask
from l4f_datagen.recipe import Recipe
from l4f_datagen.sample import Sample, image_to_uint8
from l4f_datagen.sampling.sweep import Draw
from l4f_datagen.stylegan2.generator import Generator, NoiseMode, draw_z

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Renderer:
    """Generator and alpha network with everything that decides their pixels.

    Attributes:
        generator: frozen, on its device.
        alpha: its alpha network; None renders images alone.
        noise_mode: see the recipe.
        mask_threshold: mask = alpha > threshold.
        precision: "fp32", or autocast to "bf16" / "fp16".
        crop: left, top, right, bottom of the picture on the canvas, for image and alpha alike.
    """

    generator: Generator
    alpha: AlphaNetwork | None
    noise_mode: NoiseMode = "const"
    mask_threshold: float = 0.9
    precision: str = "fp32"
    crop: tuple[int, int, int, int] | None = None

    @torch.inference_mode()
    def render(self, draws: Sequence[Draw]) -> list[Sample]:
        """Render draws as one batch; each sample is a function of its psi and seed alone."""
        device = self.generator.w_avg.device
        seeds = [draw.seed for draw in draws]
        z = torch.from_numpy(draw_z(seeds, self.generator.spec.z_dim)).to(device)
        psi = torch.tensor([draw.psi for draw in draws], dtype=torch.float32, device=device)
        noise = self.generator.noise(self.noise_mode, [noise_stream(seed) for seed in seeds])
        dtype = AUTOCAST.get(self.precision)
        with torch.autocast(device.type, dtype) if dtype else nullcontext():
            synthesis = self.generator(z, psi, noise=noise)
            alphas = None if self.alpha is None else self.alpha(synthesis.features)
        left, top, right, bottom = self.crop or (0, 0, *synthesis.image.shape[2:])
        images = image_to_uint8(synthesis.image[:, :, top:bottom, left:right])
        pixels = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        if alphas is None:
            mattes = np.zeros(pixels.shape[:3], np.float32)
        else:
            mattes = alphas[:, 0, top:bottom, left:right].contiguous().cpu().numpy()
        rows = zip(draws, pixels, mattes, strict=True)
        return [
            Sample(
                image_id=draw.image_id,
                key=draw.key,
                psi=draw.psi,
                seed=draw.seed,
                image=image,
                alpha=matte,
                mask=alpha_to_mask(matte, self.mask_threshold),
            )
            for draw, image, matte in rows
        ]


def noise_stream(seed: int) -> np.random.RandomState:
    """The stream of a sample's random noise inputs, apart from the one that draws its z."""
    return np.random.RandomState(np.array([seed, 1], dtype=np.uint32))


def renderer_of(recipe: Recipe, generator: Generator, alpha: AlphaNetwork | None) -> Renderer:
    """Return the recipe's renderer."""
    return Renderer(
        generator,
        alpha,
        noise_mode=recipe.sampling.noise_mode,
        mask_threshold=recipe.output.mask_threshold,
        precision=recipe.sampling.precision,
        crop=recipe.generator.crop,
    )
