import numpy as np
import pytest
import torch
from skimage.filters import threshold_otsu

from l4f_datagen.training.losses import HIGHEST_PENALTY, UNCHANGED, LossBalance, weights_at
from l4f_datagen.training.object_size import (
    MIN_SHARE,
    close_and_fill,
    coverage_range,
    estimate_coverage,
    otsu_threshold,
)


def test_otsu_parts_two_heaps():
    stream = np.random.RandomState(0)
    values = np.concatenate([stream.normal(0, 1, 900), stream.normal(10, 1, 100)])
    found = (values > otsu_threshold(values)).sum()
    assert found == pytest.approx(100, abs=2)
    assert found == pytest.approx((values > threshold_otsu(values, nbins=256)).sum(), abs=2)


def test_one_value_alone_has_no_upper_heap():
    assert (np.full(10, 3.0) > otsu_threshold(np.full(10, 3.0))).mean() in (0.0, 1.0)


@pytest.fixture
def paint(make_generator):
    """A generator that draws a bright square of known share, gone when muted."""

    def make(share):
        generator = make_generator()

        def draw(ws, noise, mute=None):
            image = 0.05 * noise[-1].expand(-1, 3, -1, -1).clone()
            if mute is None:
                image[:, :, : round(share * 16)] += 1.0
            return type("Synthesis", (), {"image": image})

        generator.synthesis.forward = draw
        return generator

    return make


@pytest.mark.parametrize("share", [0.125, 0.25, 0.5])
def test_a_square_of_known_size(paint, make_part, share):
    assert estimate_coverage(make_part(), paint(share)) == pytest.approx(share, abs=0.01)


def test_windows_are_filled_and_gaps_closed():
    mask = np.zeros((64, 64), bool)
    mask[10:40, 10:40] = True
    whole = mask.copy()
    mask[15:25, 15:25] = False  # a window
    mask[30:32, :] = False  # a line as of a road seen between bonnet and cabin
    assert (close_and_fill(mask) == whole).mean() > 0.998
    edge = np.arange(32)[:, None] < np.full(32, 8)
    assert (close_and_fill(edge) == edge).all()


def test_is_a_function_of_the_generator_alone(make_generator, make_part):
    torch.manual_seed(1)
    first = estimate_coverage(make_part(), make_generator())
    torch.manual_seed(2)
    assert estimate_coverage(make_part(), make_generator()) == first
    assert 0 < first < 1


@pytest.mark.parametrize(
    ("share", "told", "expected"),
    [
        (0.25, {}, (0.1, 0.5, 0.25)),
        (0.75, {}, (0.3, 0.95, 0.75)),
        (0.25, {"min_fg_coverage": 0.1, "min_bg_coverage": 0.3}, (0.1, 0.7, 0.25)),
        (0.25, {"min_bg_coverage": 0.3}, (0.1, 0.7, 0.25)),
        (0.25, {"min_fg_coverage": 0.6}, (0.6, 0.6, 0.6)),
        (0.25, {"min_bg_coverage": 0.95}, (0.05, 0.05, 0.05)),
        (0.25, {"min_bg_coverage": 1.0}, (0.0, 0.0, MIN_SHARE)),
    ],
)
def test_limits_lie_around_the_share_unless_the_recipe_says_and_never_cross(
    paint, make_part, share, told, expected
):
    part = make_part(balance="auto", area_weight=1, **told)
    limits = coverage_range(part, paint(share))
    assert (limits.lower, limits.upper, limits.share) == pytest.approx(expected, abs=0.01)
    if told:
        assert limits.lower == told.get("min_fg_coverage", limits.lower)
        assert limits.upper == pytest.approx(1 - told.get("min_bg_coverage", 1 - limits.upper))
        weights = weights_at(part.training, limits, 0, LossBalance(1.0, 0.9), UNCHANGED)
        assert weights.area == HIGHEST_PENALTY
