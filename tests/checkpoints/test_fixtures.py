"""Every reference checkpoint against what the reference implementations make of it."""

from itertools import product

import numpy as np
import pytest
import torch

from l4f_datagen.checkpoints.open import open_alpha, open_discriminator, open_generator
from l4f_datagen.models.generator import draw_z

GENERATORS = {
    "ada_64.pkl": "ada_64_expected.npz",
    "sg3repo_32.pkl": "sg3repo_32_expected.npz",
    "tf_64.pkl": "ada_64_expected.npz",
    "rosinality_64_converted.pt": "rosinality_64_expected.npz",
    "rosinality_64_trained.pt": "rosinality_64_expected.npz",
}
FEATURES = ("ada_64.pkl", "tf_64.pkl", "rosinality_64_converted.pt")
BACKGROUNDS = {"l4f_bg_256.pt": ("conv1", 4, 8), "l4f_bg_512.pt": ("const", 8, 16)}
ALPHAS = {"l4f_alpha_256.pt": 1, "l4f_alpha_512.pt": 2, "l4f_alpha_1024.pt": 4}


def _largest(ours, expected):
    return float(np.abs(ours.numpy().astype(np.float64) - expected.astype(np.float64)).max())


def _z(generator, seeds):
    return torch.from_numpy(draw_z([int(seed) for seed in seeds], generator.spec.z_dim))


@pytest.mark.parametrize("name", GENERATORS)
def test_images_and_w_are_those_of_the_reference_code(name, reference_dir, manifest):
    tolerance = manifest[name]["tolerance"]["recommended"]
    expected = np.load(reference_dir / GENERATORS[name])
    checkpoint = open_generator(reference_dir / name)
    generator = checkpoint.build()
    z = _z(generator, expected["seeds"])
    w = generator.mapping(z)
    assert _largest(w, expected["w_psi1.0"]) < tolerance["w_atol"]
    assert _largest(generator(z, 1.0).image, expected["img_psi1.0"]) < tolerance["image_atol"]
    if not checkpoint.has_w_avg:
        assert _largest(generator.w_avg, expected["mean_w_10000"]) < tolerance["w_atol"]
        return
    image = generator(z, 0.7).image
    assert _largest(image, expected["img_psi0.7"]) < tolerance["image_atol"]
    if "w_psi0.7" in expected:
        truncated = generator.truncate(w, 0.7)[:, 0]
        assert _largest(truncated, expected["w_psi0.7"]) < tolerance["w_atol"]
    if "img_psi1.0_noise_none_seed0" in expected:
        quiet = generator(z[:1], noise=generator.noise("none")).image
        assert _largest(quiet, expected["img_psi1.0_noise_none_seed0"]) < tolerance["image_atol"]


@pytest.mark.parametrize("name", FEATURES)
def test_features_are_those_of_the_reference_code(name, reference_dir, manifest):
    tolerance = manifest[name]["tolerance"]["recommended"]["features_float16_atol"]
    expected = np.load(reference_dir / "ada_64_features.npz")
    generator = open_generator(reference_dir / name).build()
    features = generator(_z(generator, np.array([0]))).features
    assert sum(map(len, features.values())) == 9
    for side, maps in features.items():
        for layer, ours in zip(("conv1", "conv0"), reversed(maps), strict=False):
            assert _largest(ours, expected[f"b{side}_{layer}"]) < tolerance


@pytest.mark.parametrize("name", [*GENERATORS, *BACKGROUNDS])
def test_spec_is_the_manifests(name, reference_dir, manifest):
    params = manifest[name]["params"]
    spec = open_generator(reference_dir / name).spec
    assert spec.resolution == params["img_resolution"]
    assert (spec.z_dim, spec.w_dim) == (params["z_dim"], params["w_dim"])
    assert spec.mapping_layers == params["mapping_layers"]
    assert spec.conv_clamp == params["conv_clamp"]
    if "channels" in params:
        assert {str(side): width for side, width in spec.channels.items()} == params["channels"]


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_muted_backgrounds_are_those_of_the_authors_code(name, reference_dir, manifest):
    mute, stride, lowest = BACKGROUNDS[name]
    tolerance = manifest[name]["tolerance"]["recommended"]
    expected = np.load(reference_dir / name.replace(".pt", "_expected.npz"))
    generator = open_generator(reference_dir / name).build()
    z = _z(generator, np.array([0, 1]))
    middle = generator.spec.resolution // 2 - 24
    parts = {f"stride{stride}": slice(None, None, stride), "crop_tl": slice(48)}
    parts |= {"crop_br": slice(-48, None), "crop_mid": slice(middle, middle + 48)}
    for psi, (kind, muted) in product((1.0, 0.5), {"fg": None, "bg": mute}.items()):
        out = generator(z, psi, mute=muted)
        for part, box in parts.items():
            expected_part = expected[f"{kind}_psi{psi}_{part}"]
            assert _largest(out.image[:, :, box, box], expected_part) < tolerance["image_atol"]
        for k in (0, 1) if psi == 1.0 else ():
            ours = out.features[lowest][k]
            assert _largest(ours, expected[f"feat{k}_{kind}"]) < tolerance["feat_atol"]


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in list(ALPHAS)[1:]]


@pytest.mark.parametrize("name", ["l4f_alpha_256.pt", *SLOW])
def test_alpha_is_that_of_the_authors_code(name, reference_dir, manifest):
    tolerance = manifest[name]["tolerance"]["recommended"]
    expected = np.load(reference_dir / name.replace(".pt", "_expected.npz"))
    network = open_alpha(reference_dir / name).build()
    batch = 2 if name == "l4f_alpha_256.pt" else 1
    stream = np.random.RandomState(int(expected["feature_seed"]))
    features = {
        side: [
            torch.from_numpy(stream.standard_normal((batch, width, side, side)).astype(np.float32))
            for _ in range(2)
        ]
        for side, width in network.channels.items()
    }
    alpha = network(features)
    stride, middle = ALPHAS[name], network.resolutions[-1] // 2 - 24
    grid = alpha[:, :, ::stride, ::stride]
    assert _largest(grid, expected[f"alpha_stride{stride}"]) < tolerance["grid_float16_atol"]
    means = alpha.mean(dim=(1, 2, 3))
    assert _largest(means, expected["mean"].reshape(-1)) < tolerance["mean_atol"]
    first, last, mid = slice(48), slice(-48, None), slice(middle, middle + 48)
    corners = {"tl": (first, first), "tr": (first, last), "bl": (last, first), "br": (last, last)}
    for key, (rows, columns) in (corners | {"mid": (mid, mid)}).items():
        ours = alpha[0, 0, rows, columns]
        expected_crop = expected[f"crop_{key}"].reshape(ours.shape)
        assert _largest(ours, expected_crop) < tolerance["crops_float32_atol"]


def test_both_nvidia_containers_hold_the_same_discriminator(reference_dir):
    torch.manual_seed(0)
    images = torch.randn(4, 3, 64, 64)
    ada = open_discriminator(reference_dir / "ada_64.pkl").build()
    tf = open_discriminator(reference_dir / "tf_64.pkl").build()
    assert torch.allclose(ada(images), tf(images), atol=1e-5)


def test_the_same_weights_have_one_fingerprint_in_every_container(reference_dir, manifest):
    opened = {name: open_generator(reference_dir / name) for name in GENERATORS}
    for name, checkpoint in opened.items():
        assert checkpoint.sha256 == manifest[name]["sha256"]
    other = opened.pop("sg3repo_32.pkl")
    (same,) = {checkpoint.fingerprint for checkpoint in opened.values()}
    assert other.fingerprint != same


def test_a_real_trained_network_opens(reference_dir):
    folder = reference_dir.parents[1] / "data" / "mnist_stylegan2"
    for path in sorted(folder.glob("*.pt")):
        generator = open_generator(path).build()
        assert (generator.spec.resolution, generator.spec.mapping_layers) == (32, 2)
        image = generator(_z(generator, np.array([0, 1])), 0.7).image
        # Digits: bright strokes on a dark ground, not noise around grey.
        assert (image < -0.7).float().mean() > 0.4
        assert (image > 0.5).float().mean() > 0.03
