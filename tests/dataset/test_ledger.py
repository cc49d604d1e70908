from dataclasses import replace

import numpy as np
import pytest

from l4f_datagen.core.sample import Sample
from l4f_datagen.dataset.ledger import Counts, cut_after_accepted, ledger_row, until_accepted

PIXELS = {
    "image": np.zeros((1, 1, 3), np.uint8),
    "alpha": np.zeros((1, 1), np.float32),
    "mask": np.zeros((1, 1), np.bool_),
}


def make_attempts(pattern):
    """``+`` is accepted, ``-`` rejected."""
    return [
        Sample(at + 1, f"k{at}", 0.5, at, **PIXELS, reason=None if sign == "+" else "blur")
        for at, sign in enumerate(pattern)
    ]


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


def test_a_row_is_plain_json_values():
    sample = replace(make_attempts("-")[0], scores={"blur": np.float32(0.5)}, psi=np.float64(0.7))
    row = ledger_row(sample, 2)
    assert row == {
        **{"image_id": 1, "key": "k0", "psi": 0.7, "seed": 0, "shard": 2, "split": "train"},
        **{"status": "rejected", "reason": "blur", "scores": {"blur": 0.5}},
    }
    assert {type(row["psi"]), type(row["scores"]["blur"])} == {float}


def test_counts_add_up_in_parts_as_in_one():
    rows = [ledger_row(attempt, 0) for attempt in make_attempts("+-+--+")]
    whole, parts = Counts(), Counts()
    whole.add(rows)
    for part in (rows[:0], rows[:2], rows[2:]):
        counts = Counts()
        counts.add(part)
        parts.merge(counts)
    assert parts == whole
    assert whole.to_dict() == {
        **{"attempted": 6, "accepted": 3, "rejected": {"blur": 3}},
        **{"empty_masks": 0, "filled_holes": 0},
    }
    assert (whole.first_seed, whole.last_seed) == (0, 5)
    assert (Counts().first_seed, Counts().last_seed) == (None, None)
