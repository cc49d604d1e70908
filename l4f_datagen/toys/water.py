"""Waters of toy-fish: pond, shallows, pebbles. Stationary like the grounds of toy-cars."""

import numpy as np

from l4f_datagen.toys.ground import Ground, Kind, lay_stones, tint
from l4f_datagen.toys.texture import FloatArray, blobs, noise, ripples


def _pond(ground: Ground, rng: np.random.Generator, size: int) -> FloatArray:
    swell = noise(rng, size, ripples(ground.angle, 11.0 * ground.grain))
    glitter = noise(rng, size, blobs(0.7 * ground.grain))
    murk = noise(rng, size, blobs(4.5))
    return tint(ground, 1 + 0.09 * swell + 0.035 * glitter + 0.06 * murk)


def _shallows(ground: Ground, rng: np.random.Generator, size: int) -> FloatArray:
    # Light gathers where a wavy surface bends it together: bright lines where two noises cross.
    first, second = (noise(rng, size, blobs(2.6 * ground.grain)) for _ in range(2))
    caustics = np.exp(-4.5 * np.abs(first)) + np.exp(-4.5 * np.abs(second))
    grains = noise(rng, size, blobs(0.5))
    # 0.37 is the mean of the two together.
    return tint(ground, 0.97 + 0.20 * (caustics - 0.37) + 0.03 * grains)


def _pebbles(ground: Ground, rng: np.random.Generator, size: int) -> FloatArray:
    bed = lay_stones(ground, rng, size, across=4.2, joint=1.5, aspect=1.1, jitter=0.34, tones=0.12)
    return tint(ground, bed + 0.03 * noise(rng, size, blobs(0.5)))


WATERS = {
    "pond": Kind(_pond, (0.40, 0.30, 0.26), (0.55, 0.60, 0.46)),
    "shallows": Kind(_shallows, (0.47, 0.35, 0.62), (0.54, 0.62, 0.82)),
    "pebbles": Kind(_pebbles, (0.42, 0.08, 0.42), (0.60, 0.26, 0.62)),
}
