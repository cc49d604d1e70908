import numpy as np
import pytest
from numpy.fft import fft2, fftfreq
from scipy import ndimage

from l4f_datagen.toys.texture import FRAME, blobs, noise, ripples, streaks

RESPONSES = {
    "blobs": blobs(1.5),
    "streaks": streaks(0.6, 3.0, 0.8),
    "ripples": ripples(0.6, 8.0),
}


def fields(response, count: int = 60, size: int = 64) -> np.ndarray:
    rng = np.random.default_rng(11)
    return np.stack([noise(rng, size, response) for _ in range(count)])


@pytest.mark.parametrize("name", RESPONSES)
@pytest.mark.parametrize("size", [32, 64, 128])
def test_zero_mean_and_unit_variance_at_every_size(name, size):
    found = fields(RESPONSES[name], size=size)
    assert found.shape == (60, size, size)
    np.testing.assert_allclose(found.mean(axis=(1, 2)), 0, atol=1e-12)
    assert found.var() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", RESPONSES)
def test_is_periodic_and_the_same_everywhere(name):
    found = fields(RESPONSES[name])
    deviation = found.std(axis=0)
    assert np.abs(deviation - 1).max() < 0.45  # of 60 draws: 0.09 of spread at each pixel
    for axis in (1, 2):
        inside = np.abs(np.diff(found, axis=axis)).mean()
        seam = np.abs(found.take(0, axis) - found.take(-1, axis)).mean()
        assert seam == pytest.approx(inside, rel=0.12)


def test_blobs_are_a_gaussian_blur_of_white_noise():
    white = np.random.default_rng(3).standard_normal((64, 64))
    blurred = ndimage.gaussian_filter(white, 1.5, mode="wrap", truncate=8)
    blurred -= blurred.mean()
    found = noise(np.random.default_rng(3), 64, blobs(1.5))
    # The same field but for the scale, which comes from the response and not from the draw.
    assert np.corrcoef(found.ravel(), blurred.ravel())[0, 1] > 0.9999


def test_the_length_of_a_blob_is_in_scene_units():
    def step(size: int) -> float:
        found = fields(blobs(2.0), 30, size)
        apart = size // 32  # two scene units
        return float(np.mean((found - np.roll(found, apart, axis=1)) ** 2))

    expected = 2 * (1 - np.exp(-((2.0 / 2.0) ** 2) / 4))
    assert [step(size) for size in (32, 64, 128)] == pytest.approx([expected] * 3, rel=0.08)


def test_streaks_run_along_their_angle():
    for angle in (0.0, 0.7, np.pi / 2):
        found = fields(streaks(angle, 3.0, 0.7), 20)
        rows, columns = np.gradient(found, axis=(1, 2))
        along = np.cos(angle) * columns + np.sin(angle) * rows
        across = np.cos(angle) * rows - np.sin(angle) * columns
        assert (across**2).mean() > 5 * (along**2).mean()


@pytest.mark.parametrize("angle", [0.0, 0.9])
def test_ripples_have_their_wavelength_and_direction(angle):
    power = (np.abs(fft2(fields(ripples(angle, 8.0)))) ** 2).mean(axis=0)
    cycles = fftfreq(64, d=FRAME / 64)
    fy, fx = np.meshgrid(cycles, cycles, indexing="ij")
    share = power / power.sum()
    assert (share * np.hypot(fy, fx)).sum() == pytest.approx(1 / 8, rel=0.06)
    # Second moments: a wave vector and its opposite are the same ripple.
    axis = 0.5 * np.arctan2(2 * (share * fx * fy).sum(), (share * (fx**2 - fy**2)).sum())
    assert axis == pytest.approx(angle, abs=0.05)


def test_the_stream_decides():
    first, again = (noise(np.random.default_rng(5), 32, blobs(1.0)) for _ in "ab")
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - noise(np.random.default_rng(6), 32, blobs(1.0))).mean() > 0.5
