import numpy as np
import pytest
import torch

from l4f_datagen.models.alpha_network import AlphaNetwork, alpha_resolutions

CONFIG_F = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}


def cubic(distance, a=-0.75):
    t = abs(distance)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def bicubic_matrix(side_in, side_out):
    """Row k: how much each input pixel gives to output pixel k, corners on corners."""
    matrix = np.zeros((side_out, side_in))
    for k in range(side_out):
        place = k * (side_in - 1) / (side_out - 1)
        for tap in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            matrix[k, min(max(tap, 0), side_in - 1)] += cubic(place - tap)
    return matrix


def naive_alpha(network, features):
    tensors = {k: v.double().numpy() for k, v in network.state_dict().items()}

    def conv(name, x):
        weight, bias = tensors[f"{name}.weight"][:, :, 0, 0], tensors[f"{name}.bias"]
        return np.einsum("oc,bchw->bohw", weight, x) + bias[:, None, None]

    own = {
        side: np.concatenate([conv(f"first.{side}", a), conv(f"second.{side}", b)], axis=1)
        for side, (a, b) in features.items()
    }
    lowest, *middle, top = sorted(own) if len(own) > 1 else (min(own), min(own))
    carried = own[lowest]
    for side in middle:
        both = np.concatenate([own[side], enlarge(carried, side)], axis=1)
        merged = conv(f"merge.{side}", both)
        carried = np.where(merged > 0, merged, 0.2 * merged)
    if top != lowest:
        carried = own[top] + enlarge(carried, top)
    return 1 / (1 + np.exp(-conv("out", carried)))


def enlarge(x, side):
    matrix = bicubic_matrix(x.shape[2], side)
    return np.einsum("kh,bchw,lw->bckl", matrix, x, matrix)


def make_features(widths, batch=2):
    rng = np.random.RandomState(0)
    return {s: [rng.randn(batch, c, s, s) * 2 for _ in range(2)] for s, c in widths.items()}


def as_tensors(features):
    return {s: [torch.from_numpy(x).float() for x in pair] for s, pair in features.items()}


@pytest.mark.parametrize(
    "resolutions", [[8, 16], [16, 32], [8, 16, 32], [8, 16, 32, 64], [32], [64]]
)
def test_agrees_with_the_formulas(resolutions):
    widths = {8: 5, 16: 4, 32: 3, 64: 2}
    torch.manual_seed(0)
    network = AlphaNetwork(widths, resolutions).requires_grad_(False)
    features = make_features({side: widths[side] for side in resolutions})
    alpha = network(as_tensors(features))
    assert alpha.shape == (2, 1, resolutions[-1], resolutions[-1])
    assert alpha.dtype == torch.float32
    expected = naive_alpha(network, features)
    assert np.ptp(expected) > 0.2
    np.testing.assert_allclose(alpha.numpy(), expected, atol=2e-6)


def test_bicubic_reference_hits_the_corners():
    matrix = bicubic_matrix(4, 8)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    np.testing.assert_allclose(matrix[[0, -1]], np.eye(4)[[0, -1]], atol=1e-12)


@pytest.mark.parametrize(
    ("resolution", "resolutions"),
    [
        (16, [8, 16]),
        (32, [8, 16, 32]),
        (64, [8, 16, 32, 64]),
        (256, [8, 16, 32, 64, 128, 256]),
        (512, [16, 32, 64, 128, 256, 512]),
        (1024, [32, 64, 128, 256, 512, 1024]),
    ],
)
def test_which_resolutions_are_read(resolution, resolutions):
    assert alpha_resolutions(resolution) == resolutions


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


def test_reads_what_the_generator_gives(make_generator, make_alpha):
    generator = make_generator(32)
    features = generator(torch.randn(3, 8)).features
    alpha = make_alpha(generator)(features)
    assert alpha.shape == (3, 1, 32, 32)
    assert 0 < alpha.min() < alpha.max() < 1
    logits = make_alpha(generator).logits(features)
    assert torch.equal(torch.sigmoid(logits), alpha)


def test_half_precision_features_give_a_single_precision_matte(make_generator, make_alpha):
    generator = make_generator()
    features = generator(torch.randn(1, 8)).features
    expected = make_alpha(generator)(features)
    with torch.autocast("cpu", torch.bfloat16):
        alpha = make_alpha(generator)(features)
    assert alpha.dtype == torch.float32
    assert torch.allclose(alpha, expected, atol=0.03)
