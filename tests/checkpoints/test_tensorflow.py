"""NVIDIA's TensorFlow pickles: transposes, the mirrored kernel, the missing one, and refusals."""

import numpy as np
import pytest
import torch

from l4f_datagen.checkpoints.open import open_discriminator, open_generator


def _snapshot(foreign):
    return foreign.tf_snapshot(foreign.make_generator(), foreign.make_discriminator())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_snapshots_come_back(protocol, tmp_path, foreign):
    generator = foreign.make_generator(channels={4: 6, 8: 5, 16: 3, 32: 4}, conv_clamp=256.0)
    discriminator = foreign.make_discriminator(resolution=32)
    options = {"conv_clamp": 256, "resample_kernel": (1, 3, 3, 1), "mapping_lrmul": 0.01}
    snapshot = foreign.tf_snapshot(generator, discriminator, **options)
    path = foreign.write_pickle(tmp_path / "t", snapshot, protocol)
    checkpoint = open_generator(path)
    assert (checkpoint.format, checkpoint.spec) == ("nvlabs-tensorflow", generator.spec)
    for key, tensor in generator.state_dict().items():
        assert torch.allclose(checkpoint.state[key], tensor, atol=1e-6), key
        assert checkpoint.state[key].is_contiguous()
    images = torch.randn(4, 3, 32, 32)
    assert torch.equal(open_discriminator(path).build()(images), discriminator(images))


def _option(**options):
    return lambda network: network.static_kwargs.update(options)


def _add(name, value):
    return lambda network: network.variables.append((name, value))


def _set(attribute, value):
    return lambda network: network.__dict__.update({attribute: value})


def _many(network):
    """Components that share components: a short file would be walked for ages."""
    network.components.update({str(k): network.components["mapping"] for k in range(100)})


THREE = np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_option(label_size=10), r"class-conditional \(label_size = 10\)"),
        (_option(architecture="resnet"), "Gs.architecture = resnet, expected skip"),
        (_option(resample_kernel=[1, 2, 1]), r"resample_kernel = \[1, 2, 1\]"),
        (_option(nonlinearity="relu"), "nonlinearity = relu"),
        (_option(mapping_lrmul=1.0), "mapping_lrmul = 1.0"),
        (_option(normalize_latents=False), "normalize_latents = False"),
        (_option(conv_clamp=-3), "conv_clamp -3"),
        (_add("other/weight", THREE), "Gs.other/weight, for which"),
        (_add("8x8/Conv1/StyleMod/weight", THREE), "StyleGAN1"),
        (_add("ToRGB_lod0/weight", THREE), "StyleGAN1"),
        (_add("LabelConcat/weight", THREE), "class-conditional"),
        (_add("dlatent_avg", np.zeros(7, np.float32)), "variable 'dlatent_avg' twice"),
        (_add(3, THREE), "damaged variable"),
        (_add("noise0", "text"), "'noise0' that is no array"),
        (_many, "has no Gs"),
        (lambda network: network.components.pop("mapping"), "lacks mapping.fc.0.weight"),
        (lambda network: network.components.update(x=3), "has no Gs"),
        (_set("variables", None), "without options or variables"),
        (_set("static_kwargs", 3), "without options or variables"),
    ],
)
def test_other_networks_and_damage_are_refused(change, said, foreign, refused):
    snapshot = _snapshot(foreign)
    change(snapshot[2])
    refused(snapshot, said, pickled=True)


def test_tuples_of_other_things_are_refused(tmp_path, foreign, refused):
    first, second, third = _snapshot(foreign)
    refused((first, second), "has no Gs", pickled=True)
    used = open_generator(foreign.write_pickle(tmp_path / "t", (first, second, None)))
    assert used.notes == ("it holds no averaged generator, so G is used, the one last trained",)
    refused((first, None, third), "has no D, the discriminator", open_discriminator, pickled=True)
    refused((1, 2, 3), "it is a tuple", pickled=True)
    second.variables.append(("8x8/Other/weight", THREE))
    words = r"D.8x8/Other/weight, for which"
    refused((first, second, third), words, open_discriminator, pickled=True)
