"""Pictures that show nothing of the domain, for backgrounds the paper took from MIT Places."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.benchmark.bench import Bench
from l4f_datagen.core.sample import image_to_uint8
from l4f_datagen.io.figures import save_png
from l4f_datagen.io.stores import listing_sha256
from l4f_datagen.toys.ground import draw_ground
from l4f_datagen.toys.scene import TOYS

PICTURES = 2_000
FOLDER = "unrelated"


def other_toy(domain: str) -> str:
    """Name the toy domain that stands behind this one in the table, the first behind the last."""
    names = list(TOYS)
    return names[(names.index(domain) + 1) % len(names)]


def bare_ground(seed: int, size: int, domain: str) -> NDArray[np.uint8]:
    """Render a toy domain's ground with nothing on it, ``size size 3``."""
    layout, grain = np.random.default_rng(seed).spawn(2)
    kinds = TOYS[domain].grounds
    ground = draw_ground(layout, kinds)
    picture = kinds[ground.name].render(ground, grain, size)
    return np.ascontiguousarray(image_to_uint8(picture.transpose(1, 2, 0) * 2 - 1))


def unrelated_folder(bench: Bench) -> Path:
    """Return the folder of such pictures; a toy domain takes the other's bare grounds."""
    if bench.unrelated is not None:
        return bench.unrelated.resolve()
    folder = bench.out / FOLDER
    folder.mkdir(exist_ok=True)
    domain, size = other_toy(bench.recipe.domain), bench.generator.spec.resolution
    for seed in range(PICTURES):
        path = folder / f"{seed:05d}.png"
        if not path.exists():
            save_png(Image.fromarray(bare_ground(seed, size, domain)), path)
    return folder.resolve()


def unrelated_name(bench: Bench) -> str:
    """Name the pictures by what they are, wherever they lie."""
    if bench.unrelated is None:
        return f"{PICTURES} bare grounds of {other_toy(bench.recipe.domain)}"
    return listing_sha256(str(bench.unrelated)) or str(bench.unrelated)
