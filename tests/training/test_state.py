"""What a training holds: how it starts, and its file."""

import copy

import pytest
import torch

from l4f_datagen.core.errors import UsageError
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.training.state import build_alpha, new_state


def same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_weights_come_from_the_seed_and_torchs_stream_stays(make_generator, make_part, everything):
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    training = new_state(make_part(), make_generator())
    assert torch.equal(torch.rand(1), before)
    assert everything(training) == everything(new_state(make_part(), make_generator()))
    other = new_state(make_part(seed=4), make_generator())
    assert not torch.equal(other.alpha.out.weight, training.alpha.out.weight)
    assert not torch.equal(other.main.network.fc.weight, training.main.network.fc.weight)
    assert torch.equal(training.average.out.weight, training.alpha.out.weight)


def test_optimisers_are_the_papers(make_generator, make_part):
    training = new_state(make_part(learning_rate=2e-3, d_reg_interval=16), make_generator())
    (alpha,), (critic,) = training.alpha_optim.param_groups, training.main.optim.param_groups
    assert alpha["lr"] == pytest.approx(2e-3 * 4 / 5)
    assert alpha["betas"] == pytest.approx((0, 0.99199), abs=1e-5)
    assert critic["lr"] == pytest.approx(2e-3 * 16 / 17)
    assert critic["betas"] == pytest.approx((0, 0.99059), abs=1e-5)


def test_pretrained(make_generator, make_part):
    generator = make_generator()
    torch.manual_seed(77)
    given = Discriminator(16, generator.spec.channels).eval().requires_grad_(False)
    before = copy.deepcopy(given.state_dict())
    scratch = new_state(make_part(), generator, given)
    assert not same(scratch.main.network.state_dict(), before)
    training = new_state(make_part(discriminator="pretrained"), generator, given)
    assert same(training.main.network.state_dict(), before)
    assert all(parameter.requires_grad for parameter in training.main.network.parameters())
    # The alpha network starts from the seed, whichever discriminator it meets.
    assert same(training.alpha.state_dict(), scratch.alpha.state_dict())


def test_pretrained_but_missing(make_generator, make_part):
    expected = (
        r"alpha.training.discriminator: asks for a pretrained one, but the checkpoint has none;"
        r" set alpha.training.discriminator to scratch"
    )
    with pytest.raises(UsageError, match=expected):
        new_state(make_part(discriminator="pretrained"), make_generator())


@pytest.mark.parametrize(
    ("lowest", "resolutions"),
    [(None, [8, 16, 32]), (16, [16, 32]), (32, [32]), (8, [8, 16, 32])],
)
def test_lowest_resolution(make_generator, make_part, lowest, resolutions):
    network = build_alpha(make_part(lowest_resolution=lowest), make_generator(32))
    assert network.resolutions == resolutions


@pytest.mark.parametrize("lowest", [4, 12, 64])
def test_a_resolution_that_is_not_there(make_generator, make_part, lowest):
    expected = (
        rf"alpha.lowest_resolution: must be one of 8, 16, 32, got {lowest}; "
        "name a resolution of the trunk"
    )
    with pytest.raises(UsageError, match=expected):
        build_alpha(make_part(lowest_resolution=lowest), make_generator(32))


def test_on_a_full_disk_nothing_is_left(tmp_path, make_generator, make_part, fill_disk):
    fill_disk(tmp_path / "state.pt")
    with pytest.raises(OSError, match="No space left"):
        new_state(make_part(), make_generator()).save(tmp_path / "state.pt")
    assert not list(tmp_path.iterdir())


def test_a_file_of_an_older_version_is_read(tmp_path, make_generator, make_part, everything):
    """It holds the second discriminator's parts in a dict of their own."""
    file, part = tmp_path / "state.pt", make_part(balance="two-sided")
    written = new_state(part, make_generator())
    written.save(file)
    payload = torch.load(file, weights_only=True)
    payload["rest"] = {k: payload.pop(f"rest.{k}") for k in ("network", "optim", "scaler")}
    torch.save(payload, file)
    state = new_state(part.model_copy(), make_generator(), failures=("grey",))
    state.load(file)
    assert everything(state) == everything(written)


def cut_short(file, new):
    new().save(file)
    file.write_bytes(file.read_bytes()[:-2000])


NO_STATES = {
    "empty": (lambda file, new: file.write_bytes(b""), r"\w+"),
    "text": (lambda file, new: file.write_bytes(b"no state"), r"\w+"),
    "a broken archive": (lambda file, new: file.write_bytes(b"PK\x03\x04" + bytes(50)), r"\w+"),
    "cut short": (cut_short, r"\w+"),
    "of another network": (lambda file, new: new(32).save(file), "Runtime"),
    "that would run code": (lambda f, new: torch.save({"alpha": print}, f), "UnpicklingError"),
    "of one discriminator": (lambda file, new: new(two_sided=False).save(file), "KeyError"),
}


@pytest.mark.parametrize("name", NO_STATES)
def test_what_is_no_state_of_this_training(tmp_path, make_generator, make_part, name):
    def new(side=16, two_sided=True):
        balance = "two-sided" if two_sided else "fixed"
        return new_state(make_part(balance=balance), make_generator(side))

    write, kind = NO_STATES[name]
    write(tmp_path / "state.pt", new)
    expected = rf"state.pt: is not a training state of this recipe \({kind}.*\); use another --out"
    with pytest.raises(UsageError, match=expected):
        new().load(tmp_path / "state.pt")
