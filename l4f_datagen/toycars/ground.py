"""Stationary ground textures: asphalt, grass, sand, paving.

With the trunk muted a StyleGAN2 can only make texture whose statistics are the same everywhere, so
nothing here depends on the place in the picture: noise is filtered in the Fourier domain (periodic,
hence shift-invariant) and the paving is a jittered lattice with random phase and rotation.
"""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FRAME = 64.0
"""Side of the frame in scene units: one unit is one pixel of a 64 px render."""

FloatArray = NDArray[np.float64]
Colour = tuple[float, float, float]
Response = Callable[[FloatArray, FloatArray], FloatArray]


@dataclass(frozen=True)
class Ground:
    """What a ground looks like, apart from its noise.

    Attributes:
        name: a key of ``GROUNDS``.
        colour: mean RGB in [0, 1].
        angle: direction of blades, ripples or courses, radians.
        grain: size of the grain relative to its usual size, about 1.
    """

    name: str
    colour: Colour
    angle: float
    grain: float


def draw_ground(rng: np.random.Generator) -> Ground:
    """Draw one of the grounds, all equally likely, with its colour and direction."""
    name = list(GROUNDS)[int(rng.integers(len(GROUNDS)))]
    lowest, highest = HSV_RANGES[name]
    hue, saturation, value = rng.uniform(lowest, highest)
    return Ground(
        name=name,
        colour=colorsys.hsv_to_rgb(hue, saturation, value),
        angle=float(rng.uniform(0, np.pi)),
        grain=float(rng.uniform(0.85, 1.2)),
    )


def lay_ground(ground: Ground, rng: np.random.Generator, size: int) -> FloatArray:
    """Render a ground: ``3 size size``, RGB about [0, 1] (the caller clamps)."""
    return GROUNDS[ground.name](ground, rng, size)


def _asphalt(ground: Ground, rng: np.random.Generator, size: int) -> FloatArray:
    speckle = _noise(rng, size, _blobs(0.42 * ground.grain))
    stones = np.clip(_noise(rng, size, _blobs(0.6 * ground.grain)) - 1.3, 0, None)
    patches = _noise(rng, size, _blobs(5.0))
    return _tint(ground, 0.97 + 0.09 * speckle + 0.22 * stones + 0.04 * patches)


def _grass(ground: Ground, rng: np.random.Generator, size: int) -> FloatArray:
    blades = np.maximum(
        _noise(rng, size, _streaks(ground.angle, 1.7 * ground.grain, 0.45)),
        _noise(rng, size, _streaks(ground.angle + 0.9, 1.7 * ground.grain, 0.45)),
    )
    patches = _noise(rng, size, _blobs(4.0))
    # 0.56 is the mean of the larger of two standard normals.
    lawn = _tint(ground, 1 + 0.17 * (blades - 0.56) + 0.04 * patches)
    lawn[0] += 0.02 * patches  # dry patches turn yellow
    return lawn


def _sand(ground: Ground, rng: np.random.Generator, size: int) -> FloatArray:
    ripples = _noise(rng, size, _ripples(ground.angle, 7.0 * ground.grain))
    grains = _noise(rng, size, _blobs(0.45))
    return _tint(ground, 1 + 0.055 * ripples + 0.045 * grains)


def _paving(ground: Ground, rng: np.random.Generator, size: int) -> FloatArray:
    stone_across, joint, rows = 5.0 * ground.grain, 1.1, 32
    aspect = 1.3
    jitter = rng.uniform(-0.2, 0.2, (2, rows, rows))
    tones = 1 + 0.07 * rng.standard_normal((rows, rows))
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
            dx = (col + 0.5 + shift + jitter[0][stone] - x) * aspect
            dy = row + 0.5 + jitter[1][stone] - y
            distance = np.sqrt(dx * dx + dy * dy)
            closer = distance < nearest
            second = np.where(closer, nearest, np.minimum(second, distance))
            nearest = np.where(closer, distance, nearest)
            tone = np.where(closer, tones[stone], tone)
    # Half the difference of the two distances is about the way to the joint between two stones.
    inside = np.clip((second - nearest) * 0.5 * stone_across / joint, 0, 1)
    grains = _noise(rng, size, _blobs(0.5))
    return _tint(ground, 0.8 + (tone - 0.78) * inside + 0.03 * grains)


def _tint(ground: Ground, brightness: FloatArray) -> FloatArray:
    return np.asarray(ground.colour)[:, None, None] * brightness


def _noise(rng: np.random.Generator, size: int, response: Response) -> FloatArray:
    """Filter white noise periodically to zero mean and unit variance; ``size size``."""
    cycles = np.asarray(np.fft.fftfreq(size, d=FRAME / size), np.float64)
    gain = response(cycles[:, None], cycles[None, :])
    gain[0, 0] = 0.0
    spectrum = np.fft.fft2(rng.standard_normal((size, size))) * gain
    filtered: FloatArray = np.fft.ifft2(spectrum).real / np.sqrt(np.mean(gain * gain))
    return filtered


def _blobs(sigma: float) -> Response:
    """Gaussian blur of ``sigma`` units."""
    return lambda fy, fx: np.exp(-2 * (np.pi * sigma) ** 2 * (fx * fx + fy * fy))


def _streaks(angle: float, along: float, across: float) -> Response:
    """Gaussian blur longer ``along`` the angle than ``across`` it."""

    def response(fy: FloatArray, fx: FloatArray) -> FloatArray:
        f_along = np.cos(angle) * fx + np.sin(angle) * fy
        f_across = np.cos(angle) * fy - np.sin(angle) * fx
        exponent = -2 * np.pi**2 * ((along * f_along) ** 2 + (across * f_across) ** 2)
        return np.asarray(np.exp(exponent))

    return response


def _ripples(angle: float, wavelength: float) -> Response:
    """Narrow band around one wave vector: waves that fork and end as wind ripples do."""

    def response(fy: FloatArray, fx: FloatArray) -> FloatArray:
        f_along = np.cos(angle) * fx + np.sin(angle) * fy
        f_across = np.cos(angle) * fy - np.sin(angle) * fx
        off_band = (np.abs(f_along) - 1 / wavelength) * wavelength / 0.22
        off_axis = f_across * wavelength / 0.25
        return np.asarray(np.exp(-0.5 * (off_band**2 + off_axis**2)))

    return response


GROUNDS: dict[str, Callable[[Ground, np.random.Generator, int], FloatArray]] = {
    "asphalt": _asphalt,
    "grass": _grass,
    "sand": _sand,
    "paving": _paving,
}

HSV_RANGES: dict[str, tuple[Colour, Colour]] = {
    "asphalt": ((0.55, 0.02, 0.30), (0.70, 0.12, 0.52)),
    "grass": ((0.20, 0.45, 0.36), (0.33, 0.70, 0.62)),
    "sand": ((0.08, 0.22, 0.66), (0.13, 0.42, 0.88)),
    "paving": ((0.00, 0.08, 0.46), (0.09, 0.38, 0.72)),
}
