"""Stationary noise: filtered in the Fourier domain, so periodic and the same everywhere."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FRAME = 64.0
"""Side of the frame in scene units: one unit is one pixel of a 64 px render."""

FloatArray = NDArray[np.float64]
Response = Callable[[FloatArray, FloatArray], FloatArray]


def noise(rng: np.random.Generator, size: int, response: Response) -> FloatArray:
    """Filter white noise periodically to zero mean and unit variance; ``size size``."""
    cycles = np.asarray(np.fft.fftfreq(size, d=FRAME / size), np.float64)
    gain = response(cycles[:, None], cycles[None, :])
    gain[0, 0] = 0.0
    spectrum = np.fft.fft2(rng.standard_normal((size, size))) * gain
    filtered: FloatArray = np.fft.ifft2(spectrum).real / np.sqrt(np.mean(gain * gain))
    return filtered


def blobs(sigma: float) -> Response:
    """Gaussian blur of ``sigma`` units."""
    return lambda fy, fx: np.exp(-2 * (np.pi * sigma) ** 2 * (fx * fx + fy * fy))


def streaks(angle: float, along: float, across: float) -> Response:
    """Gaussian blur longer ``along`` the angle than ``across`` it."""

    def response(fy: FloatArray, fx: FloatArray) -> FloatArray:
        f_along = np.cos(angle) * fx + np.sin(angle) * fy
        f_across = np.cos(angle) * fy - np.sin(angle) * fx
        exponent = -2 * np.pi**2 * ((along * f_along) ** 2 + (across * f_across) ** 2)
        return np.asarray(np.exp(exponent))

    return response


def ripples(angle: float, wavelength: float) -> Response:
    """Narrow band around one wave vector: waves that fork and end as wind ripples do."""

    def response(fy: FloatArray, fx: FloatArray) -> FloatArray:
        f_along = np.cos(angle) * fx + np.sin(angle) * fy
        f_across = np.cos(angle) * fy - np.sin(angle) * fx
        off_band = (np.abs(f_along) - 1 / wavelength) * wavelength / 0.22
        off_axis = f_across * wavelength / 0.25
        return np.asarray(np.exp(-0.5 * (off_band**2 + off_axis**2)))

    return response
