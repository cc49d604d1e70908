"""State dicts of rosinality and of the Labels4Free authors: each key has a place, damage a name."""

import argparse

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


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "channels", [{4: 6, 8: 5, 16: 3}, {4: 3, 8: 7, 16: 2, 32: 5, 64: 4, 128: 1}]
)
def test_converted_files_come_back(legacy, channels, tmp_path, foreign):
    generator = foreign.make_generator(channels=channels)
    value = foreign.rosinality_converted(generator)
    checkpoint = open_generator(foreign.write_torch(tmp_path / "r", value, legacy=legacy))
    assert checkpoint.format == "rosinality"
    assert checkpoint.has_w_avg
    assert checkpoint.has_noise
    assert checkpoint.spec == generator.spec
    for key, tensor in generator.state_dict().items():
        assert torch.equal(checkpoint.state[key], tensor), key


def test_trained_files_come_back_with_an_estimated_mean(tmp_path, foreign):
    generator, discriminator = foreign.make_generator(), foreign.make_discriminator()
    value = foreign.rosinality_trained(generator, discriminator)
    checkpoint = open_generator(foreign.write_torch(tmp_path / "r", value))
    assert not checkpoint.has_w_avg
    built = checkpoint.build()
    assert torch.equal(built.w_avg, estimate_w_avg(generator.mapping, generator.spec.z_dim))
    images = torch.randn(4, 3, 16, 16)
    read = open_discriminator(tmp_path / "r").build()
    assert torch.equal(read(images), discriminator(images))
    assert read.channels == discriminator.channels


def test_distributed_training_leaves_a_prefix_and_the_mean_may_have_a_batch_axis(tmp_path, foreign):
    generator = foreign.make_generator()
    state = {f"module.{key}": value for key, value in foreign.rosinality_state(generator).items()}
    value = {"g_ema": state, "latent_avg": generator.w_avg[None]}
    checkpoint = open_generator(foreign.write_torch(tmp_path / "r", value))
    assert torch.equal(checkpoint.state["synthesis.b4.const"], generator.synthesis.b4.const)
    assert torch.equal(checkpoint.state["w_avg"], generator.w_avg)


@pytest.mark.parametrize("with_w_avg", [False, True])
@pytest.mark.parametrize("lacking", ["noises.", "noises.noise_3"])
def test_missing_noise_maps_are_drawn_each_from_a_seed_of_its_own(
    lacking, with_w_avg, tmp_path, foreign
):
    """The draw is part of the promise: a later version must give the same images."""
    generator = foreign.make_generator()
    state = foreign.rosinality_state(generator, kernels=False)
    stored = {key: value for key, value in state.items() if not key.startswith(lacking)}
    value = {"g_ema": stored} | ({"latent_avg": generator.w_avg} if with_w_avg else {})
    checkpoint = open_generator(foreign.write_torch(tmp_path / "r", value))
    assert (checkpoint.has_noise, checkpoint.has_w_avg) == (False, with_w_avg)
    mean = estimate_w_avg(generator.mapping, generator.spec.z_dim)
    w_avg = generator.w_avg if with_w_avg else mean
    assert torch.equal(checkpoint.complete_state["w_avg"], w_avg)
    assert list(checkpoint.complete_state) == list(generator.state_dict())
    for k, layer in enumerate(checkpoint.build().synthesis.layers()):
        drawn = np.random.RandomState(2000 + k).standard_normal(layer.noise_const.shape)
        expected = stored.get(f"noises.noise_{k}", drawn[None, None].astype(np.float32))
        assert np.array_equal(layer.noise_const, expected[0, 0])


def _set(name, tensor, part="g_ema"):
    return lambda value: value[part].update({name: tensor})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("extra.weight", torch.zeros(1)), "holds g_ema.extra.weight"),
        (_set("convs.99.noise.weight", torch.zeros(1)), "g_ema.convs.99.noise.weight"),
        (_set("input.input", torch.zeros(2, 6, 4, 4)), r"g_ema.input.input has the shape \[2, 6"),
        (_set("conv1.noise.weight", torch.zeros(2)), r"the shape \[2\], which cannot become ours"),
        (_set("to_rgb1.bias", torch.zeros(1, 3, 2, 1)), r"bias as \[3, 2\], expected \[3\]"),
        (_set("convs.1.conv.weight", torch.zeros(5, 5, 3, 3)), "g_ema.convs.1.conv.weight"),
        (_set("convs.0.conv.blur.kernel", torch.ones(4, 4)), "another resampling filter"),
        (_set("to_rgbs.0.upsample.kernel", torch.zeros(4, 4)), "another resampling filter"),
        (_set("style.1.bias", torch.full((7,), torch.inf)), "style.1.bias holds NaN or infinite"),
        (_set("style.1.bias", torch.zeros(7, dtype=torch.int64)), "style.1.bias is int64"),
        (lambda value: value["g_ema"].pop("style.2.weight"), "lacks mapping.fc.2.weight|lacks"),
        (lambda value: value["g_ema"].clear(), "in g_ema its keys are"),
        (lambda value: value.update(latent_avg=torch.zeros(3)), r"latent_avg as \[3\]"),
        (lambda value: value.update(latent_avg=0.5), "latent_avg that is no tensor"),
        (lambda value: value.update(g_ema=[1]), "in g_ema it"),
        (_set("x" * 201, torch.zeros(1)), "in g_ema its keys"),
        (lambda value: value.pop("g_ema"), "its keys are latent_avg"),
    ],
)
def test_damage_is_named(change, said, foreign, refused):
    value = foreign.rosinality_converted(foreign.make_generator())
    change(value)
    refused(value, said)


@pytest.mark.parametrize("resolution", [8, 2048])
def test_sizes_that_no_network_here_has_are_refused(resolution, foreign, refused):
    state = foreign.rosinality_state(foreign.make_generator())
    if resolution == 8:
        above = ("convs.2", "convs.3", "to_rgbs.1", "noises.noise_3", "noises.noise_4")
        state = {key: value for key, value in state.items() if not key.startswith(above)}
    else:
        state["convs.17.conv.weight"] = torch.zeros(1, 2, 2, 3, 3)
    refused({"g_ema": state}, "resolution must be|no place")


@pytest.mark.parametrize(
    ("d", "said"),
    [
        ({}, "holds no StyleGAN2 discriminator"),
        ({"convs.0.0.weight": torch.zeros(3, 3, 1, 1)}, "discriminator of 0 blocks"),
        ({"other": torch.zeros(3)}, "holds d.other"),
        ({"convs.1.conv2.0.kernel": torch.ones(4, 4)}, "another resampling filter"),
    ],
)
def test_discriminators_that_are_none_are_refused(d, said, refused):
    refused({"g_ema": {}, "d": d}, said, open_discriminator)


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("legacy", [False, True])
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
    network = foreign.make_alpha(sides=(16, 32, 64, 128, 256, 512))
    value = foreign.labels4free_snapshot(network)
    del value["args"]
    state = value["bg_extractor_ema"]
    for name in ("conv11.weight", "conv12.weight"):
        state[name] = torch.randn(3, 64, 1, 1)
    checkpoint = open_alpha(foreign.write_torch(tmp_path / "a", value))
    assert checkpoint.resolutions[-1] == 512
    state["conv11.weight"] = torch.randn(3, 77, 1, 1)
    refused(value, "does not say its image size", open_alpha)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda value: value.pop("bg_extractor_ema"), "has no bg_extractor_ema that is"),
        (lambda value: value["bg_extractor_ema"].pop("conv_n.bias"), "lacks out.bias"),
        (_set("other", torch.zeros(1), "bg_extractor_ema"), "ema.other, for which"),
        (_set("conv0.weight", torch.zeros(1), "bg_extractor_ema"), "conv0"),
        (lambda value: value["bg_extractor_ema"].clear(), "is a dict of tensors"),
        (_set("conv1.bias", torch.full((3,), torch.nan), "bg_extractor_ema"), "bias holds NaN"),
    ],
)
def test_damage_of_alpha_networks_is_named(change, said, foreign, refused):
    value = foreign.labels4free_snapshot(foreign.make_alpha(sides=(8, 16, 32)))
    change(value)
    value["args"] = argparse.Namespace(size=32 if value.get("bg_extractor_ema") else None)
    refused(value, said, open_alpha)


def test_an_alpha_file_is_no_generator_and_the_other_way_round(tmp_path, foreign, refused):
    alpha = foreign.labels4free_snapshot(foreign.make_alpha())
    generator = foreign.rosinality_converted(foreign.make_generator())
    refused(alpha, "holds an alpha network")
    refused(generator, r"no alpha network .its keys are g_ema", open_alpha)
    for value, kind in ((alpha, "alpha"), (generator, "generator")):
        assert open_checkpoint(foreign.write_torch(tmp_path / "x", value)).kind == kind
