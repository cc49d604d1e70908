"""The pictures every method masks: rendered once, kept as PNG, also for tools from outside."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from l4f_datagen.benchmark.bench import BLOCK, LEARNT_SEED, Bench, Block
from l4f_datagen.core.errors import InputRefused
from l4f_datagen.io.figures import save_png
from l4f_datagen.models.generator import Synthesis
from l4f_datagen.rendering.plan import Draw
from l4f_datagen.rendering.render import noise_stream

IMAGES = "images"


def image_path(out: Path, key: str) -> Path:
    """Where the picture of a key lies."""
    return out / IMAGES / f"{key}.png"


def blocks_of(draws: Sequence[Draw]) -> Iterator[list[Draw]]:
    """Cut draws into blocks."""
    for start in range(0, len(draws), BLOCK):
        yield list(draws[start : start + BLOCK])


def write_images(bench: Bench, psis: Sequence[float]) -> None:
    """Render what is missing of the pictures of every psi, as ``images/KEY.png``."""
    (bench.out / IMAGES).mkdir(exist_ok=True)
    for psi in psis:
        for draws in blocks_of(bench.draws(psi)):
            if all(image_path(bench.out, draw.key).exists() for draw in draws):
                continue
            for sample in bench.renderer.render(draws):
                save_png(Image.fromarray(sample.image), image_path(bench.out, sample.key))


def read_block(bench: Bench, draws: list[Draw]) -> Block:
    """Read pictures back.

    Raises:
        InputRefused: a file that is no picture any more, or of another size.
    """
    images = [read_image(image_path(bench.out, draw.key), bench.size_hw) for draw in draws]
    return Block(draws, np.stack(images))


def read_image(path: Path, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Read one picture, ``h w 3``; errors as ``read_block``."""
    remedy = "remove it and run the command again"
    try:
        with Image.open(path) as image:
            found = image.size[::-1]
            if found == size_hw:
                return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise InputRefused(str(path), "is not a readable picture", remedy) from error
    problem = f"is {found[1]} x {found[0]} pixels, expected {size_hw[1]} x {size_hw[0]}"
    raise InputRefused(str(path), problem, remedy)


def learnt_draws(bench: Bench, number: int, first: int = 0) -> list[Draw]:
    """List pictures to learn from, at the psi of the recipe's training; none of them is scored."""
    psi = bench.recipe.alpha.training.psi
    return [Draw(k + 1, psi, LEARNT_SEED + k) for k in range(first, first + number)]


@torch.no_grad()
def synthesis_of(bench: Bench, draws: Sequence[Draw]) -> Synthesis:
    """Return the generator's pass for draws, the same that their pictures come from."""
    renderer = bench.renderer
    streams = [noise_stream(draw.seed) for draw in draws]
    noise = bench.generator.noise(renderer.noise_mode, streams)
    ws = renderer.styles.ws(bench.generator, draws)
    synthesis: Synthesis = bench.generator.synthesis(ws, noise)
    return synthesis
