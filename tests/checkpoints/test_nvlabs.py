"""NVIDIA's PyTorch pickles: the tree of objects, its attributes, and what is not supported."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from l4f_datagen.checkpoints.open import open_discriminator, open_generator
from l4f_datagen.core.errors import CheckpointRefused


def _write(path: Path, foreign: ModuleType, protocol: int = 4, **options: Any) -> Path:
    generator = options.pop("generator", None) or foreign.make_generator()
    g_ema = foreign.ada_generator(generator, **options)
    written: Path = foreign.write_pickle(path, foreign.ada_snapshot(g_ema), protocol)
    return written


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("channels_last", [False, True])
def test_snapshots_come_back(
    protocol: int, channels_last: bool, tmp_path: Path, foreign: ModuleType
) -> None:
    generator = foreign.make_generator(channels={4: 6, 8: 5, 16: 3, 32: 4})
    path = _write(
        tmp_path / "a", foreign, protocol, generator=generator, channels_last=channels_last
    )
    checkpoint = open_generator(path)
    assert checkpoint.format == "nvlabs-pytorch"
    assert checkpoint.spec == generator.spec
    for key, tensor in generator.state_dict().items():
        assert torch.equal(checkpoint.state[key], tensor), key
        assert checkpoint.state[key].is_contiguous()


def test_layers_really_clip(tmp_path: Path, foreign: ModuleType) -> None:
    generator = foreign.make_generator(conv_clamp=0.5)
    z = torch.randn(2, 5)
    built = open_generator(_write(tmp_path / "a", foreign, generator=generator)).build()
    out = built(z)
    assert built.spec.conv_clamp == 0.5
    assert torch.equal(out.image, generator(z).image)
    assert float(out.features[16][1].abs().max()) == 0.5


def test_without_a_mean_of_w_one_is_estimated(tmp_path: Path, foreign: ModuleType) -> None:
    checkpoint = open_generator(_write(tmp_path / "a", foreign, w_avg=False))
    assert not checkpoint.has_w_avg
    assert float(checkpoint.build().w_avg.abs().sum()) > 0


def test_discriminators_come_back(tmp_path: Path, foreign: ModuleType) -> None:
    discriminator = foreign.make_discriminator(resolution=32)
    g_ema = foreign.ada_generator(foreign.make_generator())
    snapshot = foreign.ada_snapshot(g_ema, foreign.ada_discriminator(discriminator))
    checkpoint = open_discriminator(foreign.write_pickle(tmp_path / "a", snapshot))
    assert checkpoint.channels == discriminator.channels
    images = torch.randn(4, 3, 32, 32)
    assert torch.equal(checkpoint.build()(images), discriminator(images))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"architecture": "resnet"}, "architecture 'resnet', not 'skip'"),
        ({"architecture": "orig"}, "architecture 'orig', not 'skip'"),
        ({"activation": "relu"}, "activation = relu, expected lrelu"),
        ({"use_noise": False}, "use_noise = False, expected True"),
        ({"up": 4}, "up = 4, expected"),
        ({"conv_clamp": 9}, "different conv_clamp"),
        ({"conv_clamp": -1.0}, "conv_clamp = -1.0"),
        ({"conv_clamp": "x"}, "conv_clamp = x"),
        ({"activation": 3}, "activation = 3, expected lrelu"),
    ],
)
def test_other_networks_are_refused(
    options: dict[str, Any], said: str, tmp_path: Path, foreign: ModuleType
) -> None:
    with pytest.raises(CheckpointRefused, match=said):
        open_generator(_write(tmp_path / "a", foreign, **options))


def _edited(foreign: ModuleType, *place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A snapshot, and the state of one module of its G_ema."""
    snapshot = foreign.ada_snapshot(foreign.ada_generator(foreign.make_generator()))
    state = snapshot["G_ema"].meta["state"]
    for name in place:
        state = state["_modules"][name].meta["state"]
    return snapshot, state


LAYER = ("synthesis", "b8", "conv0")


@pytest.mark.parametrize(
    ("place", "kind", "name", "value", "said"),
    [
        (LAYER, "_buffers", "resample_filter", torch.ones(4, 4), "another resampling filter"),
        (LAYER, "_buffers", "resample_filter", torch.ones(12), "another resampling filter"),
        (LAYER, "_parameters", "extra", torch.ones(1), "G_ema.synthesis.b8.conv0.extra, for which"),
        (LAYER, "_parameters", "weight", None, "lacks synthesis.b8.conv0.weight"),
        (LAYER, "_parameters", "weight", "text", "b8.conv0.weight that is no tensor"),
        (LAYER, "_parameters", "x" * 101, torch.ones(1), "damaged parameters"),
        (LAYER, "_modules", "other", 3, "'synthesis.b8.conv0.other' is no module"),
        (("mapping", "fc0"), "bias_gain", None, 1.0, "fc0.bias_gain = 1.0, expected 0.01"),
        (("mapping", "fc0"), "activation", None, ["x"] * 3, r"activation = \[x, x, x\]"),
        ((), "c_dim", None, 4, "lacks layers for them"),
        (("synthesis",), "_modules", "input", "input", "StyleGAN3"),
        ((), "_parameters", None, [1], "damaged parameters"),
    ],
)
def test_damage_is_named(
    place: tuple[str, ...],
    kind: str,
    name: str | None,
    value: Any,
    said: str,
    tmp_path: Path,
    foreign: ModuleType,
) -> None:
    snapshot, state = _edited(foreign, *place)
    if value == "input":
        value = foreign.Persistent("SynthesisInput", {})
    if name is None:
        state[kind] = value
    else:
        state[kind][name] = value
    with pytest.raises(CheckpointRefused, match=said):
        open_generator(foreign.write_pickle(tmp_path / "a", snapshot))


def test_a_tree_that_holds_itself_is_refused(tmp_path: Path, foreign: ModuleType) -> None:
    snapshot, state = _edited(foreign, "synthesis")
    state["_modules"]["again"] = snapshot["G_ema"]
    snapshot["G_ema"].meta["state"]["_modules"]["again"] = state["_modules"]["b8"]
    with pytest.raises(CheckpointRefused, match=r"no module|there is no place|cannot be read"):
        open_generator(foreign.write_pickle(tmp_path / "a", snapshot))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("G_ema", {"a": 1}, "no StyleGAN2 generator .*in G_ema its keys are a"),
        ("G_ema", [1], "no StyleGAN2 generator .*in G_ema it is a list"),
    ],
)
def test_a_snapshot_without_its_generator_is_refused(
    key: str, value: Any, said: str, tmp_path: Path, foreign: ModuleType
) -> None:
    snapshot, _ = _edited(foreign)
    snapshot[key] = value
    with pytest.raises(CheckpointRefused, match=said):
        open_generator(foreign.write_pickle(tmp_path / "a", snapshot))


def test_discriminators_of_other_kinds_are_refused(tmp_path: Path, foreign: ModuleType) -> None:
    snapshot, _ = _edited(foreign)
    state = snapshot["D"].meta["state"]
    path = tmp_path / "a"
    state["c_dim"] = 10
    with pytest.raises(CheckpointRefused, match="class-conditional discriminator"):
        open_discriminator(foreign.write_pickle(path, snapshot))
    state["c_dim"] = 0
    state["_parameters"]["extra"] = torch.zeros(1)
    with pytest.raises(CheckpointRefused, match=r"D.extra, for which there is no place"):
        open_discriminator(foreign.write_pickle(path, snapshot))
    snapshot["D"] = None
    with pytest.raises(CheckpointRefused, match="holds no StyleGAN2 discriminator"):
        open_discriminator(foreign.write_pickle(path, snapshot))


def test_an_unconditional_network_has_no_classes(tmp_path: Path, foreign: ModuleType) -> None:
    with pytest.raises(CheckpointRefused, match="no classes to choose from"):
        open_generator(_write(tmp_path / "a", foreign), class_index=0)
