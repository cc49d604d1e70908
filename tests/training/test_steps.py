import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from l4f_datagen.recipe import AlphaPart
from l4f_datagen.training.state import step_stream
from l4f_datagen.training.steps import shares_of, train_step

AUTO = {"balance": "auto", "area_weight": 0.1, "ema_steps": 3.0}
RANKS = Path(__file__).with_name("two_ranks.py")


@pytest.mark.parametrize(("batch", "count"), [(16, 1), (16, 2), (16, 4), (8, 2), (6, 3), (4, 4)])
def test_shares_are_a_partition(batch, count):
    shares = shares_of(batch, count)
    assert [len(share) for share in shares] == [batch // count] * count
    assert sorted(k for share in shares for k in share) == list(range(batch))


def test_shares_keep_the_discriminators_groups():
    for share in shares_of(16, 2):
        assert all((k + 4) % 16 in share for k in share)


@pytest.mark.parametrize("values", [AUTO, {"real_score_weight": 1.0}])
def test_a_batch_in_shares_gives_the_numbers_of_the_whole(
    make_generator, make_part, make_trainer, values
):
    generator, trained, facts = make_generator(), [], []
    for accumulate in (1, 2):
        part = make_part(batch=8, accumulate=accumulate, **values)
        trainer = make_trainer(part, generator)
        facts.append([train_step(trainer.state, trainer.context()) for _ in range(3)])
        trained.append(trainer.state)
    for whole, shared in zip(*facts, strict=True):
        for name, value in vars(whole).items():
            assert getattr(shared, name) == pytest.approx(value, rel=1e-4), name
    for name in ("alpha", "average", "discriminator"):
        pairs = (getattr(state, name).state_dict() for state in trained)
        torch.testing.assert_close(*pairs, rtol=1e-3, atol=1e-4)


def test_accumulate_has_to_divide_the_batch():
    with pytest.raises(ValueError, match="accumulate 3 does not divide the batch of 8"):
        AlphaPart.model_validate({"training": {"batch": 8, "accumulate": 3}})


def test_the_first_step_of_auto_only_measures(make_generator, make_part, make_trainer):
    trainer = make_trainer(make_part(**AUTO), make_generator())
    state, context = trainer.state, trainer.context()
    before = state.alpha.out.weight.detach().clone()
    train_step(state, context)
    assert torch.equal(state.alpha.out.weight, before)
    assert state.balance.grad_norm > 0
    train_step(state, context)
    assert not torch.equal(state.alpha.out.weight, before)


def test_attempts_have_other_streams():
    draws = {step_stream(seed, 0, attempt).randint(2**31) for seed in (0, 1) for attempt in (1, 2)}
    assert len(draws) == 4


@pytest.mark.slow
def test_two_processes_train_as_one(make_generator, make_part, make_trainer, tmp_path):
    """Two gloo processes with half the batch each end where one with the joint batch ends."""
    values = {"steps": 3, "batch": 8, **AUTO}
    command = [sys.executable, str(RANKS), str(tmp_path)]
    launch = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    runs = [
        subprocess.Popen(command, env=os.environ | launch | {"RANK": str(rank)}) for rank in (0, 1)
    ]
    assert [run.wait(timeout=240) for run in runs] == [0, 0]
    both = [torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1)]
    torch.testing.assert_close(*both, rtol=0, atol=0)
    trainer = make_trainer(make_part(**values), make_generator())
    trainer.run()
    torch.testing.assert_close(both[0], trainer.state.alpha.state_dict(), rtol=1e-3, atol=1e-4)


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
