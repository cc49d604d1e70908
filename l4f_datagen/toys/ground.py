"""Stationary ground textures of the toy scenes: filtered noise, and stones on a jittered lattice.

With its trunk muted a StyleGAN2 can only draw texture whose statistics are the same everywhere.
So nothing here depends on the position in the image: noise is filtered in the Fourier domain
(periodic, hence shift-invariant), and stones have a random phase and direction.

Amplitudes were chosen by eye, so that grounds look natural and stay quieter than the objects.
"""

import colorsys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.toys.shapes import FRAME, Colour, turned

FloatArray = NDArray[np.float64]
Response = Callable[[FloatArray, FloatArray], FloatArray]
"""Gain of a filter at frequencies (fy, fx), in cycles per scene unit."""


@dataclass(frozen=True)
class Ground:
    """What a ground looks like, apart from its noise."""

    name: str  # a key of ``GROUNDS`` or ``WATERS``
    colour: Colour  # mean RGB in [0, 1]
    angle: float  # direction of blades, ripples or rows, radians
    grain: float  # size of the grain relative to its usual size, about 1


class GroundKind(NamedTuple):
    """What renders one kind of ground, RGB ``3 size size``, and the range of its colour in HSV."""

    render: Callable[[Ground, np.random.Generator, int], FloatArray]
    lowest: Colour
    highest: Colour


def draw_ground(rng: np.random.Generator, kinds: Mapping[str, GroundKind]) -> Ground:
    """Draw one of the kinds, all equally likely, with its colour and direction."""
    name = list(kinds)[int(rng.integers(len(kinds)))]
    hue, saturation, value = rng.uniform(kinds[name].lowest, kinds[name].highest)
    colour = colorsys.hsv_to_rgb(hue, saturation, value)
    return Ground(name, colour, float(rng.uniform(0, np.pi)), float(rng.uniform(0.85, 1.2)))


def noise(rng: np.random.Generator, size: int, response: Response) -> FloatArray:
    """Filter white noise periodically to mean 0 and variance 1; ``size size``."""
    cycles = np.asarray(np.fft.fftfreq(size, d=FRAME / size), np.float64)
    gain = response(cycles[:, None], cycles[None, :])
    gain[0, 0] = 0.0
    spectrum = np.fft.fft2(rng.standard_normal((size, size))) * gain
    return np.asarray(np.fft.ifft2(spectrum).real / np.sqrt(np.mean(gain * gain)))


def blobs(sigma: float) -> Response:
    """Gaussian blur of ``sigma`` units."""
    return lambda fy, fx: np.exp(-2 * (np.pi * sigma) ** 2 * (fx * fx + fy * fy))


def streaks(angle: float, along: float, across: float) -> Response:
    """Gaussian blur, longer ``along`` the angle than ``across`` it; in units."""

    def response(fy: FloatArray, fx: FloatArray) -> FloatArray:
        f_along, f_across = turned(angle, fx, fy)
        exponent = -2 * np.pi**2 * ((along * f_along) ** 2 + (across * f_across) ** 2)
        return np.asarray(np.exp(exponent))

    return response


def ripples(angle: float, wavelength: float) -> Response:
    """Narrow band around one wave vector: waves that fork and end like ripples in sand."""

    def response(fy: FloatArray, fx: FloatArray) -> FloatArray:
        f_along, f_across = turned(angle, fx, fy)
        off_band = (np.abs(f_along) - 1 / wavelength) * wavelength / 0.22
        off_axis = f_across * wavelength / 0.25
        return np.asarray(np.exp(-0.5 * (off_band**2 + off_axis**2)))

    return response


def tint(ground: Ground, brightness: FloatArray) -> FloatArray:
    """Multiply the ground's colour by a brightness ``h w``; ``3 h w``."""
    return np.asarray(ground.colour)[:, None, None] * brightness


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
    return tint(ground, 1 + 0.055 * waves + 0.045 * noise(rng, size, blobs(0.45)))


def _pond(ground: Ground, rng: np.random.Generator, size: int) -> FloatArray:
    swell = noise(rng, size, ripples(ground.angle, 11.0 * ground.grain))
    glitter = noise(rng, size, blobs(0.7 * ground.grain))
    return tint(ground, 1 + 0.09 * swell + 0.035 * glitter + 0.06 * noise(rng, size, blobs(4.5)))


def _shallows(ground: Ground, rng: np.random.Generator, size: int) -> FloatArray:
    # A wavy surface focuses light into bright lines: where a noise crosses zero.
    first, second = (noise(rng, size, blobs(2.6 * ground.grain)) for _ in range(2))
    caustics = np.exp(-4.5 * np.abs(first)) + np.exp(-4.5 * np.abs(second))
    # 0.37 is the mean of their sum.
    lit = 0.97 + 0.20 * (caustics - 0.37)
    return tint(ground, lit + 0.03 * noise(rng, size, blobs(0.5)))


def _plaster(ground: Ground, rng: np.random.Generator, size: int) -> FloatArray:
    relief = noise(rng, size, blobs(0.9 * ground.grain))
    return tint(ground, 1 + 0.05 * relief + 0.05 * noise(rng, size, blobs(6.0)))


def _curtain(ground: Ground, rng: np.random.Generator, size: int) -> FloatArray:
    folds = noise(rng, size, ripples(ground.angle, 9.0 * ground.grain))
    return tint(ground, 1 + 0.13 * folds + 0.03 * noise(rng, size, blobs(0.5)))


def _foliage(ground: Ground, rng: np.random.Generator, size: int) -> FloatArray:
    leaves = noise(rng, size, blobs(1.7 * ground.grain))
    glints = np.clip(noise(rng, size, blobs(1.2 * ground.grain)) - 1.2, 0, None)
    return tint(ground, 1 + 0.16 * leaves + 0.22 * glints)


def _stones(ground: Ground, rng: np.random.Generator, size: int, **measures: float) -> FloatArray:
    stones = stone_brightness(ground, rng, size, **measures)
    return tint(ground, stones + 0.03 * noise(rng, size, blobs(0.5)))


_paving = partial(_stones, across=5.0, joint=1.1, aspect=1.3, jitter=0.2, tones=0.07)
_pebbles = partial(_stones, across=4.2, joint=1.5, aspect=1.1, jitter=0.34, tones=0.12)


def stone_brightness(
    ground: Ground,
    rng: np.random.Generator,
    size: int,
    *,
    across: float,  # width of a row, scene units
    joint: float,  # width of the dark joint between two stones, scene units
    aspect: float,  # length of a stone divided by its width
    jitter: float,  # largest shift of a centre, as a share of a stone
    tones: float,  # standard deviation of the stones' brightness
) -> FloatArray:
    """Return the brightness ``size size`` of stones in rows, about 1 on a stone.

    The ground's ``grain`` scales the stones, its ``angle`` turns the rows.
    """
    stone_across, rows = across * ground.grain, 32
    offsets = rng.uniform(-jitter, jitter, (2, rows, rows))
    shades = 1 + tones * rng.standard_normal((rows, rows))
    phase = rng.uniform(0, rows, 2)

    at = (np.arange(size) + 0.5) * (FRAME / size)
    along, down = turned(ground.angle, at[None, :], at[:, None])
    x, y = along / (stone_across * aspect) + phase[0], down / stone_across + phase[1]
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
    # Half the difference of the two distances is about the distance to the joint.
    inside = np.clip((second - nearest) * 0.5 * stone_across / joint, 0, 1)
    return np.asarray(0.8 + (tone - 0.78) * inside)


GROUNDS = {
    "asphalt": GroundKind(_asphalt, (0.55, 0.02, 0.30), (0.70, 0.12, 0.52)),
    "grass": GroundKind(_grass, (0.20, 0.45, 0.36), (0.33, 0.70, 0.62)),
    "sand": GroundKind(_sand, (0.08, 0.22, 0.66), (0.13, 0.42, 0.88)),
    "paving": GroundKind(_paving, (0.00, 0.08, 0.46), (0.09, 0.38, 0.72)),
}
"""Of toy-cars."""

WATERS = {
    "pond": GroundKind(_pond, (0.40, 0.30, 0.26), (0.55, 0.60, 0.46)),
    "shallows": GroundKind(_shallows, (0.47, 0.35, 0.62), (0.54, 0.62, 0.82)),
    "pebbles": GroundKind(_pebbles, (0.42, 0.08, 0.42), (0.60, 0.26, 0.62)),
}
"""Of toy-fish: blue to green, as no ground of toy-cars is."""

WALLS = {
    "plaster": GroundKind(_plaster, (0.08, 0.04, 0.66), (0.17, 0.22, 0.90)),
    "curtain": GroundKind(_curtain, (0.72, 0.35, 0.30), (0.98, 0.65, 0.58)),
    "foliage": GroundKind(_foliage, (0.24, 0.35, 0.28), (0.40, 0.60, 0.50)),
}
"""Of toy-portraits."""
