"""Our own files: stable bytes, what they say, and refusals of everything else."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from l4f_datagen.checkpoints.native import (
    fingerprint,
    save_alpha,
    save_discriminator,
    save_generator,
    write_safetensors,
)
from l4f_datagen.checkpoints.open import (
    open_alpha,
    open_checkpoint,
    open_discriminator,
    open_generator,
)
from l4f_datagen.core.errors import CheckpointRefused, L4FError
from l4f_datagen.recipe.catalogue import NVIDIA_STYLEGAN2, Licence

LICENCE = Licence("cc0-1.0", "https://example.org/cc0", commercial=True)


def _save(path, generator, **options):
    save_generator(path, generator.spec, generator.state_dict(), **options)
    return path


def test_generators_come_back_bit_for_bit(tmp_path, foreign):
    generator = foreign.make_generator(conv_clamp=256.0)
    facts = {"origin": "a test", "source_sha256": "ab" * 32, "training": {"kimg": 3.5}}
    path = _save(tmp_path / "g.safetensors", generator, licence=LICENCE, **facts)
    checkpoint = open_generator(path)
    assert checkpoint.spec == generator.spec
    assert (checkpoint.licence, checkpoint.origin) == (LICENCE, "a test")
    assert checkpoint.native.source_sha256 == "ab" * 32
    assert checkpoint.native.training == {"kimg": 3.5}
    z = torch.randn(3, 5)
    assert torch.equal(checkpoint.build()(z, 0.7).image, generator(z, 0.7).image)


@pytest.mark.parametrize(
    "licence",
    [
        Licence("mine"),  # may leave things open
        Licence("cc-by-4.0", "https://example.org/by", True, "A. Author, Data in Brief 30"),
    ],
)
def test_licences_and_whom_to_name_stay_with_the_weights(licence, tmp_path, foreign):
    path = _save(tmp_path / "g.safetensors", foreign.make_generator(), licence=licence)
    assert open_generator(path).licence == licence


def test_the_users_library_reads_our_files(tmp_path, foreign):
    generator = foreign.make_generator()
    path = _save(tmp_path / "g.safetensors", generator, licence=NVIDIA_STYLEGAN2, half=True)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "l4f-datagen"
    assert json.loads(metadata["licence"])["commercial"] is False
    assert json.loads(metadata["spec"])["channels"] == {"4": 6, "8": 5, "16": 3}
    state = generator.state_dict()
    loaded = load_file(path)
    assert set(loaded) == set(state)
    for key, tensor in loaded.items():
        whole = key.startswith(("mapping.", "w_avg")) or key.endswith(("bias", "const"))
        assert tensor.dtype == (torch.float32 if whole else torch.float16)
        assert torch.equal(tensor, state[key].to(tensor.dtype))


def test_two_saves_give_the_same_bytes(tmp_path, foreign):
    generator = foreign.make_generator()
    first = _save(tmp_path / "1.safetensors", generator, licence=LICENCE, origin="x")
    state = dict(reversed(generator.state_dict().items()))
    second = tmp_path / "2.safetensors"
    save_generator(second, generator.spec, state, origin="x", licence=LICENCE)
    assert first.read_bytes() == second.read_bytes()


def test_the_fingerprint_is_of_the_weights_alone_in_half_precision(tmp_path, foreign):
    generator = foreign.make_generator()
    state = dict(generator.state_dict())
    whole = fingerprint(state)
    half = open_generator(_save(tmp_path / "h.safetensors", generator, half=True))
    assert half.fingerprint == whole
    assert fingerprint(foreign.make_generator(seed=1).state_dict()) != whole
    without = {key: value for key, value in state.items() if "noise_const" not in key}
    del without["w_avg"]
    assert fingerprint(without) == whole
    changed = {**state, "synthesis.b4.conv1.bias": state["synthesis.b4.conv1.bias"] + 1}
    assert fingerprint(changed) != whole


def test_discriminators_and_alpha_networks_come_back(tmp_path, foreign):
    discriminator, network = foreign.make_discriminator(), foreign.make_alpha(sides=(8, 16, 32))
    save_discriminator(tmp_path / "d.safetensors", discriminator, origin="d")
    save_alpha(
        tmp_path / "a.safetensors", network, generator_fingerprint="f" * 64, training={"its": 9}
    )
    images = torch.randn(4, 3, 16, 16)
    read = open_discriminator(tmp_path / "d.safetensors")
    assert torch.equal(read.build()(images), discriminator(images))
    alpha = open_alpha(tmp_path / "a.safetensors")
    assert alpha.generator_fingerprint == "f" * 64
    assert alpha.native.training == {"its": 9}
    features = {side: [torch.randn(1, c, side, side)] * 2 for side, c in network.channels.items()}
    assert torch.equal(alpha.build()(features), network(features))
    kinds = {open_checkpoint(tmp_path / f"{name}.safetensors").kind for name in "da"}
    assert kinds == {"discriminator", "alpha"}


def test_one_resolution_alone_comes_back(tmp_path, foreign):
    """The last-layer ablation reads the top resolution only."""
    network = foreign.make_alpha(sides=(16,))
    save_alpha(tmp_path / "a.safetensors", network, generator_fingerprint=None)
    checkpoint = open_alpha(tmp_path / "a.safetensors")
    assert checkpoint.resolutions == (16,)
    assert checkpoint.generator_fingerprint is None


def test_what_half_precision_cannot_hold_stays_whole_and_what_is_no_number_is_not_written(
    tmp_path, foreign
):
    generator, path = foreign.make_generator(), tmp_path / "g.safetensors"
    state, key = dict(generator.state_dict()), "synthesis.b4.conv1.weight"
    state[key] = torch.full_like(state[key], 65_520)  # what rounds to infinity
    save_generator(path, generator.spec, state, half=True)
    stored = load_file(path)
    assert torch.equal(stored[key], state[key])
    assert stored["synthesis.b8.conv1.weight"].dtype == torch.float16
    assert open_generator(path).fingerprint == fingerprint(state)
    before = path.read_bytes()
    state[key] = state[key] / 0
    with pytest.raises(ValueError, match=rf"{key} holds NaN or infinite values"):
        save_generator(path, generator.spec, state)
    assert path.read_bytes() == before


def test_a_failed_write_leaves_nothing(tmp_path, foreign, monkeypatch):
    path = tmp_path / "missing" / "g.safetensors"
    with pytest.raises(L4FError, match=r"cannot be written .No such file"):
        _save(path, foreign.make_generator())

    def full(_self, _target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(L4FError, match="No space left on device"):
        _save(tmp_path / "g.safetensors", foreign.make_generator())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def edited(tmp_path, foreign):
    """Changes tensors or metadata of a file of ours; None leaves out."""

    def edit(tensors=(), metadata=()):
        path = _save(tmp_path / "g.safetensors", foreign.make_generator())
        with safe_open(path, "pt") as file:
            parts = [load_file(path) | dict(tensors), file.metadata() | dict(metadata)]
        parts = [{k: v for k, v in part.items() if v is not None} for part in parts]
        write_safetensors(path, *parts)
        return path

    return edit


FREE = '{"name": "x", "link": "y", "commercial": true'
NUMBER = '"attribution": 3}'


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"format": "pt"}, r"holds mapping\.fc\.0\.(bias|weight), for which"),
        ({"version": "2"}, "format version '2'; install a newer"),
        ({"kind": "alpha"}, "holds 'alpha', expected 'generator'"),
        ({"kind": "else"}, "holds 'else'"),
        ({"spec": "[" * 100_000}, "metadata that cannot be read"),
        ({"spec": "3"}, "spec or training is no object"),
        ({"spec": None}, "metadata that cannot be read"),
        ({"spec": '{"conv_clamp": true}'}, "conv_clamp True"),
        ({"licence": '{"name": "x"}'}, "licence without a sound name"),
        (
            {"licence": '{"name": "x", "link": "y", "commercial": "no"}'},
            "licence without a sound name",
        ),
        (
            {"licence": '{"name": "x", "link": 3, "commercial": true}'},
            "licence without a sound name",
        ),
        ({"licence": f"{FREE}, {NUMBER}"}, "licence without a sound name"),
        ({"training": "3"}, "spec or training is no object"),
    ],
)
def test_files_that_are_not_ours_are_refused(metadata, said, edited):
    with pytest.raises(CheckpointRefused, match=said):
        open_generator(edited(metadata=metadata))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"synthesis.b8.conv0.weight": None}, "lacks synthesis.b8.conv0.weight"),
        ({"extra": torch.zeros(1)}, "holds extra, for which"),
        ({"mapping.fc.0.weight": torch.zeros(7)}, r"has the shape \[7\], expected 2 sizes"),
        ({"synthesis.b4.const": torch.zeros(0, 4, 4)}, "is empty"),
        ({"synthesis.b16.conv1.weight": None}, "holds|lacks|resolution"),
    ],
)
def test_damage_is_named(change, said, edited):
    with pytest.raises(CheckpointRefused, match=said):
        open_generator(edited(change))
