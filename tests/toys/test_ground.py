import colorsys

import numpy as np
import pytest
from numpy.fft import fft2, fftfreq
from scipy import ndimage

from l4f_datagen.toys import ground as grounds
from l4f_datagen.toys.ground import GROUNDS, WALLS, WATERS, Ground, blobs, noise, ripples, streaks
from l4f_datagen.toys.shapes import FRAME

KINDS = GROUNDS | WATERS
every_kind = pytest.mark.parametrize("name", KINDS)


def make_ground(name: str, angle: float = 0.4) -> Ground:
    return Ground(name=name, colour=(0.5, 0.5, 0.5), angle=angle, grain=1.0)


def lay(ground: Ground, rng: np.random.Generator, size: int = 64) -> np.ndarray:
    return KINDS[ground.name].render(ground, rng, size)


def lay_many(name: str, count: int) -> np.ndarray:
    """``count h w`` brightness, each with its own direction and noise."""
    rng = np.random.default_rng(7)
    own = [make_ground(name, rng.uniform(0, np.pi)) for _ in range(count)]
    return np.stack([lay(ground, rng).mean(axis=0) for ground in own])


@pytest.mark.parametrize("kinds", [GROUNDS, WATERS, WALLS])
def test_every_kind_is_drawn_as_often_and_within_its_colours(kinds):
    rng = np.random.default_rng(0)
    drawn = [grounds.draw_ground(rng, kinds) for _ in range(100 * len(kinds))]
    for name, kind in kinds.items():
        own = [ground for ground in drawn if ground.name == name]
        assert 60 < len(own) < 140  # 100 expected, standard deviation 8.7 at most
        hsv = np.array([colorsys.rgb_to_hsv(*ground.colour) for ground in own])
        lowest, highest = np.array(kind.lowest), np.array(kind.highest)
        assert (hsv >= lowest - 1e-6).all()
        assert (hsv <= highest + 1e-6).all()
        assert (np.ptp(hsv, axis=0) > 0.8 * (highest - lowest)).all()
        assert np.ptp([ground.angle for ground in own]) > 0.9 * np.pi
        assert 0.85 <= min(ground.grain for ground in own) < 0.9
        assert 1.15 < max(ground.grain for ground in own) <= 1.2


@every_kind
def test_quadrants_and_border_have_the_statistics_of_the_whole(name):
    brightness = lay_many(name, 200)
    mean, deviation = brightness.mean(), brightness.std()
    steps = np.abs(np.diff(brightness, axis=1)).mean()
    low, high, whole, edge = slice(0, 32), slice(32, 64), slice(0, 64), slice(0, 4)
    quadrants = [(rows, columns) for rows in (low, high) for columns in (low, high)]
    for place in [*quadrants, (edge, whole), (whole, edge)]:
        part = brightness[:, *place]
        assert part.mean() == pytest.approx(mean, abs=0.1 * deviation), place
        assert part.std() == pytest.approx(deviation, rel=0.1), place
        assert np.abs(np.diff(part, axis=1)).mean() == pytest.approx(steps, rel=0.1), place


@every_kind
def test_no_line_crosses_the_image(name):
    # A line that runs through would make the mean of its row or column stand out from the rest.
    laid = [lay(make_ground(name, 0.0), np.random.default_rng(seed)) for seed in range(40)]
    brightness = np.stack(laid).mean(axis=1)
    for axis in (1, 2):
        spread = np.ptp(brightness.mean(axis=axis), axis=1) / brightness.std(axis=(1, 2))
        assert spread.max() < 4, axis


@every_kind
@pytest.mark.parametrize("size", [32, 64, 256])
def test_grain_is_moderate_and_the_colour_is_the_drawn_one(name, size):
    ground = Ground(name=name, colour=(0.6, 0.4, 0.3), angle=1.0, grain=1.0)
    laid = lay(ground, np.random.default_rng(3), size)
    assert laid.shape == (3, size, size)
    assert laid.mean(axis=(1, 2)) == pytest.approx(ground.colour, rel=0.12)
    assert 0.02 < laid.mean(axis=0).std() < 0.12


class TestStones:
    def lay(self, **changes):
        asked = {"across": 8.0, "joint": 1.0, "aspect": 1.5, "jitter": 0.0, "tones": 0.0}
        ground = Ground("paving", (0.5, 0.5, 0.5), 0.0, changes.pop("grain", 1.0))
        rng = np.random.default_rng(changes.pop("seed", 4))
        return grounds.stone_brightness(ground, rng, 256, **(asked | changes))

    def test_without_jitter_they_repeat_like_a_brick_wall(self):
        wall = self.lay()
        # A stone is 12 units (48 px) long, a row 8 units (32 px) high and shifted by half a stone.
        np.testing.assert_allclose(wall[:, 48:], wall[:, :-48], atol=1e-9)
        np.testing.assert_allclose(wall[64:], wall[:-64], atol=1e-9)
        np.testing.assert_allclose(wall[32:, 24:], wall[:-32, :-24], atol=1e-9)
        assert np.abs(wall[32:] - wall[:-32]).max() > 0.15

    def test_brightness_is_that_of_joint_and_stone_and_grain_scales_them(self):
        wall = self.lay()
        assert wall.min() == pytest.approx(0.8, abs=0.02)
        assert wall.max() == pytest.approx(1.02)
        assert self.lay(joint=2.0).mean() < wall.mean()
        small = self.lay(grain=0.5)
        np.testing.assert_allclose(small[:, 24:], small[:, :-24], atol=1e-9)

    def test_tones_and_jitter_make_them_differ(self):
        tops = np.unique(np.round(self.lay(tones=0.1), 6)[self.lay() > 1.0199])
        assert len(tops) > 20
        assert tops.std() > 0.04
        jittered = self.lay(jitter=0.3)
        assert np.abs(jittered[64:] - jittered[:-64]).max() > 0.15


RESPONSES = {"blobs": blobs(1.5), "streaks": streaks(0.6, 3.0, 0.8), "ripples": ripples(0.6, 8.0)}


def fields(response, count: int = 60, size: int = 64) -> np.ndarray:
    rng = np.random.default_rng(11)
    return np.stack([noise(rng, size, response) for _ in range(count)])


@pytest.mark.parametrize("name", RESPONSES)
@pytest.mark.parametrize("size", [32, 64, 128])
def test_noise_has_unit_variance_is_periodic_and_the_same_everywhere(name, size):
    found = fields(RESPONSES[name], size=size)
    assert found.shape == (60, size, size)
    np.testing.assert_allclose(found.mean(axis=(1, 2)), 0, atol=1e-12)
    assert found.var() == pytest.approx(1, abs=0.1)
    if size != 64:
        return
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
