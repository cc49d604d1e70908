import numpy as np
import pytest
import torch
import torch.nn.functional as F

from l4f_datagen.models import alpha_network
from l4f_datagen.models.alpha_network import AlphaNetwork, alpha_resolutions, enlarge

CONFIG_F = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}


def make_features(widths, batch=2):
    rng = np.random.RandomState(0)
    return {s: [rng.randn(batch, c, s, s) * 2 for _ in range(2)] for s, c in widths.items()}


def as_tensors(features):
    return {s: [torch.from_numpy(x).float() for x in pair] for s, pair in features.items()}


@pytest.mark.parametrize(
    "resolutions", [[8, 16], [16, 32], [8, 16, 32], [8, 16, 32, 64], [32], [64]]
)
def test_agrees_with_the_formulas(resolutions, reference):
    widths = {8: 5, 16: 4, 32: 3, 64: 2}
    torch.manual_seed(0)
    network = AlphaNetwork(widths, resolutions).requires_grad_(False)
    features = make_features({side: widths[side] for side in resolutions})
    alpha = network(as_tensors(features))
    assert torch.equal(torch.sigmoid(network.logits(as_tensors(features))), alpha)
    parts = [{s: [x[k] for x in two] for s, two in features.items()} for k in (0, 1)]
    expected = np.stack([reference.alpha(network.state_dict(), part) for part in parts])
    assert np.ptp(expected) > 0.2
    np.testing.assert_allclose(alpha.numpy(), expected, atol=2e-6)


def test_which_resolutions_are_read():
    expected = {16: [8, 16], 64: [8, 16, 32, 64], 256: [8, 16, 32, 64, 128, 256]}
    expected |= {512: [16, 32, 64, 128, 256, 512], 1024: [32, 64, 128, 256, 512, 1024]}
    assert {side: alpha_resolutions(side) for side in expected} == expected


@pytest.mark.parametrize(("resolution", "count"), [(256, 14_947), (512, 12_259), (1024, 9_379)])
def test_as_many_parameters_as_the_papers_network(resolution, count):
    network = AlphaNetwork(CONFIG_F, alpha_resolutions(resolution))
    assert sum(parameter.numel() for parameter in network.parameters()) == count


def test_a_pixel_sees_its_own_place_alone(make_generator, make_alpha):
    generator = make_generator(32)
    network = make_alpha(generator, [32])
    features = as_tensors(make_features({32: 3}))
    before = network(features)
    features[32][0][:, :, 5, 9] += 3
    changed = (network(features) != before)[:, 0]
    assert changed.nonzero()[:, 1:].unique(dim=0).tolist() == [[5, 9]]


def test_half_precision_features_give_a_single_precision_matte(make_generator, make_alpha):
    generator = make_generator(32)
    features, network = generator(torch.randn(3, 8)).features, make_alpha(generator)
    expected = network(features)
    with torch.autocast("cpu", torch.bfloat16):
        alpha = network(features)
    assert (alpha.shape, alpha.dtype) == ((3, 1, 32, 32), torch.float32)
    assert torch.allclose(alpha, expected, atol=0.03)


def direct(x, side):
    return F.interpolate(x, size=(side, side), mode="bicubic", align_corners=True)


@pytest.mark.parametrize(
    ("size", "side"), [((8, 8), 16), ((16, 16), 64), ((5, 9), 12), ((4, 4), 4)]
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_is_torchs_bicubic(size, side, layout):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=layout)
    torch.testing.assert_close(enlarge(x, side), direct(x, side), rtol=0, atol=2e-6)


def test_beyond_the_limit_torch_itself_is_asked(monkeypatch):
    monkeypatch.setattr(alpha_network, "interpolation_matrix", None)
    x = torch.randn(1, 1, 257, 3)
    assert torch.equal(enlarge(x, 300), direct(x, 300))


def test_gradients_are_torchs():
    x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    weight = torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(1))
    (own,) = torch.autograd.grad((enlarge(x, 16) * weight).sum(), x)
    (expected,) = torch.autograd.grad((direct(x, 16) * weight).sum(), x)
    torch.testing.assert_close(own, expected, rtol=0, atol=1e-5)


def test_a_matrix_made_under_inference_serves_training():
    matrix = alpha_network.interpolation_matrix
    matrix.cache_clear()
    x = torch.randn(1, 2, 8, 8)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        enlarge(x, 16)
    leaf = x.clone().requires_grad_(True)
    enlarge(leaf, 16).sum().backward()
    torch.testing.assert_close(enlarge(x, 16), direct(x, 16), rtol=0, atol=2e-6)
    assert matrix.cache_info().misses == 1
