"""Half precision, and the device of each process."""

import copy

import numpy as np
import pytest
import torch

from l4f_datagen.training.hardware import DTYPES, autocast, new_scaler, own_device
from l4f_datagen.training.sources import render, streams_of
from l4f_datagen.training.state import new_state
from l4f_datagen.training.steps import train_step

AUTO = {"balance": "auto", "area_weight": 0.1, "ema_steps": 3.0}
HALVES = tuple(DTYPES)
CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", HALVES)
def test_half_precision_trains_as_float32_does(make_generator, make_part, trainer_of, precision):
    start, trained, facts = new_state(make_part(), make_generator()).alpha.state_dict(), [], []
    for name in ("fp32", precision):
        trainer, own = trainer_of(steps=4, batch=4, precision=name, **AUTO), []
        trainer.run(lambda state, fact, own=own: own.append(vars(fact)))
        trained.append(trainer.state)
        facts.append(own)
    assert facts[0] != facts[1]
    for whole, half in zip(*facts, strict=True):
        assert half == pytest.approx(whole, rel=0.02)
    moves = [
        torch.cat([(v - start[k]).flatten() for k, v in state.alpha.state_dict().items()])
        for state in trained
    ]
    assert torch.cosine_similarity(*moves, dim=0) > 0.9
    for network in (trained[1].alpha, trained[1].average, trained[1].main.network):
        assert {value.dtype for value in network.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("precision", ["fp32", *HALVES])
def test_which_passes_run_in_it(trainer_of, precision):
    trainer, seen = trainer_of(precision=precision, d_reg_interval=2), {}
    state = trainer.state

    def look(name, module):
        seen[name] = []
        module.register_forward_hook(lambda net, given, out: seen[name].append(out.dtype))

    look("discriminator", state.main.network.conv)
    look("alpha", state.alpha.out)
    look("trunk", trainer.generator.synthesis.get_submodule("b16.conv1"))
    train_step(state, trainer.context())
    low = DTYPES.get(precision, torch.float32)
    # Real, fake, R1 on the real, then the alpha network's composite.
    assert seen["discriminator"] == [low, low, torch.float32, low]
    assert seen["alpha"] == [low, low]
    assert seen["trunk"] == [low] * 3


def test_a_step_that_passes_float16_is_left_out(trainer_of):
    trainer = trainer_of(precision="fp16", **AUTO)
    state, context = trainer.state, trainer.context()

    def set_scale(scale):
        plain = state.alpha_scaler.state_dict()
        state.alpha_scaler.load_state_dict(plain | {"scale": scale, "_growth_tracker": 0})

    for _ in range(2):
        train_step(state, context)
    before, balance = copy.deepcopy(state.alpha.state_dict()), state.balance
    set_scale(2.0**40)
    train_step(state, context)
    assert all(torch.equal(value, before[k]) for k, value in state.alpha.state_dict().items())
    assert state.alpha_scaler.get_scale() == 2.0**39
    assert (state.balance, state.step) == (balance, 3)
    set_scale(2.0**12)
    train_step(state, context)
    assert not torch.equal(state.alpha.out.weight, before["out.weight"])


def test_only_fp16_scales_and_float32_is_left_alone():
    scalers = [new_scaler(name, CPU) for name in ("fp32", "bf16", "fp16")]
    assert [scaler.is_enabled() for scaler in scalers] == [False, False, True]
    with autocast("fp32", CPU):
        assert not torch.is_autocast_enabled("cpu")
    with autocast("bf16", CPU):
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16


@pytest.mark.parametrize("precision", HALVES)
def test_images_are_nearly_those_of_float32(make_generator, precision):
    generator = make_generator(32)
    w = generator.mapping(torch.from_numpy(np.random.RandomState(0).randn(2, 8).astype(np.float32)))
    exact, near = (
        render(generator, w, streams_of([1, 2]), 0.7, precision=name).image
        for name in ("fp32", precision)
    )
    ws, noise = generator.truncate(w, 0.7), generator.noise("random", streams_of([1, 2]))
    assert torch.equal(exact, generator.synthesis(ws, noise).image)
    assert near.dtype == torch.float32
    off = (near - exact).abs().max() / exact.abs().max()
    assert 0 < off < (0.05 if precision == "bf16" else 0.005)


def test_every_process_has_a_device_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert own_device("auto") == "auto"
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    given = ("auto", "cuda", "cuda:0", "cpu")
    assert [own_device(name) for name in given] == ["cuda:1", "cuda:1", "cuda:0", "cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert own_device("auto") == "auto"
