import json
import logging

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from l4f_datagen.core.errors import UsageError
from l4f_datagen.models.mapping import draw_z, estimate_w_avg
from l4f_datagen.pretraining import pretrain
from l4f_datagen.pretraining.state import (
    STATEFUL,
    PretrainPlan,
    TrainState,
    new_state,
    resume,
    save,
)
from l4f_datagen.toys.scene import render_scene, render_scenes

pytestmark = pytest.mark.usefixtures("tiny_pretraining")

PLAN = PretrainPlan(
    seed=1,
    kimg=0.008,
    scenes=5,
    batch=2,
    decay_kimg=0,
    r1_interval=2,
    ema_kimg=0.01,
    snapshot_kimg=0.004,
    distance_samples=4,
)
"""Four steps, a snapshot every second."""


def everything(state: TrainState):
    found = {}
    for name in STATEFUL:
        values = getattr(state, name).state_dict()
        if name.endswith("optim"):
            slots = values["state"].items()
            values = {f"{k}.{part}": v for k, slot in slots for part, v in slot.items()}
        found |= {f"{name}.{key}": value.clone() for key, value in values.items()}
    return found


def assert_same(first, second):
    assert set(first) == set(second)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def plan(**changes):
    return PretrainPlan(**(PLAN.__dict__ | changes))


def test_a_resumed_run_ends_bit_for_bit_alike(tmp_path, caplog):
    whole = pretrain.train(PLAN, tmp_path / "whole")
    assert whole.step == 4

    pretrain.train(plan(kimg=0.004), tmp_path / "cut")
    torch.manual_seed(99)
    torch.rand(3)
    resumed = pretrain.train(PLAN, tmp_path / "cut")
    assert resumed.step == 4
    assert_same(everything(resumed), everything(whole))

    again = pretrain.train(PLAN, tmp_path / "cut")  # nothing is left to do
    assert_same(everything(again), everything(whole))

    files = {path.name for path in (tmp_path / "cut").iterdir()}
    assert files == {
        "training-id",
        "state.pt",
        "scenes-5.npy",
        "held-out-4.npy",
        "distance.jsonl",
        "sheet-00000kimg.png",
    }
    log = (tmp_path / "cut" / "distance.jsonl").read_text()
    rows = [json.loads(line) for line in log.splitlines()]
    assert [row["kimg"] for row in rows] == [0.004, 0.008]
    assert rows[1]["plan"]["r1_interval"] == 2
    assert all(row["frechet"] > 0 for row in rows)
    assert any("0.0 kimg" in line for line in caplog.messages)
    with Image.open(tmp_path / "cut" / "sheet-00000kimg.png") as sheet:
        assert sheet.size == (1024, 512)


def test_a_folder_is_of_one_run_and_its_length_may_change(tmp_path):
    pretrain.train(plan(kimg=0.004), tmp_path)
    for other in ({"domain": "toy-fish"}, {"seed": 9}, {"start": "toy-cars"}):
        with pytest.raises(UsageError, match="holds a pretraining of another domain, seed or st"):
            pretrain.train(plan(**other), tmp_path)
    assert pretrain.train(plan(kimg=0.006, decay_kimg=0.002), tmp_path).step == 3


def test_a_length_between_two_snapshots_is_kept_whole(tmp_path):
    pretrain.train(plan(kimg=0.006, snapshot_kimg=0.004), tmp_path)
    kept = new_state(PLAN)
    resume(kept, tmp_path)
    assert kept.step == 3
    rows = [json.loads(line) for line in (tmp_path / "distance.jsonl").read_text().splitlines()]
    assert [row["kimg"] for row in rows] == [0.004, 0.006]


def one_step(seed):
    drawn = plan(seed=seed)
    state = new_state(drawn)
    scenes = np.stack([scene.image for scene in pretrain.render_scenes(range(5))])
    reals, draw = next(pretrain.batches(scenes, drawn, 0))
    pretrain.train_step(state, reals, drawn, draw)
    return state


def test_the_learning_rate_falls_to_zero_at_the_end():
    falling = plan(kimg=0.008, decay_kimg=0.004, learning_rate=0.5)
    assert [pretrain.learning_rate(falling, step) for step in range(5)] == [
        0.5, 0.5, 0.5, pytest.approx(0.25), 0.0,
    ]  # fmt: skip
    assert pretrain.learning_rate(plan(decay_kimg=0, learning_rate=0.5), 99) == 0.5


def test_a_step_takes_the_rate_of_its_plan(tmp_path):
    last = pretrain.train(plan(kimg=0.008, decay_kimg=0.008), tmp_path)
    for optim in (last.g_optim, last.d_optim):
        assert optim.param_groups[0]["lr"] == pytest.approx(PLAN.learning_rate / 4)


def test_the_seed_decides():
    first = everything(one_step(1))
    torch.manual_seed(5)
    assert_same(everything(one_step(1)), first)
    other = everything(one_step(2))
    assert not torch.equal(
        other["generator.synthesis.b4.const"], first["generator.synthesis.b4.const"]
    )


def test_the_average_follows_the_generator():
    state = new_state(PLAN)
    before = {k: v.clone() for k, v in state.generator.named_parameters()}
    assert all(torch.equal(v, before[k]) for k, v in state.g_ema.named_parameters())
    state = one_step(1)
    # Half-life: 5 % of what was shown (2 images), well below ema_kimg; a step is 2 images.
    keep = 0.5 ** (1 / 0.05)
    before = dict(new_state(plan(seed=1)).generator.named_parameters())
    for name, average in state.g_ema.named_parameters():
        live = state.generator.state_dict()[name]
        torch.testing.assert_close(average, keep * before[name] + (1 - keep) * live)
    assert not any(parameter.requires_grad for parameter in state.g_ema.parameters())


def test_saved_state_holds_the_mean_of_w(tmp_path):
    state = one_step(1)
    save(state, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    expected = estimate_w_avg(state.g_ema.mapping, 128)
    assert torch.equal(state.g_ema.w_avg, expected)
    other = new_state(plan(seed=2))
    resume(other, tmp_path)
    assert_same(everything(other), everything(state))
    assert other.step == 1


def test_without_a_state_resume_changes_nothing(tmp_path):
    state = new_state(PLAN)
    before = everything(state)
    resume(state, tmp_path)
    assert_same(everything(state), before)


class TestBatches:
    SCENES = np.random.RandomState(0).randint(0, 256, (40, 64, 64, 3)).astype(np.uint8)

    def take(self, first_step, count, **changes):
        stream = pretrain.batches(self.SCENES, plan(**changes), first_step)
        return [next(stream)[0] for _ in range(count)]

    def test_are_a_function_of_seed_and_step(self):
        whole = self.take(0, 6)
        assert all(map(torch.equal, self.take(3, 3), whole[3:]))
        assert not torch.equal(self.take(0, 1, seed=2)[0], whole[0])
        assert not torch.equal(whole[0], whole[1])

    def test_are_scenes_half_of_them_mirrored(self):
        (reals,) = self.take(0, 1, batch=64)
        assert reals.shape == (64, 3, 64, 64)
        pixels = np.rint((reals.numpy() + 1) * 127.5).transpose(0, 2, 3, 1)
        known = {scene.tobytes() for scene in self.SCENES}
        flipped = {scene[:, ::-1].tobytes() for scene in self.SCENES}
        as_bytes = [image.astype(np.uint8).tobytes() for image in pixels]
        assert all(image in known | flipped for image in as_bytes)
        assert 16 < sum(image in flipped for image in as_bytes) < 48
        assert {scene.tobytes() for scene in self.SCENES} == known  # the store is left alone


class TestMixing:
    def rows(self, style_mixing_prob, seed):
        drawn = plan(style_mixing_prob=style_mixing_prob, batch=3)
        state = new_state(drawn)
        draw = torch.Generator().manual_seed(seed)
        ws = pretrain.mixed_ws(state.generator, draw, drawn).detach()
        same = torch.Generator().manual_seed(seed)
        w = state.generator.mapping(torch.randn(6, 128, generator=same)).detach()
        return ws, w[:3], w[3:]

    def test_off_is_one_w_for_all_layers(self):
        ws, first, _ = self.rows(0.0, 0)
        assert ws.shape == (3, 10, 128)
        assert all(torch.equal(ws[:, row], first) for row in range(10))

    def test_on_switches_once(self):
        switches = set()
        for seed in range(6):
            ws, first, second = self.rows(1.0, seed)
            from_first = [torch.equal(ws[:, row], first) for row in range(10)]
            from_second = [torch.equal(ws[:, row], second) for row in range(10)]
            switch = sum(from_first)
            assert 1 <= switch <= 9
            assert from_first == [row < switch for row in range(10)]
            assert from_second == [row >= switch for row in range(10)]
            switches.add(switch)
        assert len(switches) > 2


def test_images_are_sampled_by_seed():
    generator = new_state(PLAN).g_ema
    images = pretrain.sample_images(generator, range(3, 8), batch=2)
    assert images.shape == (5, 3, 64, 64)
    assert images.abs().max() <= 1
    alone = generator(torch.from_numpy(draw_z([6], 128))).image.clamp(-1, 1)
    torch.testing.assert_close(images[3:4], alone, rtol=1e-4, atol=1e-5)


def test_scenes_are_rendered_once(tmp_path, monkeypatch):
    def alone(seeds, workers, domain):
        return render_scenes(seeds, workers=1, domain=domain)

    monkeypatch.setattr(pretrain, "render_scenes", alone)
    cache = tmp_path / "scenes.npy"
    scenes = pretrain.rendered("toy-fish", range(7, 9), cache)
    assert scenes.shape == (2, 64, 64, 3)
    assert np.array_equal(scenes[1], render_scene(8, domain="toy-fish").image)
    monkeypatch.setattr(pretrain, "render_scenes", None)
    assert np.array_equal(pretrain.rendered("toy-fish", range(7, 9), cache), scenes)
    assert list(tmp_path.iterdir()) == [cache]


def test_a_run_learns_the_renders_of_its_domain(tmp_path):
    def first(domain):
        pretrain.train(plan(kimg=0.004, domain=domain), tmp_path / domain)
        return np.load(tmp_path / domain / "scenes-5.npy"), np.load(
            tmp_path / domain / "held-out-4.npy"
        )

    for cars, fish, seed in zip(first("toy-cars"), first("toy-fish"), (0, 1_000_000), strict=True):
        (one,) = pretrain.render_scenes([seed], domain="toy-cars")
        (other,) = pretrain.render_scenes([seed], domain="toy-fish")
        assert np.array_equal(cars[0], one.image)
        assert np.array_equal(fish[0], other.image)
        assert not np.array_equal(cars[0], fish[0])
    log = (tmp_path / "toy-fish" / "distance.jsonl").read_text()
    assert [json.loads(line)["plan"]["domain"] for line in log.splitlines()] == ["toy-fish"]


def test_held_out_scenes_are_never_trained_on():
    assert PretrainPlan().scenes <= pretrain.HELD_OUT_SEED


def test_as_a_command(tmp_path, monkeypatch):
    seen = {}

    def train(plan, out):
        seen.update(plan=plan, out=out)
        logging.getLogger("l4f_datagen").info("trained")

    monkeypatch.setattr(pretrain, "train", train)
    words = ["--out", str(tmp_path), "--kimg", "3", "--seed", "8"]
    result = CliRunner().invoke(pretrain.main, words)
    assert (result.exit_code, result.output) == (0, "trained\n")
    assert seen == {"plan": PretrainPlan(seed=8, kimg=3.0), "out": tmp_path}
    words += ["--domain", "toy-fish", "--start", "toy-cars", "--decay-kimg", "2"]
    assert CliRunner().invoke(pretrain.main, words).exit_code == 0
    assert seen["plan"] == PretrainPlan("toy-fish", "toy-cars", seed=8, kimg=3.0, decay_kimg=2.0)


@pytest.mark.parametrize("flag", ["--domain", "--start"])
def test_the_command_names_what_it_knows(tmp_path, flag):
    result = CliRunner().invoke(pretrain.main, ["--out", str(tmp_path), flag, "toy-boats"])
    assert result.exit_code == 2
    assert f"Invalid value for '{flag}': 'toy-boats' is not one of" in result.output
    assert "toy-fish" in result.output
    assert list(tmp_path.iterdir()) == []
