import numpy as np
import pytest

from l4f_datagen.toys.ground import GROUNDS, HSV_RANGES, Ground, draw_ground, lay_ground


def make_ground(name: str, angle: float = 0.4) -> Ground:
    return Ground(name=name, colour=(0.5, 0.5, 0.5), angle=angle, grain=1.0)


def lay_many(name: str, count: int, size: int = 64) -> np.ndarray:
    """``count h w`` brightness, each with its own direction and noise."""
    rng = np.random.default_rng(7)
    return np.stack(
        [
            lay_ground(make_ground(name, rng.uniform(0, np.pi)), rng, size).mean(axis=0)
            for _ in range(count)
        ]
    )


def test_every_ground_has_a_colour_range_and_is_drawn():
    assert GROUNDS.keys() == HSV_RANGES.keys()
    rng = np.random.default_rng(0)
    drawn = [draw_ground(rng) for _ in range(400)]
    for name in GROUNDS:
        colours = [ground.colour for ground in drawn if ground.name == name]
        assert 60 < len(colours) < 140  # 100 expected, standard deviation 8.7
        assert np.std(colours, axis=0).max() > 0.02


@pytest.mark.parametrize("name", GROUNDS)
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


@pytest.mark.parametrize("name", ["asphalt", "grass", "sand"])
def test_noise_grounds_tile_without_a_seam(name):
    brightness = lay_many(name, 100)
    inside = np.abs(np.diff(brightness, axis=2)).mean()
    seam = np.abs(brightness[:, :, 0] - brightness[:, :, -1]).mean()
    assert seam == pytest.approx(inside, rel=0.1)


def test_no_line_crosses_the_picture():
    # A line that runs through would make the mean of its row or column stand out from the rest.
    for name in GROUNDS:
        brightness = np.stack(
            [
                lay_ground(make_ground(name, 0.0), np.random.default_rng(seed), 64).mean(axis=0)
                for seed in range(40)
            ]
        )
        for axis in (1, 2):
            lines = brightness.mean(axis=axis)
            spread = np.ptp(lines, axis=1) / brightness.std(axis=(1, 2))
            assert spread.max() < 4, (name, axis)


@pytest.mark.parametrize("name", GROUNDS)
@pytest.mark.parametrize("size", [32, 64, 256])
def test_grain_is_moderate_and_the_colour_is_the_drawn_one(name, size):
    ground = Ground(name=name, colour=(0.6, 0.4, 0.3), angle=1.0, grain=1.0)
    laid = lay_ground(ground, np.random.default_rng(3), size)
    assert laid.shape == (3, size, size)
    assert laid.mean(axis=(1, 2)) == pytest.approx(ground.colour, rel=0.12)
    assert 0.02 < laid.mean(axis=0).std() < 0.12


def test_same_stream_same_ground():
    first, again = (lay_ground(make_ground("paving"), np.random.default_rng(0), 64) for _ in "ab")
    np.testing.assert_array_equal(first, again)
    other = lay_ground(make_ground("paving"), np.random.default_rng(1), 64)
    assert np.abs(first - other).mean() > 0.01
