"""The training images of a run, in one file: photographs as squares, or renders of a toy domain."""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.io.disk import PART
from l4f_datagen.io.photographs import check_photographs
from l4f_datagen.io.stores import open_store
from l4f_datagen.toys.scene import render_scenes

logger = logging.getLogger(__name__)

FEWEST = 16
"""Below one batch of the default there is nothing to learn a distribution from."""
FEW = 500
"""Below it a generator copies its images unless augmentation holds (Karras et al. 2020, fig. 1
starts at 1,000); the check for copies at the end says whether it did."""


SCENES = 30_000
"""Renders of a toy domain, each also mirrored: at 130 kimg none has been shown five times."""


def gather_images(path: str, side: int, cache: Path, *, offline: bool = False) -> NDArray[np.uint8]:
    """Read every photograph once, cut to its middle square, and keep the squares in ``cache``.

    Args:
        path: folder, zip file, LMDB, or the name of a Hugging Face dataset.
        side: of the square, px.
        cache: file of the squares; where it is there, it is used.
        offline: fetch nothing.

    Returns:
        ``n side side 3``, read from disk as needed.

    Raises:
        InputRefused: no such store, too few or too small photographs, or one that cannot be read.
        NetworkError: a dataset that cannot be fetched.
        OSError: the disk is full.
    """
    if not cache.exists():
        images = check_photographs(open_store(path, side=side, offline=offline), side)
        if len(images) < FEWEST:
            problem = f"holds {len(images)} photographs, a generator needs at least {FEWEST}"
            raise InputRefused(path, problem, f"gather more; from {FEW} on results are useful")
        if len(images) < FEW:
            logger.warning(
                "%s holds only %d photographs: look for copies in nearest.png", path, len(images)
            )
        _write(cache, len(images), side, (images.read(place) for place in range(len(images))))
    return _opened(cache)


def render_images(domain: str, side: int, cache: Path) -> NDArray[np.uint8]:
    """Render the scenes of a toy domain once, as ``gather_images`` does for photographs."""
    if not cache.exists():
        scenes = render_scenes(range(SCENES), side, 1, domain)
        _write(cache, SCENES, side, (scene.image for scene in scenes))
    return _opened(cache)


def _write(cache: Path, count: int, side: int, images: Iterable[NDArray[np.uint8]]) -> None:
    part = cache.with_name(cache.name + PART)
    pixels = open_memmap(part, "w+", np.uint8, (count, side, side, 3))
    for number, image in enumerate(images):
        pixels[number] = image
    pixels.flush()
    del pixels
    part.replace(cache)


def _opened(cache: Path) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = np.load(cache, mmap_mode="r")
    return pixels


def turned(image: NDArray[np.uint8], turn: int, symmetry: str) -> NDArray[np.uint8]:
    """Return one of the eight turns and flips of ``h w 3``, as far as the symmetry allows."""
    if symmetry != "none" and turn & 1:
        image = image[:, ::-1]
    return np.rot90(image, turn >> 1) if symmetry == "square" else image
