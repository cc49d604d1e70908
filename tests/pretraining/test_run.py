import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from PIL import Image

from l4f_datagen.checkpoints.open import open_discriminator, open_generator
from l4f_datagen.core.errors import UsageError
from l4f_datagen.io import training_folder
from l4f_datagen.io.training_folder import claim_folder, try_lock
from l4f_datagen.pretraining import run as run_module
from l4f_datagen.pretraining.run import NotFinite, pretrain
from l4f_datagen.pretraining.state import STATEFUL, new_state
from l4f_datagen.pretraining.step import draw_step, train_step, turned
from l4f_datagen.training.ranks import Ranks


def keep(images):
    return lambda cache: images


def saved_state(path):
    payload = torch.load(path, weights_only=True)
    return {name: payload[name] for name in STATEFUL}


def test_a_stopped_run_ends_bit_for_bit_alike(small, noise_images, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    pretrain(small(), keep(noise_images), whole)
    pretrain(small(kimg=0.012, decay_kimg=0), keep(noise_images), cut)
    torch.manual_seed(99)  # nothing depends on the process's own stream
    pretrain(small(), keep(noise_images), cut)
    first, second = saved_state(whole / "state.pt"), saved_state(cut / "state.pt")
    torch.testing.assert_close(second, first, rtol=0, atol=0)
    stamp = (cut / "state.pt").stat().st_mtime_ns
    pretrain(small(), keep(noise_images), cut)  # nothing is left to do
    assert (cut / "state.pt").stat().st_mtime_ns == stamp


def test_a_second_run_of_a_folder_waits_for_the_first(
    small, noise_images, tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    out, plan = tmp_path / "run", small()
    claim_folder(out, plan.identity, other="")
    first = (out / "lock").open("a")
    assert try_lock(first)

    def sleep(seconds):
        assert sorted(path.name for path in out.iterdir()) == ["lock", "training-id"]
        first.close()

    monkeypatch.setattr(training_folder.time, "sleep", sleep)
    assert pretrain(plan, keep(noise_images), out).exists()
    assert "another process works here" in caplog.text


def test_what_a_run_leaves(small, noise_images, tmp_path):
    result = pretrain(small(), keep(noise_images), tmp_path / "run")
    assert open_generator(result).spec.resolution == 32
    assert open_generator(result).has_w_avg
    assert open_discriminator(tmp_path / "run/discriminator.safetensors").resolution == 32
    rows = [json.loads(line) for line in (tmp_path / "run/progress.jsonl").read_text().splitlines()]
    assert [row["kimg"] for row in rows] == [0.008, 0.016, 0.024]
    assert {"kimg", "minutes", "p", "frechet"} == set(rows[0])
    sheets = sorted((tmp_path / "run").glob("sheet-*.png"))
    assert sheets
    for sheet in [*sheets, tmp_path / "run/nearest.png"]:
        with Image.open(sheet) as image:
            assert image.width > 100


# The learning rate falls from the third snapshot on: then the latest, unless far worse.
@pytest.mark.parametrize(("distances", "kept"), [([3.0, 1.0, 2.0], 1.0), ([3.0, 1.0, 1.2], 1.2)])
def test_the_best_generator_is_kept_and_in_the_end_the_latest(
    small, noise_images, tmp_path, monkeypatch, distances, kept
):
    measured = iter(distances)
    monkeypatch.setattr(run_module.Gauge, "measure", lambda gauge, generator: next(measured))
    result = pretrain(small(), keep(noise_images), tmp_path / "run")
    assert open_generator(result).native.training["frechet"] == kept


def test_the_end_begins_when_the_distance_no_longer_falls(
    small, noise_images, tmp_path, monkeypatch
):
    monkeypatch.setattr(run_module.Gauge, "measure", lambda gauge, generator: 1.0)
    plan = small(kimg=10, decay_kimg=0.008, patience=2)
    pretrain(plan, keep(noise_images), tmp_path / "run")
    state = new_state(plan)
    state.load(tmp_path / "run/state.pt")
    # The first snapshot is the best; two without a better one, then 0.008 kimg of decay.
    assert (state.stalled_at, state.step) == (6, 8)


def test_a_loss_that_is_not_a_number_ends_the_run(small, noise_images, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "train_step", lambda *rest: (float("nan"), 1.0))
    monkeypatch.setattr(run_module, "TELL_SECONDS", 1e9)
    with pytest.raises(NotFinite, match="not a number"):
        pretrain(small(), keep(noise_images), tmp_path / "run")


def test_a_folder_of_another_run_and_a_full_disk_are_refused(
    small, noise_images, tmp_path, monkeypatch
):
    pretrain(small(kimg=0.004), keep(noise_images), tmp_path / "run")
    with pytest.raises(UsageError, match="another"):
        pretrain(small(seed=1), keep(noise_images), tmp_path / "run")
    usage = run_module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(run_module.shutil, "disk_usage", lambda path: usage._replace(free=10))
    with pytest.raises(UsageError, match="MB free"):
        pretrain(small(), keep(noise_images), tmp_path / "other")


class TestStep:
    @pytest.mark.parametrize("accumulate", [1, 2])
    def test_a_step_moves_both_networks(self, small, noise_images, accumulate):
        plan = small(accumulate=accumulate, ada_kimg=None)
        state = new_state(plan)
        before = deepcopy(state.generator.state_dict())
        judge = deepcopy(state.discriminator.state_dict())
        losses = train_step(state, noise_images, plan)
        assert np.isfinite(losses).all()
        moved = [n for n, v in state.generator.state_dict().items() if not v.equal(before[n])]
        assert any("mapping" in name for name in moved)
        assert any("torgb" in name for name in moved)
        assert any(not v.equal(judge[n]) for n, v in state.discriminator.state_dict().items())

    def test_parts_of_a_batch_add_up_to_the_whole(self, small, noise_images):
        # Groups of one image: the minibatch statistic would otherwise depend on the parts.
        states = []
        for accumulate in (1, 4):
            plan = small(accumulate=accumulate, ada_kimg=None, r1_interval=1)
            state = new_state(plan)
            forward = state.discriminator.forward
            state.discriminator.forward = lambda image, run=forward: run(image, 1)
            train_step(state, noise_images, plan)
            states.append(state.generator.state_dict())
        torch.testing.assert_close(*states, atol=1e-4, rtol=1e-3)

    def test_a_seed_and_a_step_decide_the_draws(self, small, noise_images):
        plan = small()
        generator = new_state(plan).generator
        steps = (3, 3, 4)
        one, two, other = (draw_step(noise_images, plan, generator, k, 0.5) for k in steps)
        assert torch.equal(one.reals, two.reals)
        assert torch.equal(one.z, two.z)
        assert not torch.equal(one.z, other.z)

    def test_ranks_take_every_image_once(self):
        rows = [list(range(8))[Ranks(own, 2).own :: 2] for own in range(2)]
        assert sorted(rows[0] + rows[1]) == list(range(8))


@pytest.mark.parametrize(("symmetry", "views"), [("none", 1), ("mirror", 2), ("square", 8)])
def test_symmetries_show_one_two_or_eight_views(symmetry, views):
    image = np.random.RandomState(0).randint(0, 256, (4, 4, 3)).astype(np.uint8)
    assert len({turned(image, turn, symmetry).tobytes() for turn in range(8)}) == views
