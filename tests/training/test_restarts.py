import math

import pytest
import torch

from l4f_datagen.core.errors import L4FError
from l4f_datagen.training import loop as training_module
from l4f_datagen.training.loop import new_training, train_alpha

AUTO = {"balance": "auto", "attempts": 3}


def collapse_in(monkeypatch, attempts, bias=40.0):
    """From step 2 on, the matte of the given attempts is all white (or not a number)."""
    real = training_module.train_step

    def spoiled(training, setting):
        if training.attempt in attempts and training.step >= 1:
            with torch.no_grad():
                training.alpha.out.weight.zero_()
                training.alpha.out.bias.fill_(bias)
        return real(training, setting)

    monkeypatch.setattr(training_module, "train_step", spoiled)


def train(make_generator, make_part, training=None, watch=lambda training, facts: None, **values):
    generator, part = make_generator(), make_part(**AUTO | values)
    training = training or new_training(part, generator)
    network = train_alpha(part, generator, training=training, watch=watch)
    return training, network


def test_a_collapse_is_answered_by_a_changed_setting(
    make_generator, make_part, monkeypatch, caplog
):
    collapse_in(monkeypatch, {1})
    seen = []
    training, network = train(
        make_generator, make_part, steps=25, watch=lambda state, facts: seen.append(facts)
    )
    assert training.failures == ["all-white"]
    assert any(
        "all white at step 21; starting again with area x 2" in line for line in caplog.messages
    )
    assert [(facts.attempt, facts.step) for facts in seen] == [
        *((1, step) for step in range(1, 22)),
        *((2, step) for step in range(1, 26)),
    ]
    assert network is training.average


def test_not_a_number_is_told_at_once(make_generator, make_part, monkeypatch, caplog):
    collapse_in(monkeypatch, {1}, bias=math.nan)
    training, network = train(make_generator, make_part, steps=4)
    assert training.failures == ["not-a-number"]
    assert any(
        "ran away (not a number) at step 2; starting again with learning rate x 0.5" in s
        for s in caplog.messages
    )
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_after_three_failures_it_stops_with_advice(make_generator, make_part, monkeypatch):
    collapse_in(monkeypatch, {1, 2, 3})
    expected = (
        r"alpha training: collapsed: the matte is all white \(mean alpha 1.000\) in attempt 3, "
        r"after: the matte is all white, then the matte is all white; raise alpha.training.bg_cov"
    )
    with pytest.raises(L4FError, match=expected) as caught:
        train(make_generator, make_part, steps=30)
    assert caught.value.exit_code == 1


def test_attempts_start_from_other_weights(make_generator, make_part):
    generator, part = make_generator(), make_part()
    first = new_training(part, generator)
    second = new_training(part, generator, failures=("all-white",))
    again = new_training(part, generator, failures=("all-white",))
    assert second.attempt == 2
    assert not torch.equal(first.alpha.out.weight, second.alpha.out.weight)
    assert torch.equal(again.alpha.out.weight, second.alpha.out.weight)


def test_a_run_resumed_in_its_second_attempt_ends_alike(
    make_generator, make_part, monkeypatch, tmp_path
):
    collapse_in(monkeypatch, {1})

    def keep(state, facts):
        if (facts.attempt, facts.step) == (2, 3):
            state.save(tmp_path / "state.pt")

    whole, _ = train(make_generator, make_part, steps=22, watch=keep)
    resumed = new_training(make_part(**AUTO), make_generator())
    resumed.load(tmp_path / "state.pt")
    assert (resumed.attempt, resumed.step, len(resumed.snapshots)) == (2, 3, 1)
    train(make_generator, make_part, training=resumed, steps=22)
    for name in ("alpha", "average", "discriminator"):
        pairs = zip(
            getattr(whole, name).state_dict().values(),
            getattr(resumed, name).state_dict().values(),
            strict=True,
        )
        assert all(torch.equal(one, other) for one, other in pairs)
    assert (resumed.recent, resumed.forces) == (whole.recent, whole.forces)
