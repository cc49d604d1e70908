import pytest
import torch

from l4f_datagen.checkpoints.native import save_discriminator, save_generator
from l4f_datagen.core.errors import CheckpointRefused, UsageError
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.models.generator import draw_z
from l4f_datagen.models.layers import upsample_rgb
from l4f_datagen.pretraining.state import new_state, open_start, shifted


@pytest.fixture
def start_files(tmp_path, make_generator):
    generator = make_generator(32)
    torch.manual_seed(2)
    judge = Discriminator(32, generator.spec.channels)
    save_generator(tmp_path / "g.safetensors", generator.spec, generator.state_dict())
    save_discriminator(tmp_path / "d.safetensors", judge)
    return tmp_path / "g.safetensors", tmp_path / "d.safetensors"


def images(generator):
    z = torch.from_numpy(draw_z(range(3), generator.spec.z_dim))
    with torch.no_grad():
        return generator(z, noise=generator.noise("none")).image


def test_a_run_starts_with_the_images_of_its_start(small, start_files):
    start = open_start(*start_files)
    state = new_state(small(start=start.name), start)
    for net in (state.generator, state.g_ema):
        for name, value in start.generator.items():
            assert torch.equal(net.state_dict()[name], value)
    for name, value in start.discriminator.items():
        assert torch.equal(state.discriminator.state_dict()[name], value)


def test_a_run_of_twice_the_size_starts_with_the_enlarged_images(small, start_files):
    start = open_start(*start_files)
    grown = new_state(small(resolution=64), start)
    same = new_state(small(), start)
    assert grown.generator.spec.resolution == 64
    expected = upsample_rgb(images(same.g_ema))
    # Only the new layer's bias, which is zero, adds to the enlarged image.
    torch.testing.assert_close(images(grown.g_ema), expected, atol=1e-5, rtol=0)
    blocks = shifted(start.discriminator)
    taken = grown.discriminator.state_dict()
    assert all(torch.equal(taken[name], value) for name, value in blocks.items())
    assert not any(name.startswith("from_rgb") for name in blocks)


def test_without_a_discriminator_one_is_drawn(small, start_files):
    start = open_start(start_files[0], None)
    assert start.discriminator is None
    assert new_state(small(), start).discriminator.resolution == 32


@pytest.mark.parametrize("resolution", [128, 1024])
def test_a_start_of_another_shape_is_refused(small, start_files, resolution):
    with pytest.raises(UsageError, match="take --resolution 32 or 64"):
        new_state(small(resolution=resolution), open_start(*start_files))


def test_a_start_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "x.pt").write_text("<html>")
    with pytest.raises(CheckpointRefused):
        open_start(tmp_path / "x.pt", None)


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
