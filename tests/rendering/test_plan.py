import doctest
from itertools import islice, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l4f_datagen.core.errors import UsageError
from l4f_datagen.core.sample import sample_key
from l4f_datagen.recipe import SamplingPart, SplitPart
from l4f_datagen.recipe.seeds import parse_seeds
from l4f_datagen.rendering import plan
from l4f_datagen.rendering.plan import Draw, Sweep, split_of, sweep_of

psi_lists = st.lists(st.sampled_from([0.0, 0.5, 0.7, 1.0]), min_size=1, max_size=7)
seed_lists = st.sampled_from(["0-", "0-9", "3-40,100-120", "5", "7,1,3", "0-99"])


@st.composite
def sweeps(draw):
    sizes = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    seeds = parse_seeds(draw(seed_lists))
    return Sweep(tuple(draw(psi_lists)), seeds, *sizes, draw(st.booleans()))


def for_any_sweep(test):
    return settings(deadline=None)(given(sweeps())(test))  # busy machines


def some(sweep, limit=60):
    return [sweep.draw(position) for position in range(min(limit, sweep.capacity))]


def test_reads_as_the_docstrings_say():
    sweep = Sweep((0.5, 1.0), parse_seeds("0-"), 4, 2)
    assert some(sweep, 4) == [Draw(1, 0.5, 0), Draw(2, 1.0, 0), Draw(3, 0.5, 1), Draw(4, 1.0, 1)]
    assert sweep.draw(0).key == "psi0500-seed0000000"
    new = Sweep((0.5, 1.0), parse_seeds("0-"), 4, 2, same_seeds=False)
    assert some(new, 4) == [Draw(1, 0.5, 0), Draw(2, 1.0, 1), Draw(3, 0.5, 2), Draw(4, 1.0, 3)]
    assert doctest.testmod(plan).attempted > 0


def plan_by_hand(sweep):
    """The plan in whole turns, seeds dealt out: to each psi from its own deck where they share."""

    def deck():
        return map(sweep.seeds.__getitem__, range(len(sweep.seeds)))

    one_for_all = deck()
    decks = {psi: deck() if sweep.same_seeds else one_for_all for psi in sweep.psi}
    while True:
        turn = [(psi, next(decks[psi], None)) for psi in sweep.psi]
        if any(seed is None for _, seed in turn):
            return
        yield from turn


@for_any_sweep
def test_is_the_plan_that_is_dealt_out_by_hand_and_no_key_comes_twice(sweep):
    draws, expected = some(sweep), list(islice(plan_by_hand(sweep), 60))
    assert [(draw.psi, draw.seed) for draw in draws] == expected
    assert len({draw.key for draw in draws}) == len(draws)
    assert [draw.image_id for draw in draws] == list(range(1, len(draws) + 1))


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({}, False),
        ({"seeds": "0-"}, False),
        ({"seeds": "0-99"}, True),
        ({"latents": "ws.npy"}, True),
        ({"seeds": "0-99", "same_seeds": False}, False),
        ({"same_seeds": True}, True),
    ],
)
def test_seeds_that_are_given_are_for_every_psi(given, same):
    part = SamplingPart(**given)
    assert part.same_seeds == same
    assert SamplingPart(**part.model_dump()) == part


@for_any_sweep
def test_blocks_and_shards_only_cut_the_plan_and_only_the_last_block_is_short(sweep):
    """Any cut gives the same samples in the same order, so a plan is stable as it grows."""
    shards = [list(sweep.shard(k)) for k in range(min(sweep.num_shards, 60))]
    flat = [block for shard in shards for block in shard]
    assert [draw for block in flat for draw in block][:60] == some(sweep)
    assert all(len(block) == sweep.block_size for block in flat[:-1])
    assert all(len(shard) == sweep.blocks_per_shard for shard in shards[:-1])
    if sweep.num_shards <= 60:
        assert sum(map(len, flat)) == sweep.capacity
    assert list(sweep.shard(sweep.num_shards)) == []


@for_any_sweep
def test_capacity_is_what_the_seeds_allow(sweep):
    turns, rest = divmod(sweep.capacity, len(sweep.psi))
    largest = max(map(sweep.psi.count, sweep.psi)) if sweep.same_seeds else len(sweep.psi)
    assert rest == 0
    assert turns * largest <= len(sweep.seeds) < (turns + 1) * largest
    if sweep.capacity > 0:
        sweep.draw(sweep.capacity - 1)
    if turns * largest == len(sweep.seeds):
        with pytest.raises(IndexError):
            [sweep.draw(sweep.capacity + k) for k in range(len(sweep.psi))]


def test_more_seeds_lengthen_the_plan_and_change_nothing_before():
    short, long = (Sweep((0.5, 1.0, 1.0), parse_seeds(seeds), 4, 2) for seeds in ("0-9", "0-99"))
    assert some(long)[: short.capacity] == some(short)


def test_psi_whose_keys_would_agree():
    text = r"--psi: two of \[0.7, 0.7004\] agree to three decimals, so their keys would too; keep"
    with pytest.raises(UsageError, match=f"{text} psi at least 0.001 apart"):
        Sweep((0.7, 0.7004), parse_seeds("0-"), 4, 2)
    assert Sweep((0.7, 0.701, 0.7), parse_seeds("0-"), 4, 2).psi == (0.7, 0.701, 0.7)


def test_the_recipes_plan_and_that_of_its_latents(tmp_path):
    sweep = sweep_of(SamplingPart(psi=(0.3,), seeds="4-5", block_size=3, blocks_per_shard=7))
    assert some(sweep) == [Draw(1, 0.3, 4), Draw(2, 0.3, 5)]
    assert (sweep.block_size, sweep.shard_size, sweep.num_shards) == (3, 21, 1)
    path = str(tmp_path / "ws.npy")
    np.save(path, np.zeros((3, 8), np.float32))
    sweep = sweep_of(SamplingPart(psi=(0.5, 1.0), latents=path))
    assert [(d.seed, d.psi) for d in some(sweep)] == list(product(range(3), (0.5, 1.0)))
    with pytest.raises(UsageError, match=r"--seeds: names row 3, but .*ws.npy has 3; rows count"):
        sweep_of(SamplingPart(latents=path, seeds="0-3"))


KEYS = [sample_key(0.7, seed) for seed in range(4000)]
KNOWN = "train train train test train train test train train val test val"


@pytest.mark.parametrize(
    ("part", "shares"),
    [
        ({}, {"train": 1, "val": 0, "test": 0}),
        ({"train": 0, "test": 1}, {"train": 0, "val": 0, "test": 1}),
        ({"val": 0.2, "test": 0.1}, {"train": 0.7, "val": 0.2, "test": 0.1}),
    ],
)
def test_shares_are_about_what_was_asked(part, shares):
    found = [split_of(key, SplitPart(**part)) for key in KEYS]
    counted = {name: found.count(name) / len(KEYS) for name in shares}
    assert counted == pytest.approx(shares, abs=0.03 if "val" in part else 0)


def test_known_places_and_all_psi_of_a_seed_fall_together():
    """Another version must put the same keys in the same splits."""
    part = SplitPart(val=0.3, test=0.3)
    for psi in (0.0, 0.5, 1.0):
        assert [split_of(sample_key(psi, seed), part) for seed in range(12)] == KNOWN.split()


def test_growing_val_takes_from_train_alone():
    small, large = SplitPart(val=0.1, test=0.2), SplitPart(val=0.3, test=0.2)
    for key in KEYS[:500]:
        before, after = split_of(key, small), split_of(key, large)
        assert before == after or (before, after) == ("train", "val")


def test_train_takes_the_rest():
    assert SplitPart(val=0.1, test=0.2).train == 0.7
    assert SplitPart.model_validate({"train": 0.9, "val": 0.1}).test == 0
    part = SplitPart(val=0.1)
    assert SplitPart.model_validate(part.model_dump()) == part


@pytest.mark.parametrize(
    ("shares", "text"),
    [
        ({"train": 0.9, "val": 0.2}, "train, val and test add up to 1.1, expected 1"),
        ({"train": 0.5}, "add up to 0.5, expected 1"),
        ({"val": 0.7, "test": 0.7}, "add up to 1.4, expected 1"),
        ({"val": 1.5}, "less than or equal to 1"),
        ({"val": "some"}, "valid number"),
        ({"val": True}, "should be a number"),
        ({"dev": 0.1}, "Extra inputs are not permitted"),
    ],
)
def test_what_is_no_division(shares, text):
    with pytest.raises(ValueError, match=text):
        SplitPart.model_validate(shares)
