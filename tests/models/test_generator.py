"""The generator against float64 NumPy, and what its options change."""

import numpy as np
import pytest
import torch

from l4f_datagen.models.generator import Generator, GeneratorSpec, Half, draw_z, estimate_w_avg


def random_ws(generator, batch, seed=0):
    shape = (batch, generator.spec.num_ws, generator.spec.w_dim)
    return torch.from_numpy(np.random.RandomState(seed).randn(*shape).astype(np.float32))


def scene(generator, batch):
    """ws and the stored noise: what a synthesis pass takes."""
    return random_ws(generator, batch), generator.noise("const")


def streams(*seeds):
    return [np.random.RandomState(seed) for seed in seeds]


@pytest.mark.parametrize("mute", [None, "conv1", "const"])
@pytest.mark.parametrize("conv_clamp", [None, 0.9])
@pytest.mark.parametrize("resolution", [16, 32])
def test_synthesis_agrees_with_the_formulas(
    make_generator, reference, resolution, conv_clamp, mute
):
    generator = make_generator(resolution, conv_clamp=conv_clamp)
    ws, noise = random_ws(generator, 2), generator.noise("random", streams(1, 2))
    out = generator.synthesis(ws, noise, mute)
    naive = reference.Generator(generator.state_dict(), conv_clamp)
    for k in range(2):
        maps = [layer_map[k, 0].double().numpy() for layer_map in noise]
        image, features = naive.synthesis(ws[k].double().numpy(), maps, mute)
        np.testing.assert_allclose(out.image[k].numpy(), image, atol=5e-5)
        assert list(out.features) == list(features) == generator.spec.resolutions
        for side, tensors in features.items():
            assert len(out.features[side]) == len(tensors) == (1 if side == 4 else 2)
            for feature, expected in zip(out.features[side], tensors, strict=True):
                np.testing.assert_allclose(feature[k].numpy(), expected, atol=5e-5)
    total = 0
    for side in generator.spec.resolutions:
        total = 0 if side == 4 else np.stack([reference.double(plane) for plane in total])
        total = total + out.rgb_maps[side][0].double().numpy()
    np.testing.assert_allclose(out.image[0].numpy(), total, atol=1e-5)


@pytest.mark.parametrize("psi", [0.0, 0.5, 1.3, [0.3, 0.7, 1.0]])
@pytest.mark.parametrize("cutoff", [None, 0, 2])
@pytest.mark.parametrize("shape", [(3, 8), (3, 6, 8)], ids=["w", "w+"])
def test_truncation(make_generator, psi, cutoff, shape):
    generator = make_generator()
    w = torch.from_numpy(np.random.RandomState(1).randn(*shape).astype(np.float32))
    ws = w if w.ndim == 3 else w[:, None].repeat(1, 6, 1)
    expected = generator.w_avg + torch.tensor(psi).reshape(-1, 1, 1) * (ws - generator.w_avg)
    if cutoff is not None:
        expected[:, cutoff:] = ws[:, cutoff:]
    given = torch.tensor(psi) if isinstance(psi, list) else psi
    torch.testing.assert_close(generator.truncate(w, given, cutoff), expected)
    half = generator.truncate(w.bfloat16(), given, cutoff)  # psi itself is not rounded
    whole = generator.truncate(w.bfloat16().float(), given, cutoff)
    torch.testing.assert_close(half.float(), whole, rtol=0, atol=1e-6)


def test_noise_of_the_file_is_the_default(make_generator):
    generator = make_generator()
    assert generator.noise("none") == [None] * 5
    const, layers = generator.noise("const"), generator.synthesis.layers()
    assert [tuple(m.shape) for m in const] == [(1, 1, s, s) for s in (4, 8, 8, 16, 16)]
    assert all(torch.equal(m[0, 0], x.noise_const) for m, x in zip(const, layers, strict=True))
    z = torch.from_numpy(draw_z([3, 4], 8))
    default = generator(z).image
    assert torch.equal(default, generator(z, 1.0, noise=const).image)
    silent = generator.noise("none")
    assert not torch.allclose(default, generator(z, noise=silent).image)
    ws = generator.truncate(generator.mapping(z), 0.7)
    direct = generator.synthesis(ws, silent, "const").image
    assert torch.equal(generator(z, 0.7, noise=silent, mute="const").image, direct)


def test_random_noise_is_one_stream_a_sample(make_generator):
    generator = make_generator()
    together = generator.noise("random", streams(7, 8, 9))
    swapped = generator.noise("random", streams(9, 7))
    for side, maps, others in zip((4, 8, 8, 16, 16), together, swapped, strict=True):
        assert (maps.shape, maps.dtype) == ((3, 1, side, side), torch.float32)
        assert torch.equal(maps[[2, 0]], others)
    # Drawn layer after layer, the lowest first.
    numbers = np.random.RandomState(8).standard_normal(16 + 64 + 64 + 256 + 256)
    drawn = np.concatenate([maps[1].numpy().ravel() for maps in together])
    assert np.array_equal(drawn, numbers.astype(np.float32))


@pytest.mark.parametrize(
    ("mute", "dead_rows", "dead_noise"),
    [("conv1", {0, 1}, {0}), ("const", {0}, set()), (None, set(), set())],
)
def test_what_no_longer_counts_when_muted(make_generator, mute, dead_rows, dead_noise):
    """conv1: styles of the first layer, first 8 px layer and first ToRGB; const: of the first.

    Its noise survives under const. Neither rule touches anything else.
    """
    generator = make_generator(32)
    ws, noise = scene(generator, 1)
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
    generator.synthesis.b4.const += 1
    same = torch.equal(generator.synthesis(ws, noise, mute).image, image)
    assert same == (mute is not None)


def test_without_noise_the_interior_of_a_muted_image_is_constant(make_generator):
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
    # Under const the padding reaches one convolution further: everywhere in a small image.
    assert spread(silent, "const").min() > 1e-3


def test_parameter_names_are_the_fields(make_generator):
    rgb = {"affine.weight", "affine.bias", "weight", "bias"}
    layer = {*rgb, "noise_strength", "noise_const"}
    expected = {"w_avg", "synthesis.b4.const"}
    expected |= {f"mapping.fc.{k}.{part}" for k in (0, 1) for part in ("weight", "bias")}
    for block, convs in ((4, ["conv1"]), (8, ["conv0", "conv1"]), (16, ["conv0", "conv1"])):
        expected |= {f"synthesis.b{block}.{conv}.{part}" for conv in convs for part in layer}
        expected |= {f"synthesis.b{block}.torgb.{part}" for part in rgb}
    assert set(make_generator().state_dict()) == expected


def test_a_new_generator_is_drawn_from_torchs_stream():
    def drawn(seed):
        torch.manual_seed(seed)
        return Generator(GeneratorSpec(16, {4: 2, 8: 2, 16: 2}, 4, 4, 1)).state_dict()

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["synthesis.b4.const"], other["synthesis.b4.const"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("lowest", [4, 16, 32])
def test_half_precision_is_for_the_top_and_stays_close(make_generator, dtype, lowest):
    generator = make_generator(32)
    inputs = scene(generator, 3)
    exact = generator.synthesis(*inputs)
    half = generator.synthesis(*inputs, half=Half(dtype, lowest))
    for side, two in half.features.items():
        assert {each.dtype for each in two} == {dtype if side >= lowest else torch.float32}
        for each, other in zip(two, exact.features[side], strict=True):
            far = (each.float() - other).abs().max()
            assert far == 0 if side < lowest else far < 0.05 * other.abs().max()
    assert half.image.dtype == torch.float32
    assert 0 < (half.image - exact.image).abs().mean() < 0.03 * exact.image.abs().mean()


def test_fp16_survives_what_would_overflow(make_generator):
    """Styles of thousands: without prenormalisation the products pass 65504 and become NaN."""
    generator = make_generator(16)
    for layer in generator.synthesis.layers():
        layer.affine.bias.mul_(3000)
        layer.weight.mul_(30)
    inputs = scene(generator, 3)
    exact = generator.synthesis(*inputs)
    half = generator.synthesis(*inputs, half=Half(torch.float16, 4))
    for side in (8, 16):
        for each, other in zip(half.features[side], exact.features[side], strict=True):
            assert torch.isfinite(each).all()
            assert (each.float() - other).abs().max() < 0.05 * other.abs().max()


def test_mirroring_turns_the_layout_up_to_there_and_at_the_end_the_image(make_generator):
    generator = make_generator(16)
    inputs = scene(generator, 3)
    plain, at_8, at_16 = (generator.synthesis(*inputs, mirror_at=s) for s in (None, 8, 16))
    for side in (4, 8):
        for one, other in zip(plain.features[side], at_8.features[side], strict=True):
            torch.testing.assert_close(one.flip(3), other)
    assert not torch.allclose(plain.features[16][1].flip(3), at_8.features[16][1], atol=0.1)
    torch.testing.assert_close(at_16.image, plain.image.flip(3))


@pytest.mark.parametrize("noise_mode", ["const", "none"])
def test_symmetric_layers_finish_the_mirrored_image(make_generator, noise_mode):
    generator = make_generator(32)
    for name, parameter in generator.synthesis.named_parameters():
        if name.endswith("weight") and parameter.ndim == 4:
            parameter.copy_((parameter + parameter.flip(3)) / 2)
    ws, noise = random_ws(generator, 3), generator.noise(noise_mode)
    plain, mirrored = (generator.synthesis(ws, noise, mirror_at=s) for s in (None, 8))
    torch.testing.assert_close(mirrored.image, plain.image.flip(3), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mapping_layers", [1, 2, 8])
def test_mapping_and_its_mean_agree_with_the_formulas(make_generator, reference, mapping_layers):
    generator = make_generator(mapping_layers=mapping_layers)
    z, naive = draw_z([4, 5, 6], 8), reference.Generator(generator.state_dict())
    expected = naive.w(z)
    assert np.std(expected, axis=0).min() > 1e-3
    w = generator.mapping(torch.from_numpy(z)).numpy()
    np.testing.assert_allclose(w, expected, rtol=1e-4, atol=1e-5)
    # The mean of ten thousand fixed draws.
    mean = naive.w(np.random.RandomState(1000).randn(10_000, 8).astype(np.float32)).mean(axis=0)
    average = estimate_w_avg(generator.mapping, 8)
    np.testing.assert_allclose(average.numpy(), mean, atol=1e-5)
    assert torch.equal(estimate_w_avg(generator.mapping, 8), average)


def test_seeds_are_a_contract_with_nvidias_tools():
    z = draw_z([0, 42], 4)
    assert z.dtype == np.float32
    # RandomState(0) and RandomState(42), the standard normals NumPy has given since 1.0.
    of_0 = [1.76405235, 0.40015721, 0.97873798, 2.2408932]
    of_42 = [0.49671415, -0.1382643, 0.64768854, 1.52302986]
    np.testing.assert_allclose(z, [of_0, of_42], rtol=1e-6)
    assert np.array_equal(draw_z([5, 6, 2**32 - 1], 8)[2:], draw_z([2**32 - 1], 8))


@pytest.mark.parametrize(("resolution", "num_ws"), [(64, 10), (256, 14), (512, 16), (1024, 18)])
def test_a_spec_knows_its_resolutions(resolution, num_ws):
    sides = [2**k for k in range(2, resolution.bit_length())]
    spec = GeneratorSpec(resolution, dict.fromkeys(sides, 1))
    assert (spec.resolutions, spec.num_ws) == (sides, num_ws)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        *(({"resolution": r}, f"resolution must be one of .*, got {r}") for r in (0, 8, 24, 2048)),
        ({"channels": {4: 1, 8: 1}}, r"channels must name \[4, 8, 16\], got \[4, 8\]"),
        ({"z_dim": 0}, r"widths and depth must be at least 1, got \["),
        ({"mapping_layers": 0}, r"widths and depth must be at least 1, got \["),
        ({"channels": {4: 0, 8: 1, 16: 1}}, r"widths and depth must be at least 1, got \["),
    ],
)
def test_specs_of_no_network_are_refused(change, problem):
    with pytest.raises(ValueError, match=problem):
        GeneratorSpec(**{"resolution": 16, "channels": {4: 1, 8: 1, 16: 1}, **change})
