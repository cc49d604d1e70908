from itertools import chain
from types import SimpleNamespace

import pytest

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.recipe.seeds import parse_seeds
from l4f_datagen.rendering.plan import Sweep
from l4f_datagen.rendering.quota import Quota, Share, parse_share, until_accepted

SWEEP = Sweep((0.5, 1.0), parse_seeds("0-"), 4, 2)


def sweep(psi=(0.5, 1.0), seeds="0-9"):
    return Sweep(psi, parse_seeds(seeds), block_size=3, blocks_per_shard=2)


def drain(quota, accept=lambda draw: True):
    """Take shards as ``make`` does: cut behind the accepted sample that fills the number."""
    taken = []
    for _, blocks in quota.shards():
        draws = list(chain.from_iterable(blocks))
        kept = 0
        for place, draw in enumerate(draws):
            kept += accept(draw)
            if kept == quota.wanted:
                draws = draws[: place + 1]
                break
        quota.book(kept, len(draws), {})
        taken += draws
    return taken


def walk(quota, accepted_of_eight):
    shards = []
    for shard, blocks in quota.shards():
        shards.append(shard)
        attempted = sum(map(len, blocks))
        quota.book(attempted * accepted_of_eight // 8, attempted, {"border_contact": 1})
    return shards


@pytest.mark.parametrize(
    ("number", "plan", "told"),
    [
        *((n, {}, f"--n: asks for {n} samples; ask for at least 1") for n in (0, -3)),
        (21, {}, "--n: asks for 21, but psi x seeds has 20 positions; give more --seeds or psi, o"),
        (1, {"psi": (0.5, 0.7, 0.7), "seeds": "4"}, "--seeds: has 1 seeds, too few for one turn of "
         "the psi; a psi of share k takes k seeds a turn; give more"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("count", ["accepted", "attempts"])
def test_what_the_plan_cannot_give(number, plan, told, count):
    with pytest.raises(UsageError, match=told):
        Quota(number, count, sweep(**plan))
    assert len(drain(Quota(20, count, sweep()))) == 20


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


def test_a_hopeless_run_or_share_stops_early_and_one_that_gets_on_does_not():
    with pytest.raises(L4FError, match="only 0 of 1002 attempts passed the filters; loosen"):
        drain(Quota(5, "accepted", sweep(seeds="0-")), accept=lambda draw: False)
    with pytest.raises(L4FError, match=r"only 0 of 1000 attempts .* \(rejected: border_contact"):
        walk(Quota(4000, "accepted", SWEEP, Share(1, 2)), 0)
    with pytest.raises(L4FError, match="only 49 of 1000"):
        next(Quota(60, "accepted", SWEEP, accepted=49, attempted=1000).shards())
    next(Quota(60, "accepted", SWEEP, accepted=50, attempted=1000).shards())


@pytest.mark.parametrize("of", [1, 2, 3, 7])
@pytest.mark.parametrize("number", [1, 8, 9, 50])
def test_attempts_are_shared_out_exactly(number, of):
    shared = [walk(Quota(number, "attempts", SWEEP, Share(index, of)), 8) for index in range(of)]
    assert sorted(chain.from_iterable(shared)) == walk(Quota(number, "attempts", SWEEP), 8)
    for index, shards in enumerate(shared):
        assert all(Share(index, of).owns(shard) for shard in shards)


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_of_accepted_samples_each_job_makes_its_part_in_whole_shards(of):
    quotas = [Quota(50, "accepted", SWEEP, Share(index, of)) for index in range(of)]
    assert quotas[0].wanted is None
    made = [walk(quota, 6) for quota in quotas]
    assert all(6 * len(shards) >= 50 / of > 6 * (len(shards) - 1) for shards in made)


def test_shares_count_from_nought():
    assert parse_share("0/1") == Share(0, 1)
    assert str(parse_share("07/8")) == "7/8"


@pytest.mark.parametrize("text", ["", "1", "1/", "1/1", "8/8", "-1/2", "0/0", "a/b", "1/2/3"])
def test_no_such_share(text):
    with pytest.raises(UsageError, match=r"--shard: expected i/n with i from 0 to n - 1, got "):
        parse_share(text)


@pytest.mark.parametrize(
    ("wanted", "kept", "pulled"),
    [(None, 7, 3), (1, 2, 1), (2, 3, 2), (3, 5, 2), (4, 7, 3), (9, 7, 3)],
)
def test_the_wanted_one_is_the_last_and_no_block_beyond_it_is_pulled(wanted, kept, pulled):
    """``+`` is accepted, ``-`` rejected; only the reason counts."""
    accepted, rejected = SimpleNamespace(reason=None), SimpleNamespace(reason="blur")
    signs = {"+": accepted, "-": rejected}
    blocks = [[signs[sign] for sign in block] for block in ("-+", "+-+", "-+")]
    todo = iter(blocks)
    assert list(chain.from_iterable(until_accepted(todo, wanted))) == [*chain(*blocks)][:kept]
    assert list(todo) == blocks[pulled:]


def test_attempts_ahead_grow_with_what_is_rejected():
    assert Quota(10, "attempts", sweep()).attempts_ahead(1, 5) is None
    quota = Quota(10, "accepted", sweep())
    assert [quota.attempts_ahead(*so_far) for so_far in ((0, 0), (4, 5), (10, 5))] == [10, 12, 0]
