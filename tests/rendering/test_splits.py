import doctest

import pytest

from l4f_datagen.core.sample import sample_key
from l4f_datagen.recipe import SplitPart
from l4f_datagen.rendering import splits
from l4f_datagen.rendering.splits import split_of

KEYS = [sample_key(0.7, seed) for seed in range(4000)]
KNOWN = "train train train test train train test train train val test val"


def shares_of(part):
    found = [split_of(key, part) for key in KEYS]
    return {name: found.count(name) / len(KEYS) for name in ("train", "val", "test")}


def test_everything_is_train_unless_asked_otherwise():
    assert {split_of(key, SplitPart()) for key in KEYS} == {"train"}
    assert set(shares_of(SplitPart(train=0, test=1)).values()) == {0.0, 1.0}


def test_shares_are_about_what_was_asked():
    shares = shares_of(SplitPart(train=0.7, val=0.2, test=0.1))
    assert shares == {
        "train": pytest.approx(0.7, abs=0.03),
        "val": pytest.approx(0.2, abs=0.03),
        "test": pytest.approx(0.1, abs=0.03),
    }


def test_all_psi_of_a_seed_fall_together():
    part = SplitPart(val=0.5)
    for seed in range(40):
        assert len({split_of(sample_key(psi, seed), part) for psi in (0.0, 0.5, 1.0)}) == 1


def test_known_places():
    """Another version must put the same keys in the same splits."""
    part = SplitPart(val=0.3, test=0.3)
    assert [split_of(sample_key(1.0, seed), part) for seed in range(12)] == KNOWN.split()


def test_growing_val_takes_from_train_alone():
    small, large = SplitPart(val=0.1, test=0.2), SplitPart(val=0.3, test=0.2)
    for key in KEYS[:500]:
        before, after = split_of(key, small), split_of(key, large)
        assert before == after or (before, after) == ("train", "val")


def test_train_takes_the_rest():
    assert SplitPart(val=0.1, test=0.2).train == 0.7
    assert SplitPart.model_validate({"train": 0.9, "val": 0.1}).test == 0
    dumped = SplitPart(val=0.1).model_dump()
    assert SplitPart.model_validate(dumped) == SplitPart(val=0.1)


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


def test_docstring():
    assert doctest.testmod(splits).attempted > 0
