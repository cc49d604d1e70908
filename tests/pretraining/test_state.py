import pytest
import torch

from l4f_datagen.checkpoints.native import save_discriminator, save_generator
from l4f_datagen.core.errors import CheckpointRefused, UsageError
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.models.generator import draw_z
from l4f_datagen.models.layers import upsample_rgb
from l4f_datagen.pretraining.state import new_state, open_start, shifted


@pytest.fixture
def start(tmp_path, make_generator):
    generator = make_generator(32)
    torch.manual_seed(2)
    save_generator(tmp_path / "g.safetensors", generator.spec, generator.state_dict())
    save_discriminator(tmp_path / "d.safetensors", Discriminator(32, generator.spec.channels))
    return open_start(tmp_path / "g.safetensors", tmp_path / "d.safetensors")


def holds(network, wanted):
    own = network.state_dict()
    return all(torch.equal(own[name], value) for name, value in wanted.items())


def images(generator):
    z = torch.from_numpy(draw_z(range(3), generator.spec.z_dim))
    with torch.no_grad():
        return generator(z, noise=generator.noise("none")).image


def test_a_run_starts_with_the_images_of_its_start(small, start):
    state = new_state(small(start=start.name), start)
    assert holds(state.generator, start.generator)
    assert holds(state.g_ema, start.generator)
    assert holds(state.discriminator, start.discriminator)


def test_a_run_of_twice_the_size_starts_with_the_enlarged_images(small, start):
    grown, same = new_state(small(resolution=64), start), new_state(small(), start)
    assert grown.generator.spec.resolution == 64
    # Only the new layer's bias, which is zero, adds to the enlarged image.
    expected = upsample_rgb(images(same.g_ema))
    torch.testing.assert_close(images(grown.g_ema), expected, atol=1e-5, rtol=0)
    blocks = shifted(start.discriminator)
    assert holds(grown.discriminator, blocks)
    assert not any(name.startswith("from_rgb") for name in blocks)


def test_starts_are_named_by_both_networks_and_refused_where_they_do_not_fit(
    small, start, tmp_path
):
    alone = open_start(tmp_path / "g.safetensors", None)
    assert alone.discriminator is None
    assert start.name.startswith(f"{alone.name} ")
    assert new_state(small(), alone).discriminator.resolution == 32
    for resolution in (128, 1024):
        with pytest.raises(UsageError, match="take --resolution 32 or 64"):
            new_state(small(resolution=resolution), start)
    (tmp_path / "x.pt").write_text("<html>")
    for files in (("x.pt", None), ("g.safetensors", tmp_path / "x.pt")):
        with pytest.raises(CheckpointRefused, match=r"x\.pt: "):
            open_start(tmp_path / files[0], files[1])


def test_a_damaged_state_names_the_way_out(small, tmp_path):
    (tmp_path / "state.pt").write_bytes(b"half a state")
    with pytest.raises(UsageError, match="remove it to begin this run anew"):
        new_state(small()).load(tmp_path / "state.pt")


def test_the_learning_rate_falls_before_the_end_or_after_a_stall(small):
    plan = small(kimg=0.4, decay_kimg=0.1, batch=4)  # 100 steps, 25 of them in decay
    state = new_state(plan)
    assert (state.decay_from(plan), state.end(plan)) == (75, 100)
    state.stalled_at = 40
    assert (state.decay_from(plan), state.end(plan)) == (40, 65)
    never = small(kimg=0.4, decay_kimg=0.1, batch=4, patience=0)
    assert state.end(never) == 100
