import pytest
import torch

from l4f_datagen.recipe import TrainingPart
from l4f_datagen.training.balance import (
    HIGHEST_PENALTY,
    LossBalance,
    RestartScales,
    area_penalty,
    fixed_range,
    learning_rate_share,
    next_balance,
    weights_at,
)
from l4f_datagen.training.object_size import CoverageRange

LIMITS = CoverageRange(0.1, 0.5, share=0.25)
NOTHING = RestartScales()


def test_fixed_takes_the_recipe_at_its_word():
    config = TrainingPart(
        balance="fixed",
        adversarial_weight=0.1,
        binarization_weight=20,
        binarization_ramp=0,
        area_weight=0,
        bg_coverage_weight=40,
        min_bg_coverage=0.75,
    )
    weights = weights_at(config, fixed_range(config), 7, LossBalance(3.0, 5.0), NOTHING)
    assert (weights.adversarial, weights.binarization, weights.area) == (0.1, 20, 0)
    assert (weights.fg_coverage, weights.bg_coverage) == (20, 40)
    assert weights.coverage == CoverageRange(0.25, 0.25, 0.25)
    bare = TrainingPart(balance="fixed")
    assert weights_at(bare, fixed_range(bare), 0, LossBalance(1.0, 1.0), NOTHING).bg_coverage == 0


def test_auto_divides_by_the_gradient_and_penalises_area():
    config = TrainingPart(balance="auto", binarization_ramp=4)
    weights = weights_at(config, LIMITS, 1, LossBalance(4.0, 0.2), NOTHING)
    assert weights.adversarial == 0.25
    assert weights.area == config.area_weight
    assert weights.binarization == pytest.approx(config.binarization_weight / 2)
    small = CoverageRange(0.02, 0.1, share=0.05)
    assert weights_at(config, small, 1, LossBalance(4.0, 0.2), NOTHING).adversarial == 0.05
    late = weights_at(
        config, LIMITS, 99, LossBalance(4.0, 0.9), RestartScales(area=2.0, binarization=3.0)
    )
    assert late.area == pytest.approx(2 * HIGHEST_PENALTY * config.area_weight)
    assert late.binarization == pytest.approx(3 * config.binarization_weight)


def test_loss_has_the_slope_of_the_weighted_terms():
    torch.manual_seed(0)
    alpha = torch.rand(2, 1, 4, 4, requires_grad=True)
    slope = torch.randn(2, 1, 4, 4)
    config = TrainingPart(balance="auto", binarization_ramp=0)
    weights = weights_at(config, CoverageRange(0.9, 0.95, 0.92), 0, LossBalance(2.0, 0.5), NOTHING)
    (own,) = torch.autograd.grad(weights.loss(slope, alpha), alpha)
    one = torch.full_like(alpha, 1 / alpha.numel())
    expected = slope * (0.92 / 0.25) / 2 + config.area_weight * one
    expected = expected + config.binarization_weight * one * torch.where(alpha < 0.5, 1.0, -1.0)
    expected = expected - weights.fg_coverage * one  # every mean alpha is below 0.9
    torch.testing.assert_close(own, expected)


def test_the_penalty_is_low_up_to_the_share_and_rises_steeply_beyond():
    prices = [
        area_penalty(LossBalance(1.0, times * 0.25), LIMITS)
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
    flat = TrainingPart(steps=100, decay_from=1)
    assert learning_rate_share(flat, 99) == 1
