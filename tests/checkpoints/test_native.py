"""Our own files: stable bytes, what they say, and refusals of everything else."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from l4f_datagen.checkpoints import native
from l4f_datagen.checkpoints.open import (
    open_alpha,
    open_checkpoint,
    open_discriminator,
    open_generator,
)
from l4f_datagen.core.errors import CheckpointRefused, L4FError
from l4f_datagen.recipe.catalogue import NVIDIA_STYLEGAN2, Licence


@pytest.fixture
def save(tmp_path, foreign):
    """Saves a generator (None: a new one) in the folder of the test."""

    def written(generator=None, *, name="g.safetensors", state=None, **facts):
        generator = generator or foreign.make_generator()
        path = tmp_path / name
        native.save_generator(path, generator.spec, state or generator.state_dict(), **facts)
        return path

    return written


@pytest.mark.parametrize(
    "licence",
    [
        Licence("cc0-1.0", "https://example.org/cc0", commercial=True),
        Licence("mine"),  # may leave things open
        Licence("cc-by-4.0", "https://example.org/by", True, "A. Author, Data in Brief 30"),
    ],
)
def test_generators_and_what_is_said_of_them_come_back(licence, save, foreign):
    generator = foreign.make_generator(conv_clamp=256.0)
    facts = {"origin": "a test", "source_sha256": "ab" * 32, "training": {"kimg": 3.5}}
    checkpoint = open_generator(save(generator, licence=licence, **facts))
    assert checkpoint.spec == generator.spec
    assert (checkpoint.licence, checkpoint.origin) == (licence, "a test")
    assert checkpoint.native.source_sha256 == "ab" * 32
    assert checkpoint.native.training == {"kimg": 3.5}
    z = torch.randn(3, 5)
    assert torch.equal(checkpoint.build()(z, 0.7).image, generator(z, 0.7).image)


def test_the_users_library_reads_our_files(save, foreign):
    generator = foreign.make_generator()
    path = save(generator, licence=NVIDIA_STYLEGAN2, half=True)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "l4f-datagen"
    assert json.loads(metadata["licence"])["commercial"] is False
    assert json.loads(metadata["spec"])["channels"] == {"4": 6, "8": 5, "16": 3}
    state, loaded = generator.state_dict(), load_file(path)
    assert set(loaded) == set(state)
    for key, tensor in loaded.items():
        whole = key.startswith(("mapping.", "w_avg")) or key.endswith(("bias", "const"))
        assert tensor.dtype == (torch.float32 if whole else torch.float16)
        assert torch.equal(tensor, state[key].to(tensor.dtype))


def test_two_saves_give_the_same_bytes(save, foreign):
    generator = foreign.make_generator()
    first = save(generator, licence=Licence("mine"), origin="x")
    state = dict(reversed(generator.state_dict().items()))
    second = save(generator, name="2", state=state, origin="x", licence=Licence("mine"))
    assert first.read_bytes() == second.read_bytes()


def test_the_fingerprint_is_of_the_weights_alone_in_half_precision(save, foreign):
    generator = foreign.make_generator()
    state = dict(generator.state_dict())
    whole = native.fingerprint(state)
    assert open_generator(save(generator, half=True)).fingerprint == whole
    changed = {**state, "synthesis.b4.conv1.bias": state["synthesis.b4.conv1.bias"] + 1}
    assert native.fingerprint(changed) != whole
    del state["w_avg"]
    assert native.fingerprint({k: v for k, v in state.items() if "noise_const" not in k}) == whole


def test_discriminators_and_alpha_networks_come_back(tmp_path, foreign):
    discriminator, network = foreign.make_discriminator(), foreign.make_alpha(sides=(8, 16, 32))
    native.save_discriminator(tmp_path / "d", discriminator, origin="d")
    facts = {"generator_fingerprint": "f" * 64, "training": {"its": 9}}
    native.save_alpha(tmp_path / "a", network, **facts)
    images = torch.randn(4, 3, 16, 16)
    assert torch.equal(open_discriminator(tmp_path / "d").build()(images), discriminator(images))
    alpha = open_alpha(tmp_path / "a")
    assert alpha.generator_fingerprint == "f" * 64
    assert alpha.native.training == {"its": 9}
    features = {side: [torch.randn(1, c, side, side)] * 2 for side, c in network.channels.items()}
    assert torch.equal(alpha.build()(features), network(features))
    kinds = [open_checkpoint(tmp_path / name).kind for name in "da"]
    assert kinds == ["discriminator", "alpha"]
    # The last-layer ablation reads the top resolution only.
    native.save_alpha(tmp_path / "one", foreign.make_alpha(sides=(16,)), generator_fingerprint=None)
    checkpoint = open_alpha(tmp_path / "one")
    assert (checkpoint.resolutions, checkpoint.generator_fingerprint) == ((16,), None)


def test_what_half_precision_cannot_hold_stays_whole_and_what_is_no_number_is_refused(
    save, foreign
):
    state, key = dict(foreign.make_generator().state_dict()), "synthesis.b4.conv1.weight"
    state[key] = torch.full_like(state[key], 65_520)  # what rounds to infinity
    path = save(state=state, half=True)
    stored, before = load_file(path), path.read_bytes()
    assert torch.equal(stored[key], state[key])
    assert stored["synthesis.b8.conv1.weight"].dtype == torch.float16
    assert open_generator(path).fingerprint == native.fingerprint(state)
    state[key] = state[key] / 0
    with pytest.raises(ValueError, match=rf"{key} holds NaN or infinite values"):
        save(state=state)
    assert path.read_bytes() == before


def test_a_failed_write_leaves_nothing(tmp_path, save, monkeypatch):
    with pytest.raises(L4FError, match=r"cannot be written .No such file"):
        save(name="missing/g.safetensors")

    def full(_self, _target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(L4FError, match="No space left on device"):
        save()
    assert list(tmp_path.iterdir()) == []


FREE = '{"name": "x", "link": "y", "commercial": true'


@pytest.mark.parametrize(
    ("tensors", "metadata", "said"),
    [
        ({}, {"format": "pt"}, r"holds mapping\.fc\.0\.(bias|weight), for which"),
        ({}, {"version": "2"}, "format version '2'; install a newer"),
        ({}, {"kind": "alpha"}, "holds 'alpha', expected 'generator'"),
        ({}, {"kind": "else"}, "holds 'else'"),
        ({}, {"spec": "[" * 100_000}, "metadata that cannot be read"),
        ({}, {"spec": "3"}, "spec or training is no object"),
        ({}, {"training": "3"}, "spec or training is no object"),
        ({}, {"spec": None}, "metadata that cannot be read"),
        ({}, {"spec": '{"conv_clamp": true}'}, "conv_clamp True"),
        ({}, {"licence": '{"name": "x"}'}, "without a sound name"),
        ({}, {"licence": FREE.replace("true", '"no"') + "}"}, "without a sound name"),
        ({}, {"licence": FREE.replace('"y"', "3") + "}"}, "without a sound name"),
        ({}, {"licence": FREE + ', "attribution": 3}'}, "without a sound name"),
        ({"synthesis.b8.conv0.weight": None}, {}, "lacks synthesis.b8.conv0.weight"),
        ({"extra": torch.zeros(1)}, {}, "holds extra, for which"),
        ({"mapping.fc.0.weight": torch.zeros(7)}, {}, r"the shape \[7\], expected 2 sizes"),
        ({"synthesis.b4.const": torch.zeros(0, 4, 4)}, {}, "is empty"),
        ({"synthesis.b16.conv1.weight": None}, {}, "holds|lacks|resolution"),
    ],
)
def test_files_that_are_not_ours_or_damaged_are_refused(tensors, metadata, said, save):
    """Changes tensors or metadata of a file of ours; None leaves out."""
    path = save()
    with safe_open(path, "pt") as file:
        parts = [load_file(path) | tensors, file.metadata() | metadata]
    parts = [{k: v for k, v in part.items() if v is not None} for part in parts]
    native.write_safetensors(path, *parts)
    with pytest.raises(CheckpointRefused, match=said):
        open_generator(path)
