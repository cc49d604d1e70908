"""State dicts of rosinality and of the Labels4Free authors: each key has a place, damage a name."""

import numpy as np
import pytest
import torch

from l4f_datagen.checkpoints.open import (
    open_alpha,
    open_checkpoint,
    open_discriminator,
    open_generator,
)
from l4f_datagen.models.generator import estimate_w_avg

LEGACY = pytest.mark.parametrize("legacy", [False, True])


@LEGACY
@pytest.mark.parametrize(
    "channels", [{4: 6, 8: 5, 16: 3}, {4: 3, 8: 7, 16: 2, 32: 5, 64: 4, 128: 1}]
)
def test_converted_files_come_back(legacy, channels, tmp_path, foreign):
    generator = foreign.make_generator(channels=channels)
    value = foreign.rosinality_converted(generator)
    checkpoint = open_generator(foreign.write_torch(tmp_path / "r", value, legacy=legacy))
    assert (checkpoint.format, checkpoint.spec) == ("rosinality", generator.spec)
    assert (checkpoint.has_w_avg, checkpoint.has_noise) == (True, True)
    for key, tensor in generator.state_dict().items():
        assert torch.equal(checkpoint.state[key], tensor), key


def test_trained_files_hold_the_discriminator_too(tmp_path, foreign):
    generator, discriminator = foreign.make_generator(), foreign.make_discriminator()
    value = foreign.rosinality_trained(generator, discriminator)
    path = foreign.write_torch(tmp_path / "r", value)
    const = open_generator(path).state["synthesis.b4.const"]
    assert torch.equal(const, generator.synthesis.b4.const)
    images, read = torch.randn(4, 3, 16, 16), open_discriminator(path)
    assert torch.equal(read.build()(images), discriminator(images))
    assert read.channels == discriminator.channels


def test_distributed_training_leaves_a_prefix_and_the_mean_may_have_a_batch_axis(tmp_path, foreign):
    generator = foreign.make_generator()
    state = {f"module.{key}": value for key, value in foreign.rosinality_state(generator).items()}
    value = {"g_ema": state, "latent_avg": generator.w_avg[None]}
    checkpoint = open_generator(foreign.write_torch(tmp_path / "r", value))
    assert torch.equal(checkpoint.state["synthesis.b4.const"], generator.synthesis.b4.const)
    assert torch.equal(checkpoint.state["w_avg"], generator.w_avg)


@pytest.mark.parametrize("with_w_avg", [False, True])
@pytest.mark.parametrize("lacking", ["nothing", "noises.", "noises.noise_3"])
def test_missing_noise_maps_are_drawn_each_from_a_seed_of_its_own(
    lacking, with_w_avg, tmp_path, foreign
):
    """The draw is part of the promise, and so is the mean: later versions give the same images."""
    generator = foreign.make_generator()
    state = foreign.rosinality_state(generator, kernels=False)
    stored = {key: value for key, value in state.items() if not key.startswith(lacking)}
    value = {"g_ema": stored} | ({"latent_avg": generator.w_avg} if with_w_avg else {})
    checkpoint = open_generator(foreign.write_torch(tmp_path / "r", value))
    assert (checkpoint.has_noise, checkpoint.has_w_avg) == (lacking == "nothing", with_w_avg)
    assert list(checkpoint.complete_state) == list(generator.state_dict()) or checkpoint.has_noise
    built = checkpoint.build()
    mean = estimate_w_avg(generator.mapping, generator.spec.z_dim)
    assert torch.equal(built.w_avg, generator.w_avg if with_w_avg else mean)
    for k, layer in enumerate(built.synthesis.layers()):
        drawn = np.random.RandomState(2000 + k).standard_normal(layer.noise_const.shape)
        expected = stored.get(f"noises.noise_{k}", drawn[None, None].astype(np.float32))
        assert np.array_equal(layer.noise_const, expected[0, 0])


@LEGACY
@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_both_layouts_of_alpha_networks_come_back(lists, prefix, legacy, tmp_path, foreign):
    network = foreign.make_alpha(sides=(8, 16, 32, 64, 128, 256))
    value = foreign.labels4free_snapshot(network, lists, prefix)
    checkpoint = open_alpha(foreign.write_torch(tmp_path / "a", value, legacy=legacy))
    assert checkpoint.format == "labels4free"
    assert checkpoint.resolutions == (8, 16, 32, 64, 128, 256)
    assert checkpoint.channels == network.channels
    assert checkpoint.generator_fingerprint is None
    features = {side: [torch.randn(1, c, side, side)] * 2 for side, c in network.channels.items()}
    assert torch.equal(checkpoint.build()(features), network(features))


def test_without_options_the_widths_tell_the_size_of_alpha_networks(tmp_path, foreign, refused):
    value = foreign.labels4free_snapshot(foreign.make_alpha(sides=(16, 32, 64, 128, 256, 512)))
    del value["args"]
    state = value["bg_extractor_ema"]
    for name in ("conv11.weight", "conv12.weight"):
        state[name] = torch.randn(3, 64, 1, 1)
    checkpoint = open_alpha(foreign.write_torch(tmp_path / "a", value))
    assert checkpoint.resolutions[-1] == 512
    state["conv11.weight"] = torch.randn(3, 77, 1, 1)
    refused(value, "does not say its image size", open_alpha)


def test_an_alpha_file_is_no_generator_and_the_other_way_round(tmp_path, foreign, refused):
    alpha = foreign.labels4free_snapshot(foreign.make_alpha())
    generator = foreign.rosinality_converted(foreign.make_generator())
    refused(alpha, "holds an alpha network")
    refused(generator, r"no alpha network .its keys are g_ema", open_alpha)
    for value, kind in ((alpha, "alpha"), (generator, "generator")):
        assert open_checkpoint(foreign.write_torch(tmp_path / "x", value)).kind == kind


GENERATOR, ALPHA, D = "g_ema", "bg_extractor_ema", "d"


def _set(part, name, value):
    return lambda held: held[part].update({name: value})


def _pop(part, name):
    return lambda held: held[part].pop(name)


def _smaller(held):
    """A generator of 8 px."""
    above = ("convs.2", "convs.3", "to_rgbs.1", "noises.noise_3", "noises.noise_4")
    kept = {key: value for key, value in held[GENERATOR].items() if not key.startswith(above)}
    held[GENERATOR] = kept


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        (GENERATOR, _set(GENERATOR, "extra.weight", torch.zeros(1)), "holds g_ema.extra.weight"),
        (GENERATOR, _set(GENERATOR, "convs.99.noise.weight", torch.zeros(1)), "convs.99.noise.we"),
        (GENERATOR, _set(GENERATOR, "input.input", torch.zeros(2, 6, 4, 4)), r"shape \[2, 6"),
        (GENERATOR, _set(GENERATOR, "conv1.noise.weight", torch.zeros(2)), "cannot become ours"),
        (GENERATOR, _set(GENERATOR, "to_rgb1.bias", torch.zeros(1, 3, 2, 1)), r"bias as \[3, 2\]"),
        (GENERATOR, _set(GENERATOR, "convs.1.conv.weight", torch.zeros(5, 5, 3, 3)), "convs.1.con"),
        (GENERATOR, _set(GENERATOR, "convs.0.conv.blur.kernel", torch.ones(4, 4)), "another resam"),
        (GENERATOR, _set(GENERATOR, "to_rgbs.0.upsample.kernel", torch.zeros(4, 4)), "another re"),
        (
            GENERATOR,
            _set(GENERATOR, "style.1.bias", torch.full((7,), torch.inf)),
            "NaN or infinite",
        ),
        (
            GENERATOR,
            _set(GENERATOR, "style.1.bias", torch.zeros(7).long()),
            "style.1.bias is int64",
        ),
        (GENERATOR, _set(GENERATOR, "x" * 201, torch.zeros(1)), "in g_ema its keys"),
        (
            GENERATOR,
            _set(GENERATOR, "convs.17.conv.weight", torch.zeros(1, 2, 2, 3, 3)),
            "no place",
        ),
        (GENERATOR, _smaller, "resolution must be one of"),
        (GENERATOR, _pop(GENERATOR, "style.2.weight"), "lacks mapping.fc.2.weight|lacks"),
        (GENERATOR, lambda held: held[GENERATOR].clear(), "in g_ema its keys are"),
        (GENERATOR, lambda held: held.update(latent_avg=torch.zeros(3)), r"latent_avg as \[3\]"),
        (GENERATOR, lambda held: held.update(latent_avg=0.5), "latent_avg that is no tensor"),
        (GENERATOR, lambda held: held.update(g_ema=[1]), "in g_ema it"),
        (GENERATOR, lambda held: held.pop(GENERATOR), "its keys are latent_avg"),
        (D, lambda held: held, "holds no StyleGAN2 discriminator"),
        (D, _set(D, "convs.0.0.weight", torch.zeros(3, 3, 1, 1)), "discriminator of 0 blocks"),
        (D, _set(D, "other", torch.zeros(3)), "holds d.other"),
        (D, _set(D, "convs.1.conv2.0.kernel", torch.ones(4, 4)), "another resampling filter"),
        (ALPHA, lambda held: held.pop(ALPHA), "has no bg_extractor_ema"),
        (ALPHA, lambda held: held[ALPHA].clear(), "has no bg_extractor_ema that is a dict"),
        (ALPHA, _pop(ALPHA, "conv_n.bias"), "lacks out.bias"),
        (ALPHA, _set(ALPHA, "other", torch.zeros(1)), "ema.other, for which"),
        (ALPHA, _set(ALPHA, "conv0.weight", torch.zeros(1)), "conv0"),
        (ALPHA, _set(ALPHA, "conv1.bias", torch.full((3,), torch.nan)), "bias holds NaN"),
    ],
)
def test_damage_is_named(part, change, said, foreign, refused):
    values = {
        GENERATOR: lambda: foreign.rosinality_converted(foreign.make_generator()),
        ALPHA: lambda: foreign.labels4free_snapshot(foreign.make_alpha(sides=(8, 16, 32))),
        D: lambda: {"g_ema": {}, "d": {}},
    }
    openers = {GENERATOR: open_generator, ALPHA: open_alpha, D: open_discriminator}
    value = values[part]()
    change(value)
    refused(value, said, openers[part])


def test_unknown_layouts_list_their_keys(refused):
    shown = ", ".join(f"key{k}" for k in range(8))
    refused({f"key{k}": k for k in range(12)}, rf"its keys are {shown} and 4 more")
