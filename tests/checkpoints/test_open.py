"""Opened checkpoints: what they promise beyond their format."""

import hashlib
import os

import pytest
import torch

from l4f_datagen.checkpoints.open import open_alpha, open_generator, open_own_discriminator
from l4f_datagen.core.errors import CheckpointRefused, NetworkError, UsageError
from l4f_datagen.recipe import catalogue
from l4f_datagen.recipe.catalogue import NVIDIA_ADA, Weights


def _opened(path, foreign):
    value = foreign.rosinality_converted(foreign.make_generator())
    return open_generator(foreign.write_torch(path, value))


def test_built_networks_are_frozen_and_share_memory(tmp_path, foreign):
    checkpoint = _opened(tmp_path / "x", foreign)
    assert len(repr(checkpoint)) < 1000, "tensors are not printed"
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    first, second = checkpoint.build(), checkpoint.build()
    assert torch.equal(torch.randn(3), expected), "building does not touch the random stream"
    assert checkpoint.num_parameters == sum(value.numel() for value in first.parameters())
    assert not first.training
    assert not any(parameter.requires_grad for parameter in first.parameters())
    for key, tensor in first.state_dict().items():
        assert tensor.data_ptr() == checkpoint.state[key].data_ptr()
        assert tensor.data_ptr() == second.state_dict()[key].data_ptr()


def test_the_hash_is_of_the_file_that_was_opened(tmp_path, foreign):
    path = tmp_path / "x"
    changed, gone = _opened(path, foreign), _opened(path, foreign)
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    with pytest.raises(CheckpointRefused, match="has changed since it was opened"):
        _ = changed.sha256
    path.unlink()
    with pytest.raises(CheckpointRefused, match="has changed since it was opened"):
        _ = gone.sha256


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_become_float32(dtype, tmp_path, foreign, refused):
    value = foreign.rosinality_converted(foreign.make_generator())
    cast = {key: tensor.to(dtype) for key, tensor in value["g_ema"].items()}
    checkpoint = open_generator(foreign.write_torch(tmp_path / "x", {"g_ema": cast}))
    assert {tensor.dtype for tensor in checkpoint.state.values()} == {torch.float32}
    const = checkpoint.state["synthesis.b4.const"]
    assert torch.equal(const, cast["input.input"][0].float())
    value["latent_avg"] = torch.full((7,), 1e300, dtype=torch.float64)
    refused(value, "latent_avg holds NaN or infinite")


def test_the_discriminator_beside_a_generator(tmp_path, foreign):
    generator, discriminator = foreign.make_generator(), foreign.make_discriminator()
    value = foreign.rosinality_trained(generator, discriminator)
    both = foreign.write_torch(tmp_path / "both", value)
    words = {"setting": "a.b", "instead": "leave it"}
    assert open_own_discriminator(both, 16, **words).resolution == 16
    remedy = "; leave it, or give a checkpoint with both networks$"
    other = rf"^a\.b: the one in .*both takes 16 px, images have 32{remedy}"
    with pytest.raises(UsageError, match=other):
        open_own_discriminator(both, 32, **words)
    alone = _opened(tmp_path / "alone", foreign).path
    with pytest.raises(UsageError, match=rf"^a\.b: .*alone gives none \(.+\){remedy}"):
        open_own_discriminator(alone, 16, **words)


def test_a_domains_name_is_enough(tmp_path, monkeypatch):
    generator, alpha = open_generator("toy-cars"), open_alpha("toy-cars")
    assert alpha.generator_fingerprint == generator.fingerprint
    assert open_generator("builtin:toy-cars").fingerprint == generator.fingerprint
    monkeypatch.setenv("L4F_CACHE", str(tmp_path))
    with pytest.raises(NetworkError, match=r"stylegan2-ffhq-config-f\.pkl: is not in the cache"):
        open_generator("ffhq", offline=True)
    with pytest.raises(UsageError, match="ffhq: comes without an alpha network; train one"):
        open_alpha("ffhq")
    with pytest.raises(CheckpointRefused, match="No such file"):
        open_generator("no-such-domain")


def test_an_address_is_fetched_into_the_cache(tmp_path, foreign, serving, monkeypatch):
    monkeypatch.setenv("L4F_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    opened = _opened(tmp_path / "x", foreign)
    with serving.serve((tmp_path / "x").read_bytes()) as site:
        first, second = open_generator(site.url), open_generator(site.url)
        assert len(site.asked) == 1
    assert first.sha256 == second.sha256 == opened.sha256
    assert first.path.parent == tmp_path / "cache" / "checkpoints"
    assert first.path.name.endswith("-weights.pkl")
    assert open_generator(site.url, offline=True).fingerprint == opened.fingerprint


def test_a_known_file_lends_its_licence_and_origin(tmp_path, foreign, monkeypatch):
    value = foreign.rosinality_converted(foreign.make_generator())
    path = foreign.write_torch(tmp_path / "x", value)
    unknown, checkpoint = open_generator(path), open_generator(path)
    assert (unknown.licence, unknown.origin) == (None, None)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    known = Weights("https://example.org/x.pkl", 16, NVIDIA_ADA, sha256=sha256)
    monkeypatch.setitem(catalogue.WEIGHTS, "test", known)
    assert (checkpoint.licence, checkpoint.origin) == (NVIDIA_ADA, known.url)
