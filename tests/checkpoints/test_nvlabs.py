"""NVIDIA's PyTorch pickles: the tree of objects, its attributes, and what is not supported."""

import numpy as np
import pytest
import torch

from l4f_datagen.checkpoints.byte_source import ByteSource
from l4f_datagen.checkpoints.containers import read_container
from l4f_datagen.checkpoints.open import open_discriminator, open_generator


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("channels_last", [False, True])
def test_snapshots_come_back(protocol, channels_last, tmp_path, foreign):
    generator = foreign.make_generator(channels={4: 6, 8: 5, 16: 3, 32: 4})
    discriminator = foreign.make_discriminator(resolution=32)
    g_ema = foreign.ada_generator(generator, channels_last=channels_last)
    snapshot = foreign.ada_snapshot(g_ema, foreign.ada_discriminator(discriminator))
    path = foreign.write_pickle(tmp_path / "a", snapshot, protocol)
    checkpoint = open_generator(path)
    assert (checkpoint.format, checkpoint.spec) == ("nvlabs-pytorch", generator.spec)
    for key, tensor in generator.state_dict().items():
        assert torch.equal(checkpoint.state[key], tensor), key
        assert checkpoint.state[key].is_contiguous()
    read, images = open_discriminator(path), torch.randn(4, 3, 32, 32)
    assert read.channels == discriminator.channels
    assert torch.equal(read.build()(images), discriminator(images))


def test_layers_really_clip(tmp_path, foreign):
    generator = foreign.make_generator(conv_clamp=0.5)
    snapshot = foreign.ada_snapshot(foreign.ada_generator(generator))
    built = open_generator(foreign.write_pickle(tmp_path / "a", snapshot)).build()
    z = torch.randn(2, 5)
    assert torch.equal(built(z).image, generator(z).image)
    assert float(built(z).features[16][1].abs().max()) == built.spec.conv_clamp == 0.5


def _edited(foreign, place="", **layer):
    """A snapshot, and the state of one module of its G_ema."""
    snapshot = foreign.ada_snapshot(foreign.ada_generator(foreign.make_generator(), **layer))
    state = snapshot["G_ema"].meta["state"]
    for name in place.split():
        state = state["_modules"][name].meta["state"]
    return snapshot, state


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"architecture": "resnet"}, "b16.architecture = resnet, expected skip"),
        ({"activation": "relu"}, "activation = relu, expected lrelu"),
        ({"use_noise": False}, "use_noise = False, expected True"),
        ({"up": 4}, "up = 4, expected"),
        ({"conv_clamp": 9}, "different conv_clamp"),
        ({"conv_clamp": -1.0}, "conv_clamp -1.0"),
        ({"conv_clamp": "x"}, "conv_clamp x"),
    ],
)
def test_other_networks_are_refused(options, said, foreign, refused):
    refused(_edited(foreign, **options)[0], said, pickled=True)


LAYER = "synthesis b8 conv0"


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
        ("mapping fc0", "bias_gain", None, 1.0, "fc0.bias_gain = 1.0, expected 0.01"),
        ("mapping fc0", "activation", None, ["x"] * 3, r"activation = \[x, x, x\]"),
        ("", "c_dim", None, 4, "lacks layers for them"),
        ("synthesis", "_modules", "input", "input", "StyleGAN3"),
        ("", "_parameters", None, [1], "damaged parameters"),
    ],
)
def test_damage_is_named(place, kind, name, value, said, foreign, refused):
    snapshot, state = _edited(foreign, place)
    value = foreign.Persistent("SynthesisInput", {}) if value == "input" else value
    if name is None:
        state[kind] = value
    else:
        state[kind][name] = value
    refused(snapshot, said, pickled=True)


def test_a_tree_that_holds_itself_is_refused(foreign, refused):
    snapshot, state = _edited(foreign, "synthesis")
    state["_modules"]["again"] = snapshot["G_ema"]
    snapshot["G_ema"].meta["state"]["_modules"]["again"] = state["_modules"]["b8"]
    refused(snapshot, "no module|there is no place|cannot be read", pickled=True)


def test_snapshots_without_networks_or_with_others_are_refused(foreign, refused):
    snapshot, _ = _edited(foreign)
    state = snapshot["D"].meta["state"]
    state["c_dim"] = 10
    refused(snapshot, "class-conditional discriminator", open_discriminator, pickled=True)
    state["c_dim"] = 0
    state["_parameters"]["extra"] = torch.zeros(1)
    words = r"D.extra, for which there is no place"
    refused(snapshot, words, open_discriminator, pickled=True)
    snapshot["D"] = None
    refused(snapshot, "holds no StyleGAN2 discriminator", open_discriminator, pickled=True)
    for value, said in (({"a": 1}, "its keys are a"), ([1], "it is a list")):
        snapshot["G_ema"] = value
        refused(snapshot, f"no StyleGAN2 generator .*in G_ema {said}", pickled=True)


# -------------------------------------------------------- class-conditional, with the class fixed

Z_DIM, EMBED, CLASSES = 5, 4, 3


def _normalised(x):
    return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-8)


def _mapped(z, index, embed, layers):
    """The conditional mapping network in float64, class as a one-hot row."""
    classes = np.eye(embed[0].shape[1])[[index] * len(z)]
    embedded = classes @ embed[0].T / np.sqrt(embed[0].shape[1]) + embed[1]
    x = np.concatenate([_normalised(z), _normalised(embedded)], axis=1)
    for weight, bias in layers:
        x = x @ weight.T * 0.01 / np.sqrt(weight.shape[1]) + bias * 0.01
        x = np.where(x < 0, 0.2 * x, x) * np.sqrt(2)
    return x


def _conditional(foreign):
    generator = foreign.make_generator()
    torch.manual_seed(3)
    embedding = torch.randn(EMBED, CLASSES), torch.randn(EMBED)
    classes = (*embedding, torch.randn(generator.spec.w_dim, Z_DIM + EMBED) * 100)
    g_ema = foreign.ada_generator(generator, classes=classes)
    return foreign.ada_snapshot(g_ema), generator, classes


@pytest.mark.parametrize("index", range(CLASSES))
def test_w_of_a_class(index, tmp_path, foreign):
    snapshot, generator, (embed, embed_bias, first) = _conditional(foreign)
    state = {key: value.double().numpy() for key, value in generator.state_dict().items()}
    state["mapping.fc.0.weight"] = first.double().numpy()
    places = [f"mapping.fc.{k}" for k in range(generator.spec.mapping_layers)]
    layers = [(state[f"{place}.weight"], state[f"{place}.bias"]) for place in places]
    z = np.random.RandomState(0).randn(6, Z_DIM)
    embedding = (embed.double().numpy(), embed_bias.double().numpy())
    expected = _mapped(z, index, embedding, layers)
    path = foreign.write_pickle(tmp_path / "c", snapshot)
    checkpoint = open_generator(path, class_index=index)
    assert checkpoint.class_index == index
    built = checkpoint.build()
    assert np.abs(built.mapping(torch.from_numpy(z)).numpy() - expected).max() < 1e-5
    assert torch.equal(built.w_avg, generator.w_avg)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (None, r"3 classes \(c_dim = 3\); choose one with --class 0 to --class 2"),
        (3, "class 3 is none of them"),
        (-1, "class -1 is none of them"),
    ],
)
def test_the_class_must_be_one_of_them(index, said, foreign, refused):
    refused(_conditional(foreign)[0], said, pickled=True, class_index=index)
    unconditional, _ = _edited(foreign)
    refused(unconditional, "no classes to choose from", pickled=True, class_index=0)


@pytest.mark.parametrize("shape", [(EMBED, CLASSES, 1), (40, CLASSES), (EMBED - 1, CLASSES)])
def test_embeddings_that_do_not_fit_are_refused(shape, foreign, refused):
    first = torch.zeros(foreign.make_generator().spec.w_dim, Z_DIM + EMBED)
    snapshot, _ = _edited(foreign, classes=(torch.zeros(shape), torch.zeros(EMBED), first))
    refused(snapshot, "embedding (of unknown shape|that does not fit)", pickled=True, class_index=0)


def test_the_reference_file(reference_dir):
    path = reference_dir / "conditional_c10.pkl"
    with ByteSource(path) as source:
        root = read_container(source).loaded
        modules = root["G_ema"].state["_modules"]["mapping"].state["_modules"]

        def read(name):
            parts = modules[name].state["_parameters"]
            weight, bias = (parts[key].read().double().numpy() for key in ("weight", "bias"))
            return weight, bias

        embed = read("embed")
        layers = [read(f"fc{k}") for k in range(len(modules) - 1)]
    z_dim = layers[0][0].shape[1] - embed[0].shape[0]
    z = np.random.RandomState(0).randn(4, z_dim)
    for index in (0, 9):
        built = open_generator(path, class_index=index).build()
        w = built.mapping(torch.from_numpy(z)).numpy()
        assert np.abs(w - _mapped(z, index, embed, layers)).max() < 1e-5
        assert built(torch.from_numpy(z)).image.shape == (4, 3, 16, 16)
