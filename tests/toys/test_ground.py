import colorsys

import numpy as np
import pytest

from l4f_datagen.toys.ground import GROUNDS, Ground, draw_ground, lay_stones, tint
from l4f_datagen.toys.water import WATERS

KINDS = GROUNDS | WATERS
TILES = ["asphalt", "grass", "sand", "pond", "shallows"]
"""Kinds made of noise alone, which is periodic; stones are not."""


def make_ground(name: str, angle: float = 0.4) -> Ground:
    return Ground(name=name, colour=(0.5, 0.5, 0.5), angle=angle, grain=1.0)


def lay(ground: Ground, rng: np.random.Generator, size: int = 64) -> np.ndarray:
    return KINDS[ground.name].lay(ground, rng, size)


def lay_many(name: str, count: int) -> np.ndarray:
    """``count h w`` brightness, each with its own direction and noise."""
    rng = np.random.default_rng(7)
    grounds = [make_ground(name, rng.uniform(0, np.pi)) for _ in range(count)]
    return np.stack([lay(ground, rng).mean(axis=0) for ground in grounds])


def test_no_name_stands_for_two_kinds():
    assert len(KINDS) == len(GROUNDS) + len(WATERS) == 7


@pytest.mark.parametrize("kinds", [GROUNDS, WATERS])
def test_every_kind_is_drawn_as_often_and_within_its_colours(kinds):
    rng = np.random.default_rng(0)
    drawn = [draw_ground(rng, kinds) for _ in range(100 * len(kinds))]
    for name, kind in kinds.items():
        grounds = [ground for ground in drawn if ground.name == name]
        assert 60 < len(grounds) < 140  # 100 expected, standard deviation 8.7 at most
        hsv = np.array([colorsys.rgb_to_hsv(*ground.colour) for ground in grounds])
        lowest, highest = np.array(kind.lowest), np.array(kind.highest)
        assert (hsv >= lowest - 1e-6).all()
        assert (hsv <= highest + 1e-6).all()
        assert (np.ptp(hsv, axis=0) > 0.8 * (highest - lowest)).all()
        assert np.ptp([ground.angle for ground in grounds]) > 0.9 * np.pi
        assert 0.85 <= min(ground.grain for ground in grounds) < 0.9
        assert 1.15 < max(ground.grain for ground in grounds) <= 1.2


@pytest.mark.parametrize("name", KINDS)
def test_quadrants_and_border_have_the_statistics_of_the_whole(name):
    brightness = lay_many(name, 200)
    mean, deviation = brightness.mean(), brightness.std()
    steps = np.abs(np.diff(brightness, axis=1)).mean()
    places = {
        "top left": (slice(0, 32), slice(0, 32)),
        "top right": (slice(0, 32), slice(32, 64)),
        "bottom left": (slice(32, 64), slice(0, 32)),
        "bottom right": (slice(32, 64), slice(32, 64)),
        "top edge": (slice(0, 4), slice(0, 64)),
        "left edge": (slice(0, 64), slice(0, 4)),
    }
    for place, (rows, columns) in places.items():
        part = brightness[:, rows, columns]
        assert part.mean() == pytest.approx(mean, abs=0.1 * deviation), place
        assert part.std() == pytest.approx(deviation, rel=0.1), place
        assert np.abs(np.diff(part, axis=1)).mean() == pytest.approx(steps, rel=0.1), place


@pytest.mark.parametrize("name", TILES)
def test_noise_tiles_without_a_seam(name):
    brightness = lay_many(name, 100)
    inside = np.abs(np.diff(brightness, axis=2)).mean()
    seam = np.abs(brightness[:, :, 0] - brightness[:, :, -1]).mean()
    assert seam == pytest.approx(inside, rel=0.1)


@pytest.mark.parametrize("name", KINDS)
def test_no_line_crosses_the_picture(name):
    # A line that runs through would make the mean of its row or column stand out from the rest.
    ground = make_ground(name, 0.0)
    brightness = np.stack(
        [lay(ground, np.random.default_rng(seed)).mean(axis=0) for seed in range(40)]
    )
    for axis in (1, 2):
        lines = brightness.mean(axis=axis)
        spread = np.ptp(lines, axis=1) / brightness.std(axis=(1, 2))
        assert spread.max() < 4, axis


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("size", [32, 64, 256])
def test_grain_is_moderate_and_the_colour_is_the_drawn_one(name, size):
    ground = Ground(name=name, colour=(0.6, 0.4, 0.3), angle=1.0, grain=1.0)
    laid = lay(ground, np.random.default_rng(3), size)
    assert laid.shape == (3, size, size)
    assert laid.mean(axis=(1, 2)) == pytest.approx(ground.colour, rel=0.12)
    assert 0.02 < laid.mean(axis=0).std() < 0.12


@pytest.mark.parametrize("name", KINDS)
def test_same_stream_same_ground(name):
    first, again = (lay(make_ground(name), np.random.default_rng(0)) for _ in "ab")
    np.testing.assert_array_equal(first, again)
    other = lay(make_ground(name), np.random.default_rng(1))
    assert np.abs(first - other).mean() > 0.01


def test_tint_scales_the_colour():
    laid = tint(Ground("sand", (0.8, 0.6, 0.2), 0.0, 1.0), np.array([[1.0, 0.5]]))
    np.testing.assert_allclose(laid, [[[0.8, 0.4]], [[0.6, 0.3]], [[0.2, 0.1]]])


class TestStones:
    def lay(self, **changes):
        asked = {"across": 8.0, "joint": 1.0, "aspect": 1.5, "jitter": 0.0, "tones": 0.0}
        ground = Ground("paving", (0.5, 0.5, 0.5), 0.0, changes.pop("grain", 1.0))
        rng = np.random.default_rng(changes.pop("seed", 4))
        return lay_stones(ground, rng, 256, **(asked | changes))

    def test_without_jitter_they_repeat_like_a_brick_wall(self):
        wall = self.lay()
        # A stone is 12 units (48 px) long, a row 8 units (32 px) high and shifted by half a stone.
        np.testing.assert_allclose(wall[:, 48:], wall[:, :-48], atol=1e-9)
        np.testing.assert_allclose(wall[64:], wall[:-64], atol=1e-9)
        np.testing.assert_allclose(wall[32:, 24:], wall[:-32, :-24], atol=1e-9)
        assert np.abs(wall[32:] - wall[:-32]).max() > 0.15

    def test_brightness_is_that_of_joint_and_stone(self):
        wall = self.lay()
        assert wall.min() == pytest.approx(0.8, abs=0.02)
        assert wall.max() == pytest.approx(1.02)
        assert self.lay(joint=2.0).mean() < wall.mean()

    def test_grain_scales_them(self):
        wall = self.lay(grain=0.5)
        np.testing.assert_allclose(wall[:, 24:], wall[:, :-24], atol=1e-9)

    def test_tones_and_jitter_make_them_differ(self):
        tops = np.unique(np.round(self.lay(tones=0.1), 6)[self.lay() > 1.0199])
        assert len(tops) > 20
        assert tops.std() > 0.04
        jittered = self.lay(jitter=0.3)
        assert np.abs(jittered[64:] - jittered[:-64]).max() > 0.15
