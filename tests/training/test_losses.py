"""The loss terms, and their weights at a step."""

import numpy as np
import pytest
import torch

from l4f_datagen.recipe import AlphaPart, TrainingPart
from l4f_datagen.training import losses
from l4f_datagen.training.losses import (
    HIGHEST_PENALTY,
    TWO_SIDED_PULL,
    TWO_SIDED_WEIGHTS,
    UNCHANGED,
    LossBalance,
    RestartScales,
    learning_rate_share,
    next_balance,
    r1_gamma,
    weights_at,
)
from l4f_datagen.training.object_size import CoverageRange, coverage_range

MATTE = torch.tensor([[0.0, 0.1], [0.5, 0.8]]).reshape(1, 1, 2, 2)
"""Mean 0.35."""
WHITE, BLACK = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
LIMITS = CoverageRange(0.1, 0.5, share=0.25)


def test_composite():
    fg, bg = torch.full((1, 3, 2, 2), 0.8), torch.full((1, 3, 2, 2), -0.6)
    out = losses.composite(fg, bg, MATTE)
    expected = [0.8 * a - 0.6 * (1 - a) for a in (0.0, 0.1, 0.5, 0.8)]
    np.testing.assert_allclose(out[0].flatten(1).numpy(), [expected] * 3, rtol=1e-6)
    assert torch.equal(losses.composite(fg, bg, WHITE), fg)
    assert torch.equal(losses.composite(fg, bg, BLACK), bg)


def test_the_rest_is_the_image_with_background_in_the_objects_place():
    draw = np.random.RandomState(0)
    fg, bg = draw.uniform(-1, 1, (2, 2, 3, 4, 4))
    alpha = draw.uniform(0, 1, (2, 1, 4, 4))
    whole = alpha * bg + (1 - alpha) * fg
    expected = whole.reshape(2, 3, 2, 2, 2, 2).mean(axis=(3, 5))
    found = losses.rest_image(*(torch.from_numpy(part) for part in (fg, bg, alpha)))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_the_second_discriminator_sees_half_the_side_and_no_border():
    image = torch.ones(1, 3, 64, 64, requires_grad=True)
    seen = losses.seen_as_ground(image)
    assert seen.shape == (1, 3, 32, 32)
    assert (seen[..., 2:-2, 2:-2] == 1).all()
    assert float(seen.detach().sum()) == 3 * 28**2
    seen.sum().backward()
    assert not image.grad[..., :4].any()
    assert image.grad[..., 4:-4, 4:-4].all()


@pytest.mark.parametrize(
    ("minimum", "fg", "bg"),
    [(0.25, 0.0, 0.0), (0.35, 0.0, 0.0), (0.5, 0.15, 0.0), (0.75, 0.4, 0.1), (1.0, 0.65, 0.35)],
)
def test_coverage_hinges(minimum, fg, bg):
    assert losses.coverage_loss(MATTE, minimum).item() == pytest.approx(fg, abs=1e-6)
    assert losses.coverage_loss(1 - MATTE, minimum).item() == pytest.approx(bg, abs=1e-6)


def test_coverage_is_taken_sample_by_sample():
    both = torch.cat([WHITE, BLACK])  # mean 0.5, but one of them has no foreground
    assert losses.coverage_loss(both, 0.25).item() == pytest.approx(0.125)


def test_r1_and_its_gradient_by_finite_differences():
    torch.manual_seed(0)
    critic = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.Softplus(), torch.nn.Flatten(), torch.nn.Linear(36, 1)
    ).double()
    reals = torch.from_numpy(np.random.RandomState(0).randn(2, 3, 5, 5)).requires_grad_(True)

    def slope(values, place, function):
        """Central difference of a function when one value moves."""
        ends = []
        for move in (1e-5, -2e-5, 1e-5):
            with torch.no_grad():
                values[place] += move
            ends.append(function().item())
        return (ends[0] - ends[1]) / 2e-5

    def penalty():
        return losses.r1_penalty(critic(reals).squeeze(1), reals)

    places = list(np.ndindex(*reals.shape))
    by_hand = np.array([slope(reals, place, lambda: critic(reals).sum()) for place in places])
    expected = (by_hand.reshape(2, -1) ** 2).sum(axis=1).mean()
    assert expected > 0.01
    assert penalty().item() == pytest.approx(expected, rel=1e-7)
    penalty().backward()
    weight = critic[0].weight
    for place in [(0, 0, 0, 0), (2, 1, 2, 1), (3, 2, 1, 1)]:
        wanted = slope(weight, place, penalty)
        assert weight.grad[place].item() == pytest.approx(wanted, rel=1e-4, abs=1e-9)


def test_fixed_takes_the_recipe_at_its_word(make_generator):
    told = {"adversarial_weight": 0.1, "binarization_weight": 20, "binarization_ramp": 0}
    told |= {"area_weight": 0, "bg_coverage_weight": 40, "min_bg_coverage": 0.75}
    part = AlphaPart(training=TrainingPart(balance="fixed", **told))
    limits = coverage_range(part, make_generator())
    weights = weights_at(part.training, limits, 7, LossBalance(3.0, 5.0), UNCHANGED)
    assert (weights.adversarial, weights.binarization, weights.area) == (0.1, 20, 0)
    assert (weights.fg_coverage, weights.bg_coverage) == (20, 40)
    assert weights.coverage == CoverageRange(0.25, 0.25, 0.25)
    bare = TrainingPart(balance="fixed")
    assert weights_at(bare, limits, 0, LossBalance(1.0, 1.0), UNCHANGED).bg_coverage == 0


def test_auto_divides_by_the_gradient_and_penalises_area():
    config = TrainingPart(balance="auto", binarization_ramp=4)
    weights = weights_at(config, LIMITS, 1, LossBalance(4.0, 0.2), UNCHANGED)
    assert weights.adversarial == 0.25
    assert weights.area == config.area_weight
    assert weights.binarization == pytest.approx(config.binarization_weight / 2)
    small = CoverageRange(0.02, 0.1, share=0.05)
    assert weights_at(config, small, 1, LossBalance(4.0, 0.2), UNCHANGED).adversarial == 0.05
    scales = RestartScales(area=2.0, binarization=3.0)
    late = weights_at(config, LIMITS, 99, LossBalance(4.0, 0.9), scales)
    assert late.area == pytest.approx(2 * HIGHEST_PENALTY * config.area_weight)
    assert late.binarization == pytest.approx(3 * config.binarization_weight)


def test_two_sided_has_the_measured_setting_and_a_recipes_weights_are_factors(
    make_generator, make_part
):
    plain = {"balance": "two-sided", "area_weight": 0.1, "binarization_weight": 0.6}
    part = make_part(**plain)
    coverage = coverage_range(part, make_generator())
    assert (coverage.lower, coverage.upper) == (0.05, 0.8)
    scales = RestartScales(coverage_limit=0.625)
    weights = weights_at(part.training, coverage, 0, LossBalance(0.4, 1.0), scales)
    for name, value in TWO_SIDED_WEIGHTS.items():
        assert getattr(weights, name) == pytest.approx(value)
    assert weights.rest == weights.adversarial == pytest.approx(TWO_SIDED_PULL / 0.4)
    assert weights.coverage.upper == pytest.approx(0.5)
    twice = make_part(**plain | {"area_weight": 0.2, "rest_weight": 0.5})
    weights = weights_at(twice.training, coverage, 0, LossBalance(1.0, 1.0), UNCHANGED)
    assert weights.area == pytest.approx(2 * TWO_SIDED_WEIGHTS["area"])
    assert weights.rest == pytest.approx(0.5 * TWO_SIDED_PULL)


def test_loss_has_the_slope_of_the_weighted_terms():
    torch.manual_seed(0)
    alpha = torch.rand(2, 1, 4, 4, requires_grad=True)
    slope = torch.randn(2, 1, 4, 4)
    config, limits = TrainingPart(balance="auto", binarization_ramp=0), (0.9, 0.95, 0.92)
    weights = weights_at(config, CoverageRange(*limits), 0, LossBalance(2.0, 0.5), UNCHANGED)
    (own,) = torch.autograd.grad(weights.loss(slope, alpha), alpha)
    one = torch.full_like(alpha, 1 / alpha.numel())
    expected = slope * (0.92 / 0.25) / 2 + config.area_weight * one
    expected = expected + config.binarization_weight * one * torch.where(alpha < 0.5, 1.0, -1.0)
    expected = expected - weights.fg_coverage * one  # every mean alpha is below 0.9
    torch.testing.assert_close(own, expected)


def test_the_penalty_is_low_up_to_the_share_and_rises_steeply_beyond():
    config = TrainingPart(balance="auto", area_weight=1)
    prices = [
        weights_at(config, LIMITS, 0, LossBalance(1.0, times * 0.25), UNCHANGED).area
        for times in (0.0, 1.0, 1.08, 1.205, 1.33, 4)
    ]
    assert prices == pytest.approx([1, 1, 1, 10.5, 20, 20])


def test_gradient_and_coverage_are_running_means_that_start_with_the_first():
    first = next_balance(None, 3.0, 0.5)
    assert first == LossBalance(3.0, 0.5)
    second = next_balance(first, 1.0, 0.2)
    assert second.grad_norm == pytest.approx(0.9 * 3 + 0.1)
    assert second.coverage == pytest.approx(0.8 * 0.5 + 0.2 * 0.2)
    assert next_balance(None, 0.0, 0.5).grad_norm > 0


def test_learning_rate_falls_at_the_end():
    config = TrainingPart(steps=100, decay_from=0.5)
    shares = [learning_rate_share(config, step) for step in (0, 49, 75, 99)]
    assert shares == pytest.approx([1, 1, 0.5, 0.05])
    assert learning_rate_share(TrainingPart(steps=100, decay_from=1), 99) == 1


def test_r1_is_the_authors_or_grows_with_the_image():
    assert r1_gamma(TrainingPart(balance="fixed"), 64) == 10
    two_sided = TrainingPart(balance="two-sided")
    assert [r1_gamma(two_sided, side) for side in (64, 128, 1024)] == [1, 4, 10]
    assert r1_gamma(TrainingPart(balance="two-sided", r1_gamma=3), 64) == 3
