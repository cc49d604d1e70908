from itertools import chain

import pytest

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.recipe.seeds import parse_seeds
from l4f_datagen.rendering.quota import Quota
from l4f_datagen.rendering.share import Share, ShareQuota, parse_share
from l4f_datagen.rendering.sweep import Sweep

SWEEP = Sweep((0.5, 1.0), parse_seeds("0-"), 4, 2)


def walk(quota, accepted_of_eight):
    shards = []
    for shard, blocks in quota.shards():
        shards.append(shard)
        attempted = sum(map(len, blocks))
        quota.book(attempted * accepted_of_eight // 8, attempted, {"border_contact": 1})
    return shards


@pytest.mark.parametrize("of", [1, 2, 3, 7])
@pytest.mark.parametrize("number", [1, 8, 9, 50])
def test_attempts_are_shared_out_exactly(number, of):
    whole = Quota(number, "attempts", SWEEP)
    shared = [walk(ShareQuota(whole, Share(index, of)), 8) for index in range(of)]
    assert sorted(chain.from_iterable(shared)) == walk(Quota(number, "attempts", SWEEP), 8)
    for index, shards in enumerate(shared):
        assert all(Share(index, of).owns(shard) for shard in shards)


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_of_accepted_samples_each_job_makes_its_part_in_whole_shards(of):
    whole = Quota(50, "accepted", SWEEP)
    made = [walk(ShareQuota(whole, Share(index, of)), 6) for index in range(of)]
    assert all(6 * len(shards) >= 50 / of > 6 * (len(shards) - 1) for shards in made)
    assert ShareQuota(whole, Share(0, of)).wanted is None


def test_a_hopeless_share_stops_with_the_reasons():
    quota = ShareQuota(Quota(4000, "accepted", SWEEP), Share(1, 2))
    with pytest.raises(L4FError, match=r"only 0 of 1000 attempts .* \(rejected: border_contact"):
        walk(quota, 0)


def test_shares_count_from_nought():
    assert parse_share("0/1") == Share(0, 1)
    assert str(parse_share("07/8")) == "7/8"


@pytest.mark.parametrize("text", ["", "1", "1/", "1/1", "8/8", "-1/2", "0/0", "a/b", "1/2/3"])
def test_no_such_share(text):
    with pytest.raises(UsageError, match=r"--shard: expected i/n with i from 0 to n - 1, got "):
        parse_share(text)
