"""The authors' alpha checkpoints: both class layouts, and what they call things."""

import argparse

import pytest
import torch

from l4f_datagen.checkpoints.open import open_alpha, open_checkpoint, open_generator
from l4f_datagen.core.errors import CheckpointRefused


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("legacy", [False, True])
def test_both_layouts_come_back(lists, prefix, legacy, tmp_path, foreign):
    network = foreign.make_alpha(sides=(8, 16, 32, 64, 128, 256))
    value = foreign.labels4free_snapshot(network, lists, prefix)
    checkpoint = open_alpha(foreign.write_torch(tmp_path / "a", value, legacy=legacy))
    assert checkpoint.format == "labels4free"
    assert checkpoint.resolutions == (8, 16, 32, 64, 128, 256)
    assert checkpoint.channels == network.channels
    assert checkpoint.generator_fingerprint is None
    features = {side: [torch.randn(1, c, side, side)] * 2 for side, c in network.channels.items()}
    assert torch.equal(checkpoint.build()(features), network(features))


def test_without_options_the_widths_tell_the_size(tmp_path, foreign):
    network = foreign.make_alpha(sides=(16, 32, 64, 128, 256, 512))
    value = foreign.labels4free_snapshot(network)
    del value["args"]
    state = value["bg_extractor_ema"]
    for name in ("conv11.weight", "conv12.weight"):
        state[name] = torch.randn(3, 64, 1, 1)
    checkpoint = open_alpha(foreign.write_torch(tmp_path / "a", value))
    assert checkpoint.resolutions[-1] == 512
    state["conv11.weight"] = torch.randn(3, 77, 1, 1)
    with pytest.raises(CheckpointRefused, match="does not say its image size"):
        open_alpha(foreign.write_torch(tmp_path / "b", value))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda value: value.pop("bg_extractor_ema"), "has no bg_extractor_ema"),
        (lambda value: value["bg_extractor_ema"].pop("conv_n.bias"), "lacks out.bias"),
        (
            lambda value: value["bg_extractor_ema"].update(other=torch.zeros(1)),
            "ema.other, for which",
        ),
        (lambda value: value["bg_extractor_ema"].update({"conv0.weight": torch.zeros(1)}), "conv0"),
        (lambda value: value["bg_extractor_ema"].clear(), "no dict of tensors"),
        (
            lambda value: value["bg_extractor_ema"].update(
                {"conv1.bias": torch.full((3,), torch.nan)}
            ),
            "conv1.bias holds NaN",
        ),
    ],
)
def test_damage_is_named(change, said, tmp_path, foreign):
    value = foreign.labels4free_snapshot(foreign.make_alpha(sides=(8, 16, 32)))
    change(value)
    value["args"] = argparse.Namespace(size=32 if value.get("bg_extractor_ema") else None)
    with pytest.raises(CheckpointRefused, match=said):
        open_alpha(foreign.write_torch(tmp_path / "a", value))


def test_an_alpha_file_is_no_generator_and_the_other_way_round(tmp_path, foreign):
    alpha = foreign.labels4free_snapshot(foreign.make_alpha())
    generator = foreign.rosinality_converted(foreign.make_generator())
    alpha_path = foreign.write_torch(tmp_path / "a", alpha)
    generator_path = foreign.write_torch(tmp_path / "g", generator)
    with pytest.raises(CheckpointRefused, match="holds an alpha network"):
        open_generator(alpha_path)
    with pytest.raises(CheckpointRefused, match=r"no alpha network .its keys are g_ema"):
        open_alpha(generator_path)
    assert open_checkpoint(alpha_path).kind == "alpha"
    assert open_checkpoint(generator_path).kind == "generator"
