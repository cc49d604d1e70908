"""Layer by layer against float64 NumPy: ``reference.py``."""

import numpy as np
import pytest
import torch

from l4f_datagen.models.layers import (
    FP16_CLAMP,
    EqualLinear,
    SynthesisLayer,
    ToRGB,
    bounded,
    modulated_conv2d,
    prenormalize,
    upsample_rgb,
)


def draw(*shape, seed=0):
    return np.random.RandomState(seed).randn(*shape)


def tensor(array):
    return torch.from_numpy(np.asarray(array, np.float64))


@pytest.mark.parametrize("shape", [(4, 4), (5, 8)])
def test_rgb_is_doubled_by_zero_insertion_and_filter(reference, shape):
    x = draw(2, 3, *shape)
    expected = np.asarray([[reference.double(plane) for plane in planes] for planes in x])
    np.testing.assert_allclose(upsample_rgb(tensor(x)).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("activate", [False, True])
def test_equal_linear(reference, activate):
    layer = EqualLinear(7, 3, bias=1.0, rate=0.01, activate=activate)
    assert torch.allclose(layer.bias, torch.full((3,), 100.0))
    assert 30 < layer.weight.std() < 300  # unit variance over the learning-rate multiplier
    layer.bias.data = torch.tensor([50.0, -200.0, 100.0])
    x = draw(4, 7)
    weight = layer.weight.detach().double().numpy()
    expected = x @ (weight * 0.01 / np.sqrt(7)).T + [0.5, -2.0, 1.0]
    assert (expected < 0).any()
    expected = reference.activate(expected) if activate else expected
    out = layer(tensor(x).float()).detach().numpy()
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


def naive(reference, layer, clamp):
    """The same layer in the reference, where it is called `layer`."""
    return reference.Generator({f"layer.{k}": v for k, v in layer.state_dict().items()}, clamp)


@pytest.mark.parametrize("clamp", [None, 0.8])
@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("noise_batch", [0, 1, 2])
def test_synthesis_layer(reference, up, clamp, noise_batch):
    torch.manual_seed(0)
    layer = SynthesisLayer(3, 4, 6, 8, up=up, clamp=clamp).requires_grad_(False)
    assert layer.noise_strength == 0, "a new layer adds no noise"
    assert torch.equal(layer.affine.bias, torch.ones(3))
    layer.noise_strength.fill_(0.7)
    layer.bias.data = torch.tensor([0.5, -0.5, 0.1, 0.0])
    x, w = draw(2, 3, 8 // (1 + up), 8 // (1 + up)), draw(2, 6, seed=1)
    noise = draw(noise_batch, 1, 8, 8, seed=2) if noise_batch else None
    one = naive(reference, layer, clamp).layer
    maps = np.zeros((2, 8, 8)) if noise is None else [noise[0, 0], noise[-1, 0]]
    expected = np.stack([one("layer", x[k], w[k], maps[k], up=up) for k in (0, 1)])
    assert clamp is None or np.abs(expected).max() == clamp, "the clamp is reached"
    given = None if noise is None else tensor(noise).float()
    out = layer(tensor(x).float(), tensor(w).float(), given).numpy()
    np.testing.assert_allclose(out, expected, atol=2e-5)


@pytest.mark.parametrize("clamp", [None, 0.5])
def test_to_rgb(reference, clamp):
    torch.manual_seed(0)
    layer = ToRGB(5, 6, clamp=clamp).requires_grad_(False)
    layer.bias.data = torch.tensor([0.1, -0.2, 0.3])
    x, w = draw(2, 5, 4, 4), draw(2, 6, seed=1)
    rgb = naive(reference, layer, clamp).rgb
    expected = np.stack([rgb("layer", x[k], w[k]) for k in (0, 1)])
    assert clamp is None or np.abs(expected).max() == clamp, "the clamp is reached"
    out = layer(tensor(x).float(), tensor(w).float()).numpy()
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_shapes_are_checked_here():
    """The annotations of the networks are enforced under pytest: a wrong axis is an error."""
    with pytest.raises(Exception, match="modulated_conv2d"):
        modulated_conv2d(torch.ones(2, 3, 4, 4), torch.ones(5, 3, 3, 3), torch.ones(2, 4))


def test_prenormalized_weights_and_styles_give_the_same_convolution():
    x, weight, styles = tensor(draw(2, 5, 6, 6)), tensor(draw(3, 5, 3, 3)), tensor(draw(2, 5))
    small, soft, factor = prenormalize(weight * 1e5, styles * 1e4)
    assert soft.abs().max() <= 1 + 1e-6
    assert small.abs().max() <= 1 / np.sqrt(5 * 9) + 1e-6
    exact = modulated_conv2d(x, weight * 1e5, styles * 1e4)
    torch.testing.assert_close(modulated_conv2d(x, small, soft) * factor, exact)
    zeros = prenormalize(torch.zeros(3, 5, 3, 3), torch.zeros(2, 5))
    assert all(torch.isfinite(each).all() for each in zeros)


def test_the_worst_prenormalized_sums_stay_within_float16():
    """All activations at the clamp, all weights and styles at their tops, of one sign."""
    x = torch.full((1, 512, 4, 4), FP16_CLAMP)
    weight, styles, _ = prenormalize(torch.ones(1, 512, 3, 3), torch.ones(1, 512))
    for up in (False, True):
        out = modulated_conv2d(x, weight, styles, up)
        assert out.abs().max() < torch.finfo(torch.float16).max / 2


@pytest.mark.parametrize(
    ("dtype", "clamp", "bound"),
    [
        (torch.float32, None, 1000.0),
        (torch.float32, 10.0, 10.0),
        (torch.bfloat16, None, 1000.0),
        (torch.float16, None, FP16_CLAMP),
        (torch.float16, 10.0, 10.0),
        (torch.float16, 900.0, FP16_CLAMP),
    ],
)
def test_bounds_of_activations(dtype, clamp, bound):
    x = torch.tensor([-1000.0, 3.0, 1000.0], dtype=dtype).reshape(1, 1, 1, 3)
    assert bounded(x, clamp).flatten().tolist() == [-bound, 3.0, bound]
