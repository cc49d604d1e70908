"""What is special to the waters; that they are stationary is checked in test_ground.py."""

import numpy as np
import pytest

from l4f_datagen.toys.ground import GROUNDS, Ground, draw_ground
from l4f_datagen.toys.water import WATERS


def lay(name: str, seed: int = 0, size: int = 64, angle: float = 0.0) -> np.ndarray:
    """``h w`` brightness about 1."""
    ground = Ground(name, (1.0, 1.0, 1.0), angle, 1.0)
    return WATERS[name].lay(ground, np.random.default_rng(seed), size)[0]


def test_waters_are_blue_to_green_as_no_ground_is():
    rng = np.random.default_rng(0)
    waters = np.array([draw_ground(rng, WATERS).colour for _ in range(200)])
    assert (waters.argmax(axis=1) > 0).all()  # red never leads
    for name in ("sand", "paving"):
        kind = {name: GROUNDS[name]}
        assert all(draw_ground(rng, kind).colour[0] > 0.4 for _ in range(20))


@pytest.mark.parametrize("name", ["pond", "shallows"])
def test_mean_brightness_is_that_of_the_colour(name):
    # Stones are darker by their joints; waves and caustics must not shift the colour.
    assert np.mean([lay(name, seed) for seed in range(60)]) == pytest.approx(1.0, abs=0.04)


def test_the_swell_of_a_pond_runs_along_its_direction():
    def share(axis: int, angle: float) -> float:
        """How much of the change lies along one axis, of wavelengths beyond 7 units."""
        low = []
        for seed in range(20):
            spectrum = np.abs(np.fft.rfft2(lay("pond", seed, angle=angle))) ** 2
            low.append((spectrum[5:8, :3].sum(), spectrum[:3, 5:8].sum()))
        rows, columns = np.sum(low, axis=0)
        return (rows, columns)[axis] / (rows + columns)

    assert share(1, 0.0) > 0.8
    assert share(0, np.pi / 2) > 0.8


def test_caustics_are_thin_bright_lines():
    brightness = np.stack([lay("shallows", seed, 128) for seed in range(20)])
    skew = ((brightness - brightness.mean()) ** 3).mean() / brightness.std() ** 3
    assert skew > 0.8
    noise = np.stack([lay("pond", seed, 128) for seed in range(20)])
    assert abs(((noise - noise.mean()) ** 3).mean() / noise.std() ** 3) < 0.3


def test_pebbles_have_dark_joints():
    brightness = np.stack([lay("pebbles", seed, 128) for seed in range(20)])
    dark = (brightness < 0.85).mean()
    assert 0.05 < dark < 0.5
    assert brightness[brightness > 0.85].std() > 0.05  # and differ among themselves
