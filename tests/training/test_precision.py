import copy

import numpy as np
import pytest
import torch

from l4f_datagen.training.precision import DTYPES, autocast, new_scaler, synthesize
from l4f_datagen.training.state import new_state
from l4f_datagen.training.steps import train_step

AUTO = {"balance": "auto", "area_weight": 0.1, "ema_steps": 3.0}
HALVES = tuple(DTYPES)
CPU = torch.device("cpu")


def train(trainer, watch=lambda state, facts: None):
    facts = []

    def note(state, fact):
        facts.append(fact)
        watch(state, fact)

    trainer.run(note)
    return trainer.state, facts


@pytest.mark.parametrize("precision", HALVES)
def test_half_precision_trains_as_float32_does(make_generator, make_part, make_trainer, precision):
    generator = make_generator()
    values = {"steps": 4, "batch": 4, **AUTO}
    whole, wholes = train(make_trainer(make_part(**values), generator))
    half, halves = train(make_trainer(make_part(precision=precision, **values), generator))
    assert wholes != halves
    for one, other in zip(wholes, halves, strict=True):
        for name, value in vars(one).items():
            assert getattr(other, name) == pytest.approx(value, rel=0.02), name
    start = new_state(make_part(), generator).alpha.state_dict()
    moved = torch.cat([(v - start[k]).flatten() for k, v in whole.alpha.state_dict().items()])
    other = torch.cat([(v - start[k]).flatten() for k, v in half.alpha.state_dict().items()])
    assert torch.cosine_similarity(moved, other, dim=0) > 0.9
    for name in ("alpha", "average", "discriminator"):
        values = getattr(half, name).state_dict().values()
        assert {value.dtype for value in values} == {torch.float32}


@pytest.mark.parametrize("precision", ["fp32", *HALVES])
def test_which_passes_run_in_it(make_generator, make_part, make_trainer, precision):
    part, generator = make_part(precision=precision, d_reg_interval=2), make_generator()
    trainer, seen = make_trainer(part, generator), {}
    state = trainer.state

    def look(name, module):
        seen[name] = []
        module.register_forward_hook(lambda net, given, out: seen[name].append(out.dtype))

    look("discriminator", state.discriminator.conv)
    look("alpha", state.alpha.out)
    look("trunk", generator.synthesis.get_submodule("b16.conv1"))
    train_step(state, trainer.context())
    low = DTYPES.get(precision, torch.float32)
    # Real, fake, R1 on the real, then the alpha network's composite.
    assert seen["discriminator"] == [low, low, torch.float32, low]
    assert seen["alpha"] == [low, low]
    assert seen["trunk"] == [low] * 3


@pytest.mark.parametrize("precision", HALVES)
def test_a_resumed_run_ends_bit_for_bit_alike(
    make_generator, make_part, make_trainer, tmp_path, precision
):
    part, generator = make_part(precision=precision, **AUTO), make_generator()

    def keep(state, facts):
        if facts.step == 3:
            state.save(tmp_path / "state.pt")

    whole, facts = train(make_trainer(part, generator), keep)
    resumed = new_state(part, make_generator())
    resumed.load(tmp_path / "state.pt")
    if precision == "fp16":
        assert resumed.d_scaler.state_dict()["_growth_tracker"] > 0
    _, again = train(make_trainer(part, make_generator(), resumed))
    assert again == facts[3:]
    for name in ("alpha", "average", "discriminator"):
        mine, theirs = (getattr(run, name).state_dict() for run in (whole, resumed))
        assert all(torch.equal(value, theirs[key]) for key, value in mine.items())
    for name in resumed.SCALERS:
        assert getattr(resumed, name).state_dict() == getattr(whole, name).state_dict()


def test_a_step_that_passes_float16_is_left_out(make_generator, make_part, make_trainer):
    trainer = make_trainer(make_part(precision="fp16", **AUTO), make_generator())
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


def test_only_fp16_scales(make_generator, make_part):
    assert [new_scaler(name, CPU).is_enabled() for name in ("fp32", "bf16", "fp16")] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("precision", HALVES)
def test_images_are_nearly_those_of_float32(make_generator, precision):
    generator = make_generator(32)
    z = torch.from_numpy(np.random.RandomState(0).randn(2, 8).astype(np.float32))
    ws, noise = generator.truncate(generator.mapping(z), 0.7), generator.noise("const")
    exact, near = (synthesize(generator, ws, noise, name) for name in ("fp32", precision))
    assert torch.equal(exact.image, generator.synthesis(ws, noise).image)
    assert near.image.dtype == torch.float32
    off = (near.image - exact.image).abs().max() / exact.image.abs().max()
    assert 0 < off < (0.05 if precision == "bf16" else 0.005)


def test_float32_is_left_alone():
    with autocast("fp32", CPU):
        assert not torch.is_autocast_enabled("cpu")
    with autocast("bf16", CPU):
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
