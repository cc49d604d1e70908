from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.recipe.seeds import parse_seeds
from l4f_datagen.rendering.plan import Sweep
from l4f_datagen.rendering.quota import (
    Quota,
    Share,
    cut_after_accepted,
    ends_where_asked,
    parse_share,
    positions_given,
    until_accepted,
)


def sweep(psi=(0.5, 1.0), seeds="0-9"):
    return Sweep(psi, parse_seeds(seeds), block_size=3, blocks_per_shard=2)


def shard_of(accepted, attempted, planned=None, ends_accepted=True, **rejected):
    counts = {"planned": planned or attempted, "attempted": attempted, "accepted": accepted}
    return SimpleNamespace(**counts, rejected=rejected, ends_accepted=ends_accepted)


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
        quota.book(shard_of(kept, len(draws)))
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


SWEEP = Sweep((0.5, 1.0), parse_seeds("0-"), 4, 2)


def walk(quota, accepted_of_eight):
    shards = []
    for shard, blocks in quota.shards():
        shards.append(shard)
        attempted = sum(map(len, blocks))
        quota.book(shard_of(attempted * accepted_of_eight // 8, attempted, border_contact=1))
    return shards


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


def test_a_hopeless_share_stops_with_the_reasons():
    quota = Quota(4000, "accepted", SWEEP, Share(1, 2))
    with pytest.raises(L4FError, match=r"only 0 of 1000 attempts .* \(rejected: border_contact"):
        walk(quota, 0)


def test_shares_count_from_nought():
    assert parse_share("0/1") == Share(0, 1)
    assert str(parse_share("07/8")) == "7/8"


@pytest.mark.parametrize("text", ["", "1", "1/", "1/1", "8/8", "-1/2", "0/0", "a/b", "1/2/3"])
def test_no_such_share(text):
    with pytest.raises(UsageError, match=r"--shard: expected i/n with i from 0 to n - 1, got "):
        parse_share(text)


PIXELS = {
    "image": np.zeros((1, 1, 3), np.uint8),
    "alpha": np.zeros((1, 1), np.float32),
    "mask": np.zeros((1, 1), np.bool_),
}


def make_attempts(pattern):
    """``+`` is accepted, ``-`` rejected; only the reason counts."""
    reasons = {"+": None, "-": "blur"}
    return [SimpleNamespace(seed=k, reason=reasons[sign]) for k, sign in enumerate(pattern)]


@pytest.mark.parametrize(("wanted", "kept"), [(None, 6), (1, 2), (2, 3), (3, 5), (4, 6), (9, 6)])
def test_cut_keeps_up_to_the_wanted_one(wanted, kept):
    attempts = make_attempts("-++-+-")
    assert cut_after_accepted(attempts, wanted) == attempts[:kept]


@pytest.mark.parametrize(("wanted", "pulled"), [(None, 3), (1, 1), (2, 2), (3, 2), (4, 3), (9, 3)])
def test_no_block_is_pulled_beyond_the_wanted_one(wanted, pulled):
    blocks = [make_attempts("-+"), make_attempts("+-+"), make_attempts("-+")]
    todo = iter(blocks)
    assert list(until_accepted(todo, wanted)) == blocks[:pulled]
    assert list(todo) == blocks[pulled:]


YES, NO = "accepted", "rejected"


@pytest.mark.parametrize(
    ("statuses", "fits"),
    [
        ([YES, NO, YES, NO], {None: True, 4: True, 3: True, 2: False, 1: False}),
        ([YES, NO, NO, YES], {None: True, 3: True, 2: True, 1: False}),
        ([YES, NO, YES], {None: False, 3: False, 2: True, 1: False}),
        ([NO, NO, NO, NO], {None: True, 1: True}),
    ],
)
def test_a_shard_is_kept_where_an_undisturbed_run_would_end_it_alike(statuses, fits):
    shard = shard_of(statuses.count(YES), len(statuses), 4, statuses[-1] == YES)
    assert {wanted: ends_where_asked(shard, 4, wanted) for wanted in fits} == fits
    assert not any(ends_where_asked(shard, 5, wanted) for wanted in fits)


def test_attempts_ahead_grow_with_what_is_rejected():
    assert Quota(10, "attempts", sweep()).attempts_ahead(1, 5) is None
    quota = Quota(10, "accepted", sweep())
    assert quota.attempts_ahead(0, 0) == 10
    assert quota.attempts_ahead(4, 5) == 12
    assert quota.attempts_ahead(10, 5) == 0


@pytest.mark.parametrize(
    ("count", "there", "missing"),
    [
        ("accepted", {0: 3, 1: 3}, [2]),  # nobody knows what lies behind shard 2
        ("accepted", {0: 3, 2: 6}, [1]),
        ("accepted", {0: 4, 1: 6}, []),
        ("attempts", {1: 6}, [0]),
        ("attempts", {}, [0, 1]),
    ],
)
def test_missing_shards_end_where_the_dataset_does(count, there, missing):
    quota = Quota(10, count, sweep(seeds="0-"))
    read = {number: shard_of(accepted, 6) for number, accepted in there.items()}.get
    assert quota.missing(read, max(there, default=-1)) == missing


def test_the_positions_a_finished_dataset_was_given():
    assert positions_given(sweep(), 2, 5, 99, True) == 2 * 6 + 5
    assert positions_given(sweep(), 2, None, 17, False) == 17
    assert positions_given(sweep(), 2, None, 17, True) is None
