import numpy as np
import pytest
import torch
from scipy import signal

from l4f_datagen.models.generator import Generator
from l4f_datagen.models.mapping import MappingNetwork, draw_z
from l4f_datagen.models.spec import GeneratorSpec

KERNEL = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16


class Naive:
    """The generator once more, in double precision and one sample at a time."""

    def __init__(self, generator):
        self.spec = generator.spec
        self.tensors = {k: v.double().numpy() for k, v in generator.state_dict().items()}

    def synthesis(self, ws, noise, mute=None):
        image, features = 0, {}
        row = layer = 0
        for side in self.spec.resolutions:
            if side == 4:
                x = self.tensors["synthesis.b4.const"] * (mute != "const")
                x = self.layer("synthesis.b4.conv1", x, ws[0], noise[0]) * (mute != "conv1")
                features[4] = [x]
                row, layer = 1, 1
            else:
                first = self.layer(f"synthesis.b{side}.conv0", x, ws[row], noise[layer], up=True)
                x = self.layer(f"synthesis.b{side}.conv1", first, ws[row + 1], noise[layer + 1])
                features[side] = [first, x]
                row, layer = row + 2, layer + 2
                image = np.stack([double(plane) for plane in image])
            image = image + self.rgb(f"synthesis.b{side}.torgb", x, ws[row])
        return image, features

    def layer(self, name, x, w, noise, up=False):
        kernels = self.tensors[f"{name}.weight"] * self.styles(name, w)[:, None, None]
        kernels = kernels / np.sqrt((kernels**2).sum(axis=(1, 2, 3), keepdims=True) + 1e-8)
        x = np.stack([sum(map(conv_up if up else conv, x, kernel)) for kernel in kernels])
        x = x + self.tensors[f"{name}.noise_strength"] * noise
        x = activate(x + self.tensors[f"{name}.bias"][:, None, None])
        limit = self.spec.conv_clamp or np.inf
        return x.clip(-limit, limit)

    def rgb(self, name, x, w):
        styles = self.styles(name, w) / np.sqrt(len(x))
        weight = self.tensors[f"{name}.weight"][:, :, 0, 0] * styles
        rgb = np.einsum("oc,chw->ohw", weight, x) + self.tensors[f"{name}.bias"][:, None, None]
        limit = self.spec.conv_clamp or np.inf
        return rgb.clip(-limit, limit)

    def styles(self, name, w):
        weight = self.tensors[f"{name}.affine.weight"]
        return weight @ w / np.sqrt(len(w)) + self.tensors[f"{name}.affine.bias"]


def activate(x):
    return np.where(x > 0, x, 0.2 * x) * np.sqrt(2)


def conv(plane, taps):
    return signal.correlate2d(plane, taps, "same")


def conv_up(plane, taps):
    spread = np.zeros((2 * plane.shape[0] - 1, 2 * plane.shape[1] - 1))
    spread[::2, ::2] = plane
    return signal.convolve2d(np.pad(signal.convolve2d(spread, taps), 1), KERNEL, "valid")


def double(plane):
    spread = np.zeros((2 * plane.shape[0] + 3, 2 * plane.shape[1] + 3))
    spread[2:-1:2, 2:-1:2] = plane
    return signal.convolve2d(spread, KERNEL, "valid")


def random_ws(generator, batch, seed=0):
    shape = (batch, generator.spec.num_ws, generator.spec.w_dim)
    return torch.from_numpy(np.random.RandomState(seed).randn(*shape).astype(np.float32))


def streams(*seeds):
    return [np.random.RandomState(seed) for seed in seeds]


@pytest.mark.parametrize("mute", [None, "conv1", "const"])
@pytest.mark.parametrize("conv_clamp", [None, 0.9])
@pytest.mark.parametrize("resolution", [16, 32])
def test_synthesis_agrees_with_the_formulas(make_generator, resolution, conv_clamp, mute):
    generator = make_generator(resolution, conv_clamp=conv_clamp)
    ws = random_ws(generator, 2)
    noise = generator.noise("random", streams(1, 2))
    out = generator.synthesis(ws, noise, mute)
    naive = Naive(generator)
    for k in range(2):
        maps = [layer_map[k, 0].double().numpy() for layer_map in noise]
        image, features = naive.synthesis(ws[k].double().numpy(), maps, mute)
        np.testing.assert_allclose(out.image[k].numpy(), image, atol=5e-5)
        assert list(out.features) == list(features) == generator.spec.resolutions
        for side, tensors in features.items():
            assert len(out.features[side]) == len(tensors) == (1 if side == 4 else 2)
            for feature, expected in zip(out.features[side], tensors, strict=True):
                np.testing.assert_allclose(feature[k].numpy(), expected, atol=5e-5)


def test_rgb_maps_add_up_to_the_image(make_generator):
    generator = make_generator(32)
    out = generator.synthesis(random_ws(generator, 1), generator.noise("const"))
    image = 0
    for side in generator.spec.resolutions:
        if side > 4:
            image = np.stack([double(plane) for plane in image])
        image = image + out.rgb_maps[side][0].double().numpy()
    np.testing.assert_allclose(out.image[0].numpy(), image, atol=1e-5)


class TestTruncation:
    @pytest.mark.parametrize("psi", [0.0, 0.5, 1.0, 1.3])
    @pytest.mark.parametrize("cutoff", [None, 0, 2])
    def test_formula(self, make_generator, psi, cutoff):
        generator = make_generator()
        w = torch.randn(3, 8)
        ws = generator.truncate(w, psi, cutoff).numpy()
        average = generator.w_avg.numpy()
        assert ws.shape == (3, generator.spec.num_ws, 8)
        for row in range(generator.spec.num_ws):
            pulled = cutoff is None or row < cutoff
            expected = average + psi * (w.numpy() - average) if pulled else w.numpy()
            np.testing.assert_allclose(ws[:, row], expected, atol=1e-6)

    def test_one_psi_a_sample(self, make_generator):
        generator = make_generator()
        w = torch.randn(3, 8)
        together = generator.truncate(w, torch.tensor([0.5, 0.7, 1.0]))
        for k, psi in enumerate((0.5, 0.7, 1.0)):
            assert torch.equal(together[k : k + 1], generator.truncate(w[k : k + 1], psi))

    def test_half_precision_leaves_psi_alone(self, make_generator):
        generator = make_generator()
        w = torch.randn(3, 8).bfloat16()
        expected = generator.truncate(w.float(), 0.7)
        assert torch.allclose(generator.truncate(w, 0.7), expected, atol=1e-6)

    def test_psi_0_is_one_image_for_all(self, make_generator):
        generator = make_generator()
        images = generator(torch.from_numpy(draw_z([1, 2], 8)), 0.0).image
        assert torch.allclose(images[0], images[1], atol=1e-6)
        assert not torch.allclose(*generator(torch.from_numpy(draw_z([1, 2], 8)), 0.5).image)


def test_truncation_of_w_plus_acts_row_by_row(make_generator):
    generator = make_generator(16)
    ws = torch.from_numpy(np.random.RandomState(1).randn(2, 6, 8).astype(np.float32))
    psi = torch.tensor([0.3, 0.9])
    expected = generator.w_avg + psi[:, None, None] * (ws - generator.w_avg)
    torch.testing.assert_close(generator.truncate(ws, psi), expected)
    cut = generator.truncate(ws, psi, 2)
    torch.testing.assert_close(cut[:, :2], expected[:, :2])
    assert torch.equal(cut[:, 2:], ws[:, 2:])


class TestNoise:
    def test_none_and_const(self, make_generator):
        generator = make_generator()
        layers = generator.synthesis.layers()
        assert generator.noise("none") == [None] * 5
        const = generator.noise("const")
        assert [tuple(m.shape) for m in const] == [(1, 1, s, s) for s in (4, 8, 8, 16, 16)]
        assert all(torch.equal(m[0, 0], x.noise_const) for m, x in zip(const, layers, strict=True))

    def test_const_is_the_default(self, make_generator):
        generator = make_generator()
        z = torch.from_numpy(draw_z([3], 8))
        default = generator(z).image
        assert torch.equal(default, generator(z, 1.0, noise=generator.noise("const")).image)
        assert not torch.allclose(default, generator(z, noise=generator.noise("none")).image)

    def test_random_is_one_stream_a_sample(self, make_generator):
        generator = make_generator()
        together = generator.noise("random", streams(7, 8, 9))
        swapped = generator.noise("random", streams(9, 7))
        for side, maps, others in zip((4, 8, 8, 16, 16), together, swapped, strict=True):
            assert maps.shape == (3, 1, side, side)
            assert maps.dtype == torch.float32
            assert torch.equal(maps[0], others[1])
            assert torch.equal(maps[2], others[0])
        # Drawn layer after layer, the lowest first.
        numbers = np.random.RandomState(8).standard_normal(16 + 64 + 64 + 256 + 256)
        drawn = np.concatenate([maps[1].numpy().ravel() for maps in together])
        assert np.array_equal(drawn, numbers.astype(np.float32))


class TestMuted:
    @pytest.mark.parametrize(
        ("mute", "dead_rows", "dead_noise"),
        [("conv1", {0, 1}, {0}), ("const", {0}, set()), (None, set(), set())],
    )
    def test_what_no_longer_counts(self, make_generator, mute, dead_rows, dead_noise):
        """conv1: styles of the first layer, first 8 px layer and first ToRGB; const: of the first.

        Its noise survives under const. Neither rule touches anything else.
        """
        generator = make_generator(32)
        ws, noise = random_ws(generator, 1), generator.noise("const")
        image = generator.synthesis(ws, noise, mute).image
        for row in range(generator.spec.num_ws):
            changed = ws.clone()
            changed[:, row] += 1
            same = torch.equal(generator.synthesis(changed, noise, mute).image, image)
            assert same == (row in dead_rows), row
        for layer in range(len(noise)):
            changed = [m + 1 if k == layer else m for k, m in enumerate(noise)]
            same = torch.equal(generator.synthesis(ws, changed, mute).image, image)
            assert same == (layer in dead_noise), layer

    def test_the_constant_no_longer_counts(self, make_generator):
        generator = make_generator()
        ws, noise = random_ws(generator, 1), generator.noise("const")
        before = {m: generator.synthesis(ws, noise, m).image for m in (None, "conv1", "const")}
        generator.synthesis.b4.const += 1
        after = {m: generator.synthesis(ws, noise, m).image for m in before}
        assert {m: torch.equal(before[m], after[m]) for m in before} == {
            None: False,
            "conv1": True,
            "const": True,
        }

    def test_without_noise_the_interior_is_constant(self, make_generator):
        generator = make_generator(32)
        ws = random_ws(generator, 2)
        silent, loud = generator.noise("none"), generator.noise("const")

        def spread(noise, mute):
            interior = generator.synthesis(ws, noise, mute).image[:, :, 13:19, 13:19]
            return (interior.amax((2, 3)) - interior.amin((2, 3))).numpy()

        # Zero padding reaches 1 px in at 8 px, 5 at 16 and 13 at 32; rounding is all that is left.
        assert spread(silent, "conv1").max() < 2e-6
        assert spread(silent, None).min() > 1e-2
        assert spread(loud, "conv1").min() > 1e-2
        # Under const the padding reaches one convolution further: everywhere in a small picture.
        assert spread(silent, "const").min() > 1e-3

    def test_the_muted_features_are_zero(self, make_generator):
        generator = make_generator()
        ws, noise = random_ws(generator, 2), generator.noise("const")
        assert generator.synthesis(ws, noise, "conv1").features[4][0].abs().max() == 0
        assert generator.synthesis(ws, noise, "const").features[4][0].abs().min() > 0

    def test_through_the_front_door(self, make_generator):
        generator = make_generator()
        z = torch.from_numpy(draw_z([3, 4], 8))
        ws = generator.truncate(generator.mapping(z), 0.7)
        direct = generator.synthesis(ws, generator.noise("none"), "const").image
        assert torch.equal(
            generator(z, 0.7, noise=generator.noise("none"), mute="const").image, direct
        )


def test_parameter_names_are_the_fields(make_generator):
    names = set(make_generator().state_dict())
    layer = {"affine.weight", "affine.bias", "weight", "bias", "noise_strength", "noise_const"}
    rgb = {"affine.weight", "affine.bias", "weight", "bias"}
    expected = {"w_avg", "synthesis.b4.const"}
    expected |= {f"mapping.fc.{k}.{part}" for k in (0, 1) for part in ("weight", "bias")}
    for block, convs in ((4, ["conv1"]), (8, ["conv0", "conv1"]), (16, ["conv0", "conv1"])):
        expected |= {f"synthesis.b{block}.{conv}.{part}" for conv in convs for part in layer}
        expected |= {f"synthesis.b{block}.torgb.{part}" for part in rgb}
    assert names == expected


def test_a_new_generator_is_drawn_from_torchs_stream():
    spec = GeneratorSpec(16, {4: 2, 8: 2, 16: 2}, 4, 4, 1)
    nets = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        nets.append(Generator(spec).state_dict())
    assert all(torch.equal(nets[0][k], nets[1][k]) for k in nets[0])
    assert not torch.equal(nets[0]["synthesis.b4.const"], nets[2]["synthesis.b4.const"])
    assert isinstance(Generator(spec).mapping, MappingNetwork)
