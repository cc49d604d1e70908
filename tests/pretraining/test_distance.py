import numpy as np
import pytest
import torch
from scipy import signal

from l4f_datagen.pretraining.distance import FEATURE_SEED, WIDTH, Features, frechet_distance

IMAGES = torch.from_numpy(np.random.RandomState(0).uniform(-1, 1, (3, 3, 32, 32))).float()


def normal(mean, spread, seed=0):
    """Points whose sample mean and covariance are exactly the given ones (uncorrelated axes)."""
    points = np.random.RandomState(seed).randn(400, len(mean))
    points -= points.mean(axis=0)
    points = points @ np.linalg.inv(np.linalg.cholesky(np.cov(points, rowvar=False))).T
    return points * spread + mean


def test_closed_form_of_uncorrelated_normals():
    first = normal([0.0, 1.0, -2.0], [1.0, 2.0, 0.5])
    second = normal([0.5, 1.0, 1.0], [2.0, 2.0, 1.5], seed=1)
    expected = 0.5**2 + 0 + 3**2 + (2 - 1) ** 2 + 0 + (1.5 - 0.5) ** 2
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)


def test_is_a_distance_that_turning_both_does_not_change():
    first, second = normal([0.0, 0.0], [1.0, 3.0]), normal([1.0, 2.0], [2.0, 1.0], seed=1)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    distance = frechet_distance(first, second)
    assert distance > 1
    assert frechet_distance(second, first) == pytest.approx(distance, rel=1e-9)
    assert frechet_distance(first @ turn, second @ turn) == pytest.approx(distance, rel=1e-9)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)


def test_features_by_hand():
    features, planes = Features(), []
    image = IMAGES[0].double().numpy()
    for scale in (1, 2, 4):
        side = 32 // scale
        small = image.reshape(3, side, scale, side, scale).mean(axis=(2, 4))
        for taps in features.filters.double().numpy():
            seen = sum(map(lambda p, k: signal.correlate2d(p, k, "valid"), small, taps))
            # Averages over a 4 by 4 grid of cells whose edges are rounded outwards.
            edges = [(k * len(seen) // 4, -(-(k + 1) * len(seen) // 4)) for k in range(4)]
            bright = np.maximum(seen, 0)
            planes += [bright[a:b, c:d].mean() for a, b in edges for c, d in edges]
    expected = np.array(planes) @ features.projection.double().numpy()
    found = features.of(IMAGES[:1])
    assert found.shape == (1, 256)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_features_are_the_same_at_any_time_and_batch():
    first = Features().of(IMAGES, batch=2)
    torch.manual_seed(123)
    np.testing.assert_allclose(Features().of(IMAGES, batch=3), first, atol=1e-6)
    draw = torch.Generator().manual_seed(FEATURE_SEED)
    taps = torch.randn(WIDTH, 3, 5, 5, generator=draw)[0]
    taps = taps - taps.mean(dim=(1, 2), keepdim=True) * 0.5
    torch.testing.assert_close(Features().filters[0], taps / taps.norm())


def test_features_tell_domains_apart():
    rng, features = np.random.RandomState(0), Features()
    sizes = ((32, 32), (32, 32), (1, 1))
    drawn = [torch.from_numpy(rng.uniform(-1, 1, (100, 3, *size))).float() for size in sizes]
    noise, other, flat = (features.of(one.expand(100, 3, 32, 32)).mean(axis=0) for one in drawn)
    assert ((noise - flat) ** 2).sum() > 20 * ((noise - other) ** 2).sum()
