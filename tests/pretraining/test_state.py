import pytest
import torch

from l4f_datagen.checkpoints.native import save_discriminator, save_generator
from l4f_datagen.checkpoints.open import open_discriminator, open_generator
from l4f_datagen.core.errors import UsageError
from l4f_datagen.models.generator import Generator
from l4f_datagen.pretraining import state as state_module
from l4f_datagen.pretraining.state import CHANNELS, PretrainPlan, new_state
from l4f_datagen.recipe.domains import BUILTIN, Builtin

WIDTHS = {4: 4, 8: 4, 16: 4, 32: 3, 64: 2}


def assert_same(first: torch.nn.Module, second: torch.nn.Module) -> None:
    one, two = first.state_dict(), second.state_dict()
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def same_parameters(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return all(torch.equal(one, two) for one, two in pairs)


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Tiny weights in the place of those that ship."""
    monkeypatch.setattr(state_module, "CHANNELS", WIDTHS)
    start = new_state(PretrainPlan(seed=77))
    with torch.no_grad():
        start.generator.w_avg.uniform_(-1, 1)
    save_generator(
        tmp_path / "generator.safetensors", start.generator.spec, start.generator.state_dict()
    )
    save_discriminator(tmp_path / "discriminator.safetensors", start.discriminator)
    monkeypatch.setitem(BUILTIN, "toy-cars", Builtin(tmp_path, 64))
    return start


def test_a_started_run_begins_with_the_shipped_weights(shipped):
    state = new_state(PretrainPlan("toy-fish", start="toy-cars", seed=3))
    assert state.step == 0
    assert_same(state.generator, shipped.generator)
    assert_same(state.g_ema, shipped.generator)
    assert_same(state.discriminator, shipped.discriminator)
    assert not state.g_optim.state_dict()["state"]
    noise = new_state(PretrainPlan("toy-fish", seed=3))
    assert not same_parameters(noise.generator, shipped.generator)
    assert not same_parameters(noise.discriminator, shipped.discriminator)


def test_the_optimisers_hold_the_networks_that_learn(shipped):
    state = new_state(PretrainPlan("toy-fish", start="toy-cars"))
    for network, optim in (
        (state.generator, state.g_optim),
        (state.discriminator, state.d_optim),
    ):
        held = [id(parameter) for group in optim.param_groups for parameter in group["params"]]
        assert held == [id(parameter) for parameter in network.parameters()]


def test_the_weights_that_ship_fit_a_new_run():
    state = new_state(PretrainPlan("toy-fish", start="toy-cars"))
    folder = BUILTIN["toy-cars"].folder
    assert state.generator.spec.channels == CHANNELS
    assert_same(state.generator, open_generator(folder / "generator.safetensors").build())
    judge = open_discriminator(folder / "discriminator.safetensors").build()
    assert_same(state.discriminator, judge)


def test_without_a_start_the_seed_decides(monkeypatch):
    monkeypatch.setattr(state_module, "CHANNELS", WIDTHS)
    first, again, other = (new_state(PretrainPlan(seed=seed)).generator for seed in (1, 1, 2))
    assert isinstance(first, Generator)
    assert_same(first, again)
    assert not same_parameters(first, other)


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        ({"domain": "toy-boats"}, "domain: no toy domain 'toy-boats'; choose from toy-cars, toy-f"),
        ({"domain": ""}, "domain: no toy domain ''; choose from toy-cars, toy-fish"),
        ({"start": "toy-boats"}, "start: no shipped weights 'toy-boats'; choose from toy-cars, t"),
        ({"start": ""}, "start: no shipped weights ''; choose from toy-cars, toy-fish"),
    ],
)
def test_unknown_names_are_refused(plan, text):
    with pytest.raises(UsageError) as caught:
        PretrainPlan(**plan)
    assert str(caught.value).startswith(text)
    assert caught.value.exit_code == 2
