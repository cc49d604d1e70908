import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from PIL import Image

from l4f_datagen.checkpoints.native import save_discriminator
from l4f_datagen.checkpoints.open import open_discriminator, open_generator
from l4f_datagen.core.errors import InputRefused, L4FError, UsageError
from l4f_datagen.io import training_folder
from l4f_datagen.io.training_folder import claim_folder, try_lock
from l4f_datagen.pretraining import run as run_module
from l4f_datagen.pretraining.plan import PretrainPlan
from l4f_datagen.pretraining.run import gather_images, pretrain
from l4f_datagen.pretraining.state import STATEFUL, new_state
from l4f_datagen.pretraining.step import draw_step, train_step, turned


def test_every_photograph_becomes_its_middle_square(write_photos, tmp_path, caplog):
    folder = write_photos(sizes=((40, 40), (80, 40), (40, 60)))
    pixels = gather_images(str(folder), 32, tmp_path / "images.npy")
    assert pixels.shape == (18, 32, 32, 3)
    # No black bars: the noise of the photographs reaches every border.
    for edge in (pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1]):
        assert edge.astype(float).mean(axis=(1, 2)).min() > 60
    assert "only 18 photographs" in caplog.text
    again = gather_images("gone", 32, tmp_path / "images.npy")  # read once
    assert np.array_equal(again, pixels)


@pytest.mark.parametrize(("count", "side", "match"), [(3, 40, "at least 16"), (20, 9, "pixels")])
def test_too_few_and_too_small_photographs_are_refused(write_photos, tmp_path, count, side, match):
    with pytest.raises(InputRefused, match=match):
        gather_images(str(write_photos(count, ((side, side),))), 32, tmp_path / "a.npy")
    assert not list(tmp_path.glob("*.npy*"))


def test_scenes_of_a_toy_domain_are_images_too(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "SCENES", 2)
    assert gather_images("toy-cars", 32, tmp_path / "images.npy").shape == (2, 32, 32, 3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resolution": 48}, "--resolution"),
        ({"symmetry": "round"}, "--symmetry"),
        ({"precision": "fp8"}, "--precision"),
        ({"batch": 3}, "--batch"),
        ({"accumulate": 5}, "--batch"),
    ],
)
def test_plans_that_cannot_be_are_refused(changes, said):
    with pytest.raises(UsageError, match=said):
        PretrainPlan(images="x", **changes)


def test_the_length_of_a_run_is_not_its_name():
    identity = PretrainPlan("x").identity
    assert PretrainPlan("x", kimg=90, decay_kimg=1).identity == identity
    assert identity not in (PretrainPlan("x", seed=1).identity, PretrainPlan("y").identity)


def test_the_command_makes_a_generator_that_others_take(write_photos, tmp_path, small, cli_run):
    photos, made = write_photos(18), tmp_path / "run" / "generator.safetensors"
    short = ["--decay-kimg", "0", "--device", "cpu", "--resolution", 32]

    def run(out, start, kimg="0.016"):
        flags = ("--out", tmp_path / out, "--start", start, "--kimg", kimg)
        return cli_run("pretrain", photos, *flags, *short)

    result = run("run", "none")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(made)
    assert "make --generator" in result.stderr
    assert cli_run("inspect", "checkpoint", made).exit_code == 0
    # A run from it takes the discriminator beside, and goes on only with the same two networks.
    assert run("next", made).exit_code == 0
    assert run("next", made, "0.02").exit_code == 0
    beside = made.with_name("discriminator.safetensors")
    judge = open_discriminator(beside).build()
    next(judge.parameters()).data += 1
    save_discriminator(beside, judge)
    refused = run("next", made, "0.03")
    assert refused.exit_code == 2
    assert "holds a pretraining of other images or settings" in refused.output
    beside.unlink()
    assert run("next", made, "0.03").exit_code == 2


@pytest.mark.parametrize(
    "flags",
    [
        ["--resolution", "48"],
        ["--start", "nowhere.pt"],
        ["--resolution", "256", "--start", "toy-cars"],
    ],
)
def test_the_command_says_what_is_wrong_before_it_begins(write_photos, tmp_path, cli_run, flags):
    result = cli_run("pretrain", write_photos(18), "--out", tmp_path / "run", *flags)
    assert result.exit_code == 2
    assert not (tmp_path / "run").exists()


def saved_state(path):
    payload = torch.load(path, weights_only=True)
    return {name: payload[name] for name in STATEFUL}


def test_a_stopped_run_ends_bit_for_bit_alike(small, keep, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    pretrain(small(), keep, whole)
    pretrain(small(kimg=0.012, decay_kimg=0), keep, cut)
    torch.manual_seed(99)  # nothing depends on the process's own stream
    pretrain(small(), keep, cut)
    first, second = saved_state(whole / "state.pt"), saved_state(cut / "state.pt")
    torch.testing.assert_close(second, first, rtol=0, atol=0)
    stamp = (cut / "state.pt").stat().st_mtime_ns
    pretrain(small(), keep, cut)  # nothing is left to do
    assert (cut / "state.pt").stat().st_mtime_ns == stamp


def test_a_second_run_of_a_folder_waits_for_the_first(small, keep, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    out, plan = tmp_path / "run", small()
    claim_folder(out, plan.identity, other="")
    first = (out / "lock").open("a")
    assert try_lock(first)

    def sleep(seconds):
        assert sorted(path.name for path in out.iterdir()) == ["lock", "training-id"]
        first.close()

    monkeypatch.setattr(training_folder.time, "sleep", sleep)
    assert pretrain(plan, keep, out).exists()
    assert "another process works here" in caplog.text


def test_what_a_run_leaves(small, keep, tmp_path):
    out = tmp_path / "run"
    opened = open_generator(pretrain(small(), keep, out))
    assert opened.spec.resolution == 32
    assert opened.has_w_avg
    assert open_discriminator(out / "discriminator.safetensors").resolution == 32
    rows = [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]
    assert [row["kimg"] for row in rows] == [0.008, 0.016, 0.024]
    assert {"kimg", "minutes", "p", "frechet"} == set(rows[0])
    for sheet in [next(out.glob("sheet-*.png")), out / "nearest.png"]:
        with Image.open(sheet) as image:
            assert image.width > 100


# The learning rate falls from the third snapshot on: then the latest, unless far worse.
@pytest.mark.parametrize(("distances", "kept"), [([3.0, 1.0, 2.0], 1.0), ([3.0, 1.0, 1.2], 1.2)])
def test_the_best_generator_is_kept_and_in_the_end_the_latest(
    small, keep, tmp_path, monkeypatch, distances, kept
):
    measured = iter(distances)
    monkeypatch.setattr(run_module.Gauge, "measure", lambda gauge, generator: next(measured))
    result = pretrain(small(), keep, tmp_path / "run")
    assert open_generator(result).native.training["frechet"] == kept


def test_the_end_begins_when_the_distance_no_longer_falls(small, keep, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module.Gauge, "measure", lambda gauge, generator: 1.0)
    plan = small(kimg=10, decay_kimg=0.008, patience=2)
    pretrain(plan, keep, tmp_path / "run")
    state = new_state(plan)
    state.load(tmp_path / "run/state.pt")
    # The first snapshot is the best; two without a better one, then 0.008 kimg of decay.
    assert (state.stalled_at, state.step) == (6, 8)


def test_runs_that_cannot_go_on_are_refused(small, keep, tmp_path, monkeypatch):
    pretrain(small(kimg=0.004), keep, tmp_path / "run")
    with pytest.raises(UsageError, match="other images or settings; name another"):
        pretrain(small(seed=1), keep, tmp_path / "run")
    with monkeypatch.context() as patch:
        usage = run_module.shutil.disk_usage(tmp_path)
        patch.setattr(run_module.shutil, "disk_usage", lambda path: usage._replace(free=10))
        with pytest.raises(UsageError, match="MB free"):
            pretrain(small(), keep, tmp_path / "other")
    monkeypatch.setattr(run_module, "train_step", lambda *rest: (float("nan"), 1.0))
    with pytest.raises(L4FError, match="not a number"):
        pretrain(small(), keep, tmp_path / "other")


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_moves_both_networks(small, noise_images, accumulate):
    plan = small(accumulate=accumulate, ada_kimg=None)
    state = new_state(plan)
    before, judge = (deepcopy(n.state_dict()) for n in (state.generator, state.discriminator))
    assert np.isfinite(train_step(state, noise_images, plan)).all()
    moved = [n for n, v in state.generator.state_dict().items() if not v.equal(before[n])]
    assert any("mapping" in name for name in moved)
    assert any("torgb" in name for name in moved)
    assert any(not v.equal(judge[n]) for n, v in state.discriminator.state_dict().items())


def test_parts_of_a_batch_add_up_to_the_whole(small, noise_images):
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


def test_a_seed_and_a_step_decide_the_draws(small, noise_images):
    plan = small()
    generator = new_state(plan).generator
    one, two, other = (draw_step(noise_images, plan, generator, k, 0.5) for k in (3, 3, 4))
    assert torch.equal(one.reals, two.reals)
    assert torch.equal(one.z, two.z)
    assert not torch.equal(one.z, other.z)


@pytest.mark.parametrize(("symmetry", "views"), [("none", 1), ("mirror", 2), ("square", 8)])
def test_symmetries_show_one_two_or_eight_views(symmetry, views):
    image = np.random.RandomState(0).randint(0, 256, (4, 4, 3)).astype(np.uint8)
    assert len({turned(image, turn, symmetry).tobytes() for turn in range(8)}) == views
