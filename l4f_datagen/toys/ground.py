"""Stationary ground textures: asphalt, grass, sand, paving.

With the trunk muted a StyleGAN2 can only make texture whose statistics are the same everywhere, so
nothing here depends on the place in the picture: noise is filtered in the Fourier domain (periodic,
hence shift-invariant) and the paving is a jittered lattice with random phase and rotation.
"""

import colorsys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from l4f_datagen.toys.texture import FRAME, FloatArray, blobs, noise, ripples, streaks

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Ground:
    """What a ground looks like, apart from its noise.

    Attributes:
        name: a key of the table it was drawn from, such as ``GROUNDS``.
        colour: mean RGB in [0, 1].
        angle: direction of blades, ripples or courses, radians.
        grain: size of the grain relative to its usual size, about 1.
    """

    name: str
    colour: Colour
    angle: float
    grain: float


class Kind(NamedTuple):
    """One kind of ground.

    Attributes:
        lay: renders it, ``3 size size``, RGB about [0, 1].
        lowest: least hue, saturation and value of its colour.
        highest: the largest ones.
    """

    lay: Callable[[Ground, np.random.Generator, int], FloatArray]
    lowest: Colour
    highest: Colour


def draw_ground(rng: np.random.Generator, kinds: Mapping[str, Kind]) -> Ground:
    """Draw one of the kinds, all equally likely, with its colour and direction."""
    name = list(kinds)[int(rng.integers(len(kinds)))]
    hue, saturation, value = rng.uniform(kinds[name].lowest, kinds[name].highest)
    return Ground(
        name=name,
        colour=colorsys.hsv_to_rgb(hue, saturation, value),
        angle=float(rng.uniform(0, np.pi)),
        grain=float(rng.uniform(0.85, 1.2)),
    )


def _asphalt(ground: Ground, rng: np.random.Generator, size: int) -> FloatArray:
    speckle = noise(rng, size, blobs(0.42 * ground.grain))
    stones = np.clip(noise(rng, size, blobs(0.6 * ground.grain)) - 1.3, 0, None)
    patches = noise(rng, size, blobs(5.0))
    return tint(ground, 0.97 + 0.09 * speckle + 0.22 * stones + 0.04 * patches)


def _grass(ground: Ground, rng: np.random.Generator, size: int) -> FloatArray:
    blades = np.maximum(
        noise(rng, size, streaks(ground.angle, 1.7 * ground.grain, 0.45)),
        noise(rng, size, streaks(ground.angle + 0.9, 1.7 * ground.grain, 0.45)),
    )
    patches = noise(rng, size, blobs(4.0))
    # 0.56 is the mean of the larger of two standard normals.
    lawn = tint(ground, 1 + 0.17 * (blades - 0.56) + 0.04 * patches)
    lawn[0] += 0.02 * patches  # dry patches turn yellow
    return lawn


def _sand(ground: Ground, rng: np.random.Generator, size: int) -> FloatArray:
    waves = noise(rng, size, ripples(ground.angle, 7.0 * ground.grain))
    grains = noise(rng, size, blobs(0.45))
    return tint(ground, 1 + 0.055 * waves + 0.045 * grains)


def _paving(ground: Ground, rng: np.random.Generator, size: int) -> FloatArray:
    stones = lay_stones(
        ground, rng, size, across=5.0, joint=1.1, aspect=1.3, jitter=0.2, tones=0.07
    )
    return tint(ground, stones + 0.03 * noise(rng, size, blobs(0.5)))


def lay_stones(
    ground: Ground,
    rng: np.random.Generator,
    size: int,
    *,
    across: float,
    joint: float,
    aspect: float,
    jitter: float,
    tones: float,
) -> FloatArray:
    """Brightness ``size size`` of stones in rows with jittered centres, about 1 on a stone.

    Args:
        ground: its ``grain`` scales the stones, its ``angle`` turns the rows.
        rng: of phase, jitter and tones.
        size: side in pixels.
        across: width of a row, scene units.
        joint: width of the dark between two stones, scene units.
        aspect: length of a stone by its width.
        jitter: of the centres, as a share of a stone.
        tones: deviation of the stones' brightness.
    """
    stone_across, rows = across * ground.grain, 32
    offsets = rng.uniform(-jitter, jitter, (2, rows, rows))
    shades = 1 + tones * rng.standard_normal((rows, rows))
    phase = rng.uniform(0, rows, 2)

    at = (np.arange(size) + 0.5) * (FRAME / size)
    cos, sin = np.cos(ground.angle), np.sin(ground.angle)
    x = (cos * at[None, :] + sin * at[:, None]) / (stone_across * aspect) + phase[0]
    y = (cos * at[:, None] - sin * at[None, :]) / stone_across + phase[1]
    row0 = np.floor(y).astype(int)
    nearest = np.full((size, size), np.inf)
    second = nearest.copy()
    tone = np.ones((size, size))
    for row in (row0 - 1, row0, row0 + 1):
        shift = 0.5 * (row % 2)
        col0 = np.floor(x - shift).astype(int)
        for col in (col0 - 1, col0, col0 + 1):
            stone = (row % rows, col % rows)
            dx = (col + 0.5 + shift + offsets[0][stone] - x) * aspect
            dy = row + 0.5 + offsets[1][stone] - y
            distance = np.sqrt(dx * dx + dy * dy)
            closer = distance < nearest
            second = np.where(closer, nearest, np.minimum(second, distance))
            nearest = np.where(closer, distance, nearest)
            tone = np.where(closer, shades[stone], tone)
    # Half the difference of the two distances is about the way to the joint between two stones.
    inside = np.clip((second - nearest) * 0.5 * stone_across / joint, 0, 1)
    return np.asarray(0.8 + (tone - 0.78) * inside)


def tint(ground: Ground, brightness: FloatArray) -> FloatArray:
    """Return the ground's colour at a brightness ``h w``; ``3 h w``."""
    return np.asarray(ground.colour)[:, None, None] * brightness


GROUNDS = {
    "asphalt": Kind(_asphalt, (0.55, 0.02, 0.30), (0.70, 0.12, 0.52)),
    "grass": Kind(_grass, (0.20, 0.45, 0.36), (0.33, 0.70, 0.62)),
    "sand": Kind(_sand, (0.08, 0.22, 0.66), (0.13, 0.42, 0.88)),
    "paving": Kind(_paving, (0.00, 0.08, 0.46), (0.09, 0.38, 0.72)),
}
