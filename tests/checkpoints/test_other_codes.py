"""Files of codes and habits beyond the five layouts: opened where unmistakable, else named."""

import re

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from l4f_datagen.checkpoints.convert import checkpoint_facts, convert
from l4f_datagen.checkpoints.open import open_discriminator, open_generator
from l4f_datagen.models.generator import draw_z

LAST_NOTE = "it holds no averaged generator, so {} is used, the one last trained"


def _assert_same(path, generator, w_avg=True):
    """Open a file and compare images with the network that it was written from."""
    built = open_generator(path).build()
    if w_avg:
        assert torch.allclose(built.w_avg, generator.w_avg)
    z, noise = torch.from_numpy(draw_z([0, 1], generator.spec.z_dim)), generator.noise("const")
    ours, theirs = built(z, noise=built.noise("const")).image, generator(z, noise=noise).image
    assert torch.allclose(ours, theirs, atol=1e-5), float((ours - theirs).abs().max())


# ------------------------------------------------------------------- the generator, elsewhere


def _inside(name, state):
    return {f"{name}.{key}": value for key, value in state.items()}


def _lightning(f, g):
    others = _inside("generator", {k: 0 * v for k, v in f.rosinality_state(g).items()})
    state = {**others, **_inside("g_ema", f.rosinality_state(g))}
    return {"state_dict": state, "pytorch-lightning_version": "2.0"}


def _psp(f, g):
    encoder = {"encoder.input_layer.0.weight": torch.zeros(1)}
    state = {**encoder, **_inside("decoder", f.rosinality_state(g))}
    return {"state_dict": state, "latent_avg": g.w_avg.repeat(8, 1)}


WRITTEN = {  # by torch.save unless the name says something else
    "a pickle of the generator alone": lambda f, g: f.ada_generator(g),
    "torch.save(G) of NVIDIA's code": lambda f, g: f.ada_generator(g),
    "torch.save of a snapshot": lambda f, g: {"G_ema": f.ada_generator(g)},
    "a pickle of Gs alone": lambda f, g: f.tf_generator(g),
    "a bare state dict": lambda f, g: f.rosinality_state(g),
    "a state dict in safetensors": lambda f, g: f.rosinality_state(g),
    "params_ema": lambda f, g: {"params_ema": f.rosinality_state(g)},
    "BasicSR": lambda f, g: {"params_ema": f.basicsr_state(g)},
    "genforce": lambda f, g: {"generator_smooth": f.genforce_state(g)},
    "a single dict in a dict": lambda f, g: {"netG": f.rosinality_state(g)},
    "Lightning": _lightning,
    "pSp": _psp,
    "NVIDIA's state dict": lambda f, g: f.nvlabs_state(g),
}


@pytest.mark.parametrize("place", WRITTEN)
def test_the_generator_is_found(place, tmp_path, foreign):
    generator = foreign.make_generator(channels={4: 6, 8: 5, 16: 3, 32: 4})
    path, value = tmp_path / "x", WRITTEN[place](foreign, generator)
    if "safetensors" in place:
        tensors = {key: tensor.contiguous() for key, tensor in value.items()}
        save_file(tensors, path, metadata={"format": "pt"})
    else:
        (foreign.write_pickle if "pickle" in place else foreign.write_torch)(path, value)
    checkpoint = open_generator(path)
    assert checkpoint.has_w_avg == (checkpoint.format not in ("rosinality", "basicsr"))
    _assert_same(path, generator, w_avg=checkpoint.has_w_avg)
    if place == "NVIDIA's state dict":
        assert "does not say where its layers clip" in checkpoint.notes[0]


def test_a_whole_module_of_rosinalitys_code(tmp_path, foreign):
    generator = foreign.make_generator()
    module = foreign.rosinality_module(generator)
    for value in (module, {"g_ema": module}, nn.DataParallel(module)):
        path = foreign.write_torch(tmp_path / "x", value)
        assert open_generator(path).format == "rosinality"
        _assert_same(path, generator, w_avg=False)


@pytest.mark.parametrize("key", ["G", "g"])
def test_without_an_average_the_last_one_is_used_and_said(key, tmp_path, foreign, caplog):
    generator = foreign.make_generator()
    nvidias = {"G": foreign.ada_generator(generator), "D": None, "G_ema": None}
    value = nvidias if key == "G" else {"g": foreign.rosinality_state(generator)}
    write = foreign.write_pickle if key == "G" else foreign.write_torch
    path = write(tmp_path / "x", value)
    _assert_same(path, generator, w_avg=key == "G")
    assert LAST_NOTE.format(key) in caplog.text
    assert checkpoint_facts(path)["notes"] == [LAST_NOTE.format(key)]


# ------------------------------------------------------------------------ channels and shapes


def _grey(generator):
    """Make all layers to RGB give three equal channels."""
    for name, tensor in generator.named_parameters():
        if name.endswith(("torgb.weight", "torgb.bias")):
            tensor.copy_(tensor[:1].expand_as(tensor))
    return generator


def _first_channels(state, count):
    """Cut a rosinality state dict to some image channels, or repeat up to more."""
    state = dict(state)
    for name, tensor in state.items():
        if re.fullmatch(r"to_rgb(1|s\.\d)\.(bias|conv\.weight)", name):
            state[name] = torch.cat([tensor, tensor], dim=1)[:, :count]
    return state


def test_one_channel_is_repeated(tmp_path, foreign, caplog):
    generator = _grey(foreign.make_generator())
    state = _first_channels(foreign.rosinality_state(generator), 1)
    path = foreign.write_torch(tmp_path / "x", {"g_ema": state, "latent_avg": generator.w_avg})
    _assert_same(path, generator)
    assert "its channel is repeated to RGB" in caplog.text
    assert checkpoint_facts(path)["image_channels"] == 1
    convert(path, tmp_path / "y.safetensors")
    _assert_same(tmp_path / "y.safetensors", generator)


def test_the_discriminator_of_one_channel(tmp_path, foreign):
    """On three equal channels it answers as on one: its response is a third of each, summed."""
    discriminator = foreign.make_discriminator()
    state = dict(foreign.rosinality_discriminator(discriminator))
    grey = torch.randn(4, 1, 16, 16)
    weight = discriminator.from_rgb.weight[:, :1].clone()
    state["convs.0.0.weight"] = weight
    path = foreign.write_torch(tmp_path / "x", {"g_ema": {}, "d": state})
    ours = open_discriminator(path).build().from_rgb
    expected = nn.functional.conv2d(grey, weight, discriminator.from_rgb.bias)
    gain = ours.weight.shape[1] ** -0.5
    raw = nn.functional.conv2d(grey.expand(-1, 3, -1, -1), ours.weight * gain, ours.bias)
    assert torch.allclose(raw, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: _first_channels(s, 4), r"RGBA images \(4 channels\), not RGB"),
        (lambda s: _first_channels(s, 2), "images of 2 channels, not RGB"),
        (lambda s: {**s, "input.input": torch.zeros(1, 6, 4, 7)}, "not square .*has 4 x 7 values"),
        (lambda s: {**s, "noises.noise_1": torch.zeros(1, 1, 8, 12)}, "not square .*8 x 12"),
        (lambda s: {**s, "input.input": torch.zeros(1, 6, 8, 8)}, "starts at 8 x 8 and not at 4"),
    ],
)
def test_other_shapes_are_refused_by_name(change, said, foreign, refused):
    state = change(dict(foreign.rosinality_state(foreign.make_generator())))
    refused({"g_ema": state}, said)


# ---------------------------------------------------------------------------- refused by name


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"state_dict": {"ema.style_mapping.1.linear.weight_orig": 1}}, "mmgen.*RGB or BGR; give"),
        ({"generator_ema.constant_input.input": 1, "generator.x": 1}, "mmgeneration or mmagic"),
        (
            {"GAN": {"GE.blocks.0.to_style1.weight": 1, "D.blocks.0.x": 1}},
            "lucidrains.*or that of NVIDIA",
        ),
        ({"g_running": {"generator.progression.0.conv1.conv.weight_orig": 1}}, "StyleGAN1"),
        ({"g_synthesis.blocks.4x4.epi1.style_mod.lin.weight": 1}, "StyleGAN1.*styles scale feat"),
        ({"g_ema": {"synthesis.layer0.epilogue.style_mod.dense.weight": 1}}, "StyleGAN1"),
        ({"synthesis.input.freqs": 1, "synthesis.L0_36_512.weight": 1}, "StyleGAN3"),
        ({"params_ema": {"stylegan_decoder.style_convs.0.bias": 1}}, "GFPGAN's variant"),
    ],
)
def test_known_codes_are_named(value, said, refused):
    def filled(item):
        if isinstance(item, dict):
            return {key: filled(inner) for key, inner in item.items()}
        return torch.zeros(2)

    assert "run code" not in refused(filled(value), said)


class _Config:
    """A class of somebody's own, as found beside weights."""


def test_a_class_of_ones_own_is_not_called_hostile(refused):
    said = r"_Config', which is not among.*state_dict\(\)"
    assert "run code" not in refused({"G_ema": _Config()}, said, pickled=True)
