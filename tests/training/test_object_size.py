import numpy as np
import pytest
import torch

from l4f_datagen.training.balance import HIGHEST_PENALTY, LossBalance, area_penalty
from l4f_datagen.training.object_size import (
    MIN_SHARE,
    CoverageRange,
    close_and_fill,
    estimate_coverage,
    estimated_range,
    otsu_threshold,
)


def brute_force_otsu(values, edges):
    best, place = -1.0, None
    for edge in edges:
        low, high = values[values <= edge], values[values > edge]
        if len(low) and len(high):
            between = len(low) * len(high) * (low.mean() - high.mean()) ** 2
            if between > best:
                best, place = between, edge
    return place


def test_otsu_parts_two_heaps():
    stream = np.random.RandomState(0)
    values = np.concatenate([stream.normal(0, 1, 900), stream.normal(10, 1, 100)])
    threshold = otsu_threshold(values)
    assert (values > threshold).mean() == pytest.approx(0.1, abs=0.002)
    edges = np.histogram(values, 256)[1][1:-1]
    by_hand = brute_force_otsu(values, edges)
    assert (values > threshold).sum() == pytest.approx((values > by_hand).sum(), abs=2)


def test_one_value_alone_has_no_upper_heap():
    assert (np.full(10, 3.0) > otsu_threshold(np.full(10, 3.0))).mean() in (0.0, 1.0)


class Painter:
    """Stands in for synthesis: a bright square of known share, gone when muted."""

    def __init__(self, share):
        self.share = share

    def __call__(self, ws, noise, mute=None):
        image = 0.05 * noise[-1].expand(-1, 3, -1, -1).clone()
        rows = round(self.share * 16)
        if mute is None:
            image[:, :, :rows] += 1.0
        return type("Synthesis", (), {"image": image})


@pytest.mark.parametrize("share", [0.125, 0.25, 0.5])
def test_a_square_of_known_size(make_generator, make_part, share):
    generator = make_generator()
    generator.synthesis.forward = Painter(share)
    assert estimate_coverage(make_part(), generator) == pytest.approx(share, abs=0.01)


def test_windows_are_filled_and_gaps_closed():
    mask = np.zeros((64, 64), bool)
    mask[10:40, 10:40] = True
    whole = mask.copy()
    mask[15:25, 15:25] = False  # a window
    mask[30:32, :] = False  # a line as of a road seen between bonnet and cabin
    assert (close_and_fill(mask) == whole).mean() > 0.998
    edge = np.zeros((32, 32), bool)
    edge[:8] = True
    assert (close_and_fill(edge) == edge).all()


def test_is_a_function_of_the_generator_alone(make_generator, make_part):
    torch.manual_seed(1)
    first = estimate_coverage(make_part(), make_generator())
    torch.manual_seed(2)
    assert estimate_coverage(make_part(), make_generator()) == first
    assert 0 < first < 1


def test_limits_lies_around_the_share_unless_the_recipe_says(make_generator, make_part):
    generator = make_generator()
    generator.synthesis.forward = Painter(0.25)
    limits = estimated_range(make_part(), generator)
    assert (limits.lower, limits.upper) == pytest.approx((0.1, 0.5), abs=0.01)
    assert limits.share == pytest.approx(0.25, abs=0.01)
    told = make_part(min_fg_coverage=0.1, min_bg_coverage=0.3)
    assert estimated_range(told, generator) == CoverageRange(0.1, 0.7, limits.share)
    half = estimated_range(make_part(min_bg_coverage=0.3), generator)
    assert (half.lower, half.upper) == (limits.lower, 0.7)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"min_fg_coverage": 0.6}, (0.6, 0.6, 0.6)),
        ({"min_bg_coverage": 0.95}, (0.05, 0.05, 0.05)),
        ({"min_bg_coverage": 1.0}, (0.0, 0.0, MIN_SHARE)),
    ],
)
def test_limits_of_the_recipe_hold_and_never_cross(make_generator, make_part, limits, expected):
    generator = make_generator()
    generator.synthesis.forward = Painter(0.25)
    limits = estimated_range(make_part(**limits), generator)
    assert (limits.lower, limits.upper, limits.share) == pytest.approx(expected)
    assert area_penalty(LossBalance(1.0, 0.9), limits) == HIGHEST_PENALTY


def test_limits_stays_within_reason(make_generator, make_part):
    generator = make_generator()
    generator.synthesis.forward = Painter(0.75)
    limits = estimated_range(make_part(), generator)
    assert limits.upper == 0.95
    assert 0.7 < limits.share <= 0.75
