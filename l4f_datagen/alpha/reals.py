"""What the discriminator takes for real: a table of sources, each a function of its stream."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from l4f_datagen.errors import InputRefused
from l4f_datagen.recipe import TrainingPart
from l4f_datagen.stylegan2.generator import Generator, Synthesis

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
MAX_PIXELS = 64_000_000


@runtime_checkable  # the tests check annotations
class Reals(Protocol):
    """A source of real images."""

    def __call__(self, stream: np.random.RandomState, batch: int) -> Float[Tensor, "batch 3 h w"]:
        """Return ``batch 3 h w`` in [-1, 1], a function of ``stream`` alone."""


def generator_reals(part: TrainingPart, generator: Generator) -> Reals:
    """Samples of the frozen generator itself, at ``reals_psi``: no real image is needed."""

    @torch.no_grad()
    def draw(stream: np.random.RandomState, batch: int) -> Tensor:
        z = torch.from_numpy(stream.randn(batch, generator.spec.z_dim).astype(np.float32))
        streams = [np.random.RandomState(stream.randint(2**31)) for _ in range(batch)]
        noise = generator.noise("random", streams)
        synthesis: Synthesis = generator(z.to(generator.w_avg.device), part.reals_psi, noise=noise)
        return synthesis.image

    return draw


def folder_reals(part: TrainingPart, generator: Generator) -> Reals:
    """Every image below a folder, fitted into the generator's square canvas.

    Raises:
        InputRefused: no folder, no image, or an image that cannot be read.
    """
    folder = Path(str(part.reals_folder))
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        endings = " ".join(sorted(SUFFIXES))
        raise InputRefused(str(folder), f"holds no image ({endings})", "name a folder of images")
    side = generator.spec.resolution

    def draw(stream: np.random.RandomState, batch: int) -> Tensor:
        picked = stream.randint(0, len(paths), batch)
        images = np.stack([read_square(paths[k], side) for k in picked])
        return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1

    return draw


def toy_car_reals(part: TrainingPart, generator: Generator) -> Reals:
    """Fresh renders of toy cars."""
    from l4f_datagen.toycars.scene import render_scene

    def draw(stream: np.random.RandomState, batch: int) -> Tensor:
        seeds = stream.randint(0, 2**31, batch)
        images = np.stack([render_scene(int(s), generator.spec.resolution).image for s in seeds])
        return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1

    return draw


REALS: dict[str, Callable[[TrainingPart, Generator], Reals]] = {
    "generator": generator_reals,
    "folder": folder_reals,
    "toy-cars": toy_car_reals,
}


def read_square(path: Path, side: int) -> NDArray[np.uint8]:
    """Read an image as ``side side 3`` uint8, whole and centred on black (letterboxed).

    LSUN-Car's generator draws 4:3 pictures between black bars; its reals must look the same.

    Raises:
        InputRefused: not an image, or larger than 64 megapixels.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                size = f"{image.width} x {image.height}"
                raise InputRefused(str(path), f"is {size} pixels, at most 64 MP", "shrink it")
            scale = side / max(image.size)
            width, height = (max(1, round(length * scale)) for length in image.size)
            fitted = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    except Image.DecompressionBombError as error:
        raise InputRefused(str(path), "is far beyond 64 megapixels", "shrink it") from error
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        problem = f"is not a readable image ({' '.join(str(error).split())[:120]})"
        raise InputRefused(str(path), problem, "remove or replace it") from error
    canvas = Image.new("RGB", (side, side))
    canvas.paste(fitted, ((side - width) // 2, (side - height) // 2))
    return np.asarray(canvas)
