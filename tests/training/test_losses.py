import math

import numpy as np
import pytest
import torch

from l4f_datagen.training import losses

MATTE = torch.tensor([[0.0, 0.1], [0.5, 0.8]]).reshape(1, 1, 2, 2)
"""Mean 0.35."""
WHITE, BLACK = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)


def softplus(x):
    return math.log1p(math.exp(x))


def test_composite():
    fg, bg = torch.full((1, 3, 2, 2), 0.8), torch.full((1, 3, 2, 2), -0.6)
    out = losses.composite(fg, bg, MATTE)
    expected = [0.8 * a - 0.6 * (1 - a) for a in (0.0, 0.1, 0.5, 0.8)]
    for channel in range(3):
        np.testing.assert_allclose(out[0, channel].flatten().numpy(), expected, rtol=1e-6)
    assert torch.equal(losses.composite(fg, bg, WHITE), fg)
    assert torch.equal(losses.composite(fg, bg, BLACK), bg)


def test_adversarial_losses():
    real, fake = torch.tensor([2.0, -1.0, 0.0]), torch.tensor([0.5, -3.0, 1.0])
    realism = (softplus(-0.5) + softplus(3) + softplus(-1)) / 3
    assert losses.realism_loss(fake).item() == pytest.approx(realism, rel=1e-6)
    expected = (softplus(-2) + softplus(1) + softplus(0)) / 3
    expected += (softplus(0.5) + softplus(-3) + softplus(1)) / 3
    assert losses.discriminator_loss(real, fake).item() == pytest.approx(expected, rel=1e-6)


def test_binarization():
    assert losses.binarization_loss(MATTE).item() == pytest.approx((0 + 0.1 + 0.5 + 0.2) / 4)
    assert losses.binarization_loss(WHITE).item() == 0
    assert losses.binarization_loss(BLACK).item() == 0
    assert losses.binarization_loss(WHITE / 2).item() == 0.5


@pytest.mark.parametrize(
    ("minimum", "fg", "bg"),
    [(0.25, 0.0, 0.0), (0.35, 0.0, 0.0), (0.5, 0.15, 0.0), (0.75, 0.4, 0.1), (1.0, 0.65, 0.35)],
)
def test_coverage_hinges(minimum, fg, bg):
    assert losses.fg_coverage_loss(MATTE, minimum).item() == pytest.approx(fg, abs=1e-6)
    assert losses.bg_coverage_loss(MATTE, minimum).item() == pytest.approx(bg, abs=1e-6)


def test_coverage_is_taken_sample_by_sample():
    both = torch.cat([WHITE, BLACK])  # mean 0.5, but one of them has no foreground
    assert losses.fg_coverage_loss(both, 0.25).item() == pytest.approx(0.125)
    assert losses.bg_coverage_loss(both, 0.4).item() == pytest.approx(0.2)


def critic(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.Softplus(), torch.nn.Flatten(), torch.nn.Linear(36, 1)
    ).double()


def slopes(net, reals, step=1e-5):
    """Central differences of the summed logits, one pixel at a time."""
    found = np.zeros(tuple(reals.shape))
    with torch.no_grad():
        for place in np.ndindex(*reals.shape):
            ends = []
            for sign in (1, -1):
                moved = reals.clone()
                moved[place] += sign * step
                ends.append(net(moved).sum().item())
            found[place] = (ends[0] - ends[1]) / (2 * step)
    return found


def test_r1_by_finite_differences():
    net = critic()
    reals = torch.from_numpy(np.random.RandomState(0).randn(2, 3, 5, 5))
    expected = (slopes(net, reals) ** 2).sum(axis=(1, 2, 3)).mean()
    reals.requires_grad_(True)
    penalty = losses.r1_penalty(net(reals).squeeze(1), reals)
    assert expected > 0.01
    assert penalty.item() == pytest.approx(expected, rel=1e-7)


def test_r1_trains_the_critic():
    net = critic()
    reals = torch.from_numpy(np.random.RandomState(0).randn(2, 3, 5, 5)).requires_grad_(True)
    weight = net[0].weight

    def penalty():
        return losses.r1_penalty(net(reals).squeeze(1), reals)

    penalty().backward()
    for place in [(0, 0, 0, 0), (2, 1, 2, 1), (3, 2, 1, 1)]:
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[place] += sign * 1e-5
            ends.append(penalty().item())
            with torch.no_grad():
                weight[place] -= sign * 1e-5
        slope = (ends[0] - ends[1]) / 2e-5
        assert weight.grad[place].item() == pytest.approx(slope, rel=1e-4, abs=1e-9)
