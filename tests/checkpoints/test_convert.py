"""Conversion to our files and what is said about a checkpoint."""

import json

import pytest
import torch

from l4f_datagen.checkpoints.convert import checkpoint_facts, convert
from l4f_datagen.checkpoints.native import save_discriminator, save_generator
from l4f_datagen.checkpoints.open import open_alpha, open_generator
from l4f_datagen.core.errors import CheckpointRefused, UsageError
from l4f_datagen.recipe.catalogue import Licence

LICENCE = Licence("cc0-1.0", "https://example.org/cc0", commercial=True)


def test_images_stay_bit_identical(tmp_path, foreign):
    z, generator = torch.randn(2, 5), foreign.make_generator(conv_clamp=0.7)
    state = foreign.rosinality_state(generator)
    noiseless = {key: value for key, value in state.items() if not key.startswith("noises.")}
    foreign.write_torch(tmp_path / "noiseless", {"g_ema": noiseless})
    sources = foreign.every_format(tmp_path, generator).values()
    for source in [*sources, tmp_path / "noiseless"]:
        out = tmp_path / f"{source.name}.safetensors"
        convert(source, out)
        before, after = open_generator(source), open_generator(out)
        first, second = before.build()(z, 0.7), after.build()(z, 0.7)
        assert torch.equal(first.image, second.image), source.name
        assert (after.has_w_avg, after.has_noise) == (True, True)
        assert after.fingerprint == before.fingerprint
        assert after.native.source_sha256 == before.sha256
        assert after.origin == source.name


def test_licence_origin_and_training_are_carried(tmp_path, foreign):
    generator = foreign.make_generator()
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    facts = {"origin": "somewhere", "source_sha256": "ab" * 32, "training": {"kimg": 1}}
    save_generator(first, generator.spec, generator.state_dict(), licence=LICENCE, **facts)
    convert(first, second, half=True)
    copy = open_generator(second)
    assert (copy.licence, copy.origin) == (LICENCE, "somewhere")
    assert copy.native.source_sha256 == "ab" * 32
    assert copy.native.training == {"kimg": 1}
    assert second.stat().st_size < first.stat().st_size


def test_other_networks_are_converted_too(tmp_path, foreign):
    network = foreign.make_alpha(sides=(8, 16, 32))
    source = foreign.write_torch(tmp_path / "a", foreign.labels4free_snapshot(network))
    convert(source, tmp_path / "a.safetensors")
    state = open_alpha(tmp_path / "a.safetensors").state
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())
    save_discriminator(tmp_path / "d.safetensors", foreign.make_discriminator())
    convert(tmp_path / "d.safetensors", tmp_path / "e.safetensors")
    again = (tmp_path / "e.safetensors").read_bytes()
    convert(tmp_path / "d.safetensors", tmp_path / "e.safetensors", overwrite=True)
    assert (tmp_path / "e.safetensors").read_bytes() == again


def test_targets_that_cannot_be_are_usage_errors(tmp_path, foreign):
    value = foreign.rosinality_converted(foreign.make_generator())
    source = foreign.write_torch(tmp_path / "x.pt", value)
    before = source.read_bytes()
    with pytest.raises(UsageError, match=r"another suffix than .safetensors"):
        convert(source, tmp_path / "y.pt")
    (tmp_path / "y.safetensors").write_text("mine")
    with pytest.raises(UsageError, match="exists; choose another name, or --overwrite"):
        convert(source, tmp_path / "y.safetensors")
    assert (tmp_path / "y.safetensors").read_text() == "mine"
    assert source.read_bytes() == before
    source.write_bytes(b"\x89PNG")
    with pytest.raises(CheckpointRefused):
        convert(source, tmp_path / "z.safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {"x.pt", "y.safetensors"}


def test_facts(tmp_path, foreign):
    generator, discriminator = foreign.make_generator(), foreign.make_discriminator()
    value = foreign.rosinality_trained(generator, discriminator)
    path = foreign.write_torch(tmp_path / "x.pt", value)
    facts = checkpoint_facts(path)
    assert facts == json.loads(json.dumps(facts)), "plain values only"
    trained = sum(parameter.numel() for parameter in generator.parameters())
    expected = {"file": str(path), "kind": "generator", "format": "rosinality"}
    expected |= {"parameters": trained, "licence": None, "channels": {"4": 6, "8": 5, "16": 3}}
    expected |= {"resolution": 16, "z_dim": 5, "w_dim": 7, "num_ws": 6, "mapping_layers": 3}
    expected |= {"conv_clamp": None, "w_avg": False, "noise_buffers": True}
    assert expected.items() <= facts.items()
    assert len(facts["sha256"]) == len(facts["fingerprint"]) == 64

    network = foreign.make_alpha(sides=(8, 16, 32))
    facts = checkpoint_facts(
        foreign.write_torch(tmp_path / "a", foreign.labels4free_snapshot(network))
    )
    trained = sum(tensor.numel() for tensor in network.parameters())
    expected = {"kind": "alpha", "resolution": 32, "resolutions": [8, 16, 32]}
    assert (expected | {"parameters": trained}).items() <= facts.items()

    save_discriminator(tmp_path / "d.safetensors", discriminator, licence=LICENCE)
    facts = checkpoint_facts(tmp_path / "d.safetensors")
    assert {"kind": "discriminator", "resolution": 16, "training": {}}.items() <= facts.items()
    assert facts["licence"]["commercial"] is True
