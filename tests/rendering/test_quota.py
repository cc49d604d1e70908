import pytest

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.recipe.seeds import parse_seeds
from l4f_datagen.rendering.quota import Quota
from l4f_datagen.rendering.sweep import Sweep


def sweep(psi=(0.5, 1.0), seeds="0-9"):
    return Sweep(psi, parse_seeds(seeds), block_size=3, blocks_per_shard=2)


def drain(quota, accept=lambda draw: True):
    """Take shards as ``make`` does: cut behind the accepted sample that fills the number."""
    taken = []
    for _, blocks in quota.shards():
        draws = [draw for block in blocks for draw in block]
        kept = 0
        for place, draw in enumerate(draws):
            kept += accept(draw)
            if kept == quota.wanted:
                draws = draws[: place + 1]
                break
        quota.book(kept, len(draws))
        taken += draws
    return taken


@pytest.mark.parametrize("number", [0, -3])
@pytest.mark.parametrize("count", ["accepted", "attempts"])
def test_less_than_one_sample(number, count):
    with pytest.raises(UsageError, match=f"--n: asks for {number} samples; ask for at least 1"):
        Quota(number, count, sweep())


def test_more_than_the_plan_has():
    text = "--n: asks for 21, but psi x seeds has 20 positions; give more --seeds or psi, or a s"
    with pytest.raises(UsageError, match=text):
        Quota(21, "accepted", sweep())
    assert len(drain(Quota(20, "accepted", sweep()))) == 20


def test_seeds_too_few_for_one_turn():
    with pytest.raises(UsageError) as caught:
        Quota(1, "accepted", sweep((0.5, 0.7, 0.7), "4"))
    assert str(caught.value) == (
        "--seeds: has 1 seeds, too few for one turn of the psi; "
        "a psi of share k takes k seeds a turn; give more"
    )
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("number", [1, 5, 6, 7, 20])
def test_attempts_are_the_head_of_the_plan(number):
    taken = drain(Quota(number, "attempts", sweep()), accept=lambda draw: False)
    assert [draw.image_id for draw in taken] == list(range(1, number + 1))


@pytest.mark.parametrize("number", [1, 4, 10])
def test_accepted_goes_on_until_so_many_are(number):
    taken = drain(Quota(number, "accepted", sweep()), accept=lambda draw: draw.psi == 1.0)
    assert len(taken) == 2 * number


def test_a_number_out_of_reach_says_so():
    quota = Quota(11, "accepted", sweep())
    text = "make: the plan ends with 10 of 11 samples accepted; give more --seeds or loosen"
    with pytest.raises(L4FError, match=text) as caught:
        drain(quota, accept=lambda draw: draw.psi == 1.0)
    assert caught.value.exit_code == 1
    assert (quota.accepted, quota.attempted) == (10, 20)


def test_a_hopeless_run_stops_early():
    quota = Quota(5, "accepted", sweep(seeds="0-"))
    with pytest.raises(L4FError, match="only 0 of 1002 attempts passed the filters; loosen"):
        drain(quota, accept=lambda draw: False)
