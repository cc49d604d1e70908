"""The loop: what decides a training, how one is resumed, and how it starts again."""

import copy
import math

import numpy as np
import pytest
import torch

from l4f_datagen.core.errors import L4FError
from l4f_datagen.training import loop as loop_module
from l4f_datagen.training import self_training
from l4f_datagen.training.state import new_state, step_stream

AUTO = {"balance": "auto", "area_weight": 0.1, "ema_steps": 3.0}


@pytest.mark.parametrize(
    "values",
    [
        {"ema_steps": 4.0},
        {"balance": "two-sided", "batch": 4, "min_bg_coverage": 0.2},
        AUTO | {"precision": "bf16"},
        AUTO | {"precision": "fp16"},
    ],
)
def test_a_resumed_run_ends_bit_for_bit_alike(trainer_of, everything, tmp_path, values):
    whole, all_facts = trainer_of(**values), []

    def keep(state, facts):
        all_facts.append(facts)
        if facts.step == 3:
            state.save(tmp_path / "state.pt")

    whole.run(keep)
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    torch.manual_seed(99)
    np.random.seed(99)
    resumed, last_facts = trainer_of(**values), []
    resumed.state.load(tmp_path / "state.pt")
    assert (resumed.state.step, resumed.state.recent) == (3, all_facts[:3])
    if values.get("precision") == "fp16":
        assert resumed.state.main.scaler.state_dict()["_growth_tracker"] > 0
    resumed.run(lambda state, facts: last_facts.append(facts))
    assert last_facts == all_facts[3:]
    assert everything(resumed.state) == everything(whole.state)
    two_sided = values.get("balance") == "two-sided"
    assert (last_facts[-1].rest_d_loss > 0) == (last_facts[-1].rest_realism > 0) == two_sided


def test_the_seed_decides_and_nothing_else_does(trainer_of, everything, make_generator):
    generator = make_generator()
    before, runs = copy.deepcopy(generator.state_dict()), []
    for torchs, seed in ((1, 3), (2, 3), (1, 4)):
        torch.manual_seed(torchs)
        trainer = trainer_of(generator, steps=3, seed=seed)
        trainer.run()
        runs.append(everything(trainer.state))
    assert runs[0] == runs[1]
    assert runs[0]["recent"][0] != runs[2]["recent"][0]
    assert runs[0]["alpha", "out.weight"] != runs[2]["alpha", "out.weight"]
    assert all(torch.equal(before[name], v) for name, v in generator.state_dict().items())


def test_every_step_and_attempt_has_its_own_stream():
    def first(*key):
        return step_stream(*key).randint(2**31)

    assert len({first(seed, step) for seed in range(8) for step in range(8)}) == 64
    assert len({first(seed, 0, attempt) for seed in (0, 1) for attempt in (1, 2)}) == 4
    assert first(2**32 - 1, 0) == first(2**32 - 1, 0)


@pytest.fixture
def collapse_in(monkeypatch):
    """From step 2 on, the matte of the given attempts is all white (or not a number)."""
    real = loop_module.train_step

    def collapse(attempts, bias=40.0):
        def spoiled(state, context):
            if state.attempt in attempts and state.step >= 1:
                with torch.no_grad():
                    state.alpha.out.weight.zero_()
                    state.alpha.out.bias.fill_(bias)
            return real(state, context)

        monkeypatch.setattr(loop_module, "train_step", spoiled)

    return collapse


RESTARTS = {"balance": "auto", "attempts": 3}


def test_a_collapse_is_answered_by_a_changed_setting(trainer_of, collapse_in, caplog):
    collapse_in({1})
    seen, trainer = [], trainer_of(steps=25, **RESTARTS)
    network = trainer.run(lambda state, facts: seen.append((facts.attempt, facts.step)))
    assert trainer.state.failures == ["all-white"]
    assert "all white at step 21; starting again with area x 2" in caplog.text
    assert seen == [(1, step) for step in range(1, 22)] + [(2, step) for step in range(1, 26)]
    assert network is trainer.state.average


def test_not_a_number_is_noticed_at_once(trainer_of, collapse_in, caplog):
    collapse_in({1}, bias=math.nan)
    trainer = trainer_of(steps=4, **RESTARTS)
    network = trainer.run()
    assert trainer.state.failures == ["not-a-number"]
    assert "not a number at step 2; starting again with learning rate x 0.5" in caplog.text
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


@pytest.mark.slow
def test_after_three_failures_it_stops_with_advice(trainer_of, collapse_in):
    collapse_in({1, 2, 3})
    expected = (
        r"alpha training: collapsed: the matte is all white \(mean alpha 1.000\) in attempt 3, "
        r"after: the matte is all white, then the matte is all white; raise alpha.training.bg"
    )
    with pytest.raises(L4FError, match=expected) as caught:
        trainer_of(steps=30, **RESTARTS).run()
    assert caught.value.exit_code == 1


def test_attempts_start_from_other_weights(make_generator, make_part):
    generator, part = make_generator(), make_part()
    failures = ((), ("all-white",), ("all-white",))
    first, second, again = (new_state(part, generator, failures=known) for known in failures)
    assert second.attempt == 2
    assert not torch.equal(first.alpha.out.weight, second.alpha.out.weight)
    assert torch.equal(again.alpha.out.weight, second.alpha.out.weight)


@pytest.mark.slow
def test_a_run_resumed_in_its_second_attempt_ends_alike(
    trainer_of, everything, collapse_in, tmp_path
):
    collapse_in({1})

    def keep(state, facts):
        if (facts.attempt, facts.step) == (2, 3):
            state.save(tmp_path / "state.pt")

    whole, again = trainer_of(steps=22, **RESTARTS), trainer_of(steps=22, **RESTARTS)
    whole.run(keep)
    again.state.load(tmp_path / "state.pt")
    assert (again.state.attempt, again.state.step, len(again.state.snapshots)) == (2, 3, 1)
    again.run()
    assert everything(again.state) == everything(whole.state)


@pytest.mark.parametrize(("bias", "words"), [(30.0, "all white"), (-30.0, "all black")])
def test_a_collapsed_run_is_refused_again_when_resumed(trainer_of, tmp_path, bias, words):
    silent = {
        f"{term}_weight": 0.0
        for term in ("adversarial", "binarization", "fg_coverage", "bg_coverage")
    }
    trainer, again = trainer_of(steps=2, **silent), trainer_of(steps=2, **silent)
    trainer.state.alpha.out.bias.data.fill_(bias)
    with pytest.raises(L4FError, match=words) as caught:
        trainer.run(lambda state, facts: state.save(tmp_path / "state.pt"))
    assert caught.value.exit_code == 1
    again.state.load(tmp_path / "state.pt")
    assert again.state.step == 2
    with pytest.raises(L4FError, match=words):
        again.run()


class TestSizeOfTheObject:
    """The first attempt has a wide limit and measures the object; a small one gets another."""

    @pytest.fixture
    def trainer_with(self, trainer_of, monkeypatch):
        def make(covered, **more):
            for module in (loop_module, self_training):
                monkeypatch.setattr(module, "parted", lambda *_: (0.7, covered))
            return trainer_of(balance="two-sided", batch=4, steps=2, **more)

        return make

    def run(self, trainer):
        attempts = []
        network = trainer.run(lambda state, facts: attempts.append(facts.attempt))
        limit = trainer.coverage.upper * trainer.context().scales.coverage_limit
        return attempts, limit, network

    def test_a_small_object_starts_again_with_a_narrow_limit(self, trainer_with, caplog):
        trainer = trainer_with(0.3, attempts=1)
        attempts, limit, network = self.run(trainer)
        assert (attempts, limit) == ([1, 1, 2, 2], pytest.approx(0.5))
        assert network is trainer.state.average
        assert "the object covers about 0.30 of the image" in caplog.text
        assert "less than half of the image at step 2; starting again" in caplog.text

    def test_the_networks_of_a_large_object_go_on(self, trainer_with, monkeypatch, caplog):
        starts, ends, step = [], [], loop_module.train_step

        def judges(state):
            both = state.main.network.state_dict(), state.rest.network.state_dict()
            return [value.clone() for one in both for value in one.values()]

        def noted(state, context):
            biases = (float(state.alpha.out.bias.detach()), float(state.average.out.bias))
            starts.append((judges(state), biases, context.scales))
            facts = step(state, context)
            ends.append((judges(state), float(state.average.out.bias)))
            return facts

        monkeypatch.setattr(loop_module, "train_step", noted)
        attempts, limit, network = self.run(trainer_with(0.6))
        assert (attempts, limit) == ([1, 1, 2, 2, 3, 3], pytest.approx(0.8))
        changed = [(scales.binarization, scales.at_once) for *_, scales in starts]
        assert changed == [(1, False)] * 2 + [(4, True)] * 4
        level = math.log(0.7 / 0.3)  # at which the mattes part, as ``trainer_with`` has it
        for (before, bias), (after, biases, _) in ((ends[1], starts[2]), (ends[3], starts[4])):
            assert biases == pytest.approx((bias - level,) * 2, abs=1e-5)
            assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
        assert float(network.out.bias) == pytest.approx(ends[-1][1] - level, abs=1e-5)
        assert "half of the image at step 2; going on with binarization x 4" in caplog.text

    def test_a_recipes_own_limit_is_kept(self, trainer_with, monkeypatch):
        trainer = trainer_with(0.3, min_bg_coverage=0.4)
        monkeypatch.setattr(loop_module, "parted", None)
        attempts, limit, _ = self.run(trainer)
        assert (attempts, limit) == ([1, 1], pytest.approx(0.6))

    @pytest.mark.parametrize("covered", [0.3, 0.6])
    def test_a_training_stopped_between_the_attempts_goes_on_alike(
        self, trainer_with, everything, tmp_path, covered
    ):
        def keep(state, facts):
            if (facts.attempt, facts.step) == (1, 2):
                state.save(tmp_path / "state.pt")

        whole, again = trainer_with(covered), trainer_with(covered)
        whole.run(keep)
        again.state.load(tmp_path / "state.pt")
        again.run()
        assert everything(again.state) == everything(whole.state)
