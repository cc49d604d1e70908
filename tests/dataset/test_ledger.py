from dataclasses import replace

import numpy as np
import pytest

from l4f_datagen.core.sample import Sample
from l4f_datagen.dataset.manifest import Counts, empty_masks_note, ledger_row

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
        parts.add(part)
    assert parts == whole
    assert whole.to_dict() == {
        **{"attempted": 6, "accepted": 3, "rejected": {"blur": 3}},
        **{"empty_masks": 0, "filled_holes": 0},
    }
    assert (whole.seeds, Counts().seeds) == ((0, 5), ())


@pytest.mark.parametrize(
    ("empty", "told"),
    [
        (0, None),
        (3, "3 of 60 masks are empty; look at the contact sheet"),
        (60, "60 of 60 masks are empty; the alpha network may be unusable: look at the contact"),
    ],
)
def test_empty_masks_are_told_with_what_to_do(empty, told):
    note = empty_masks_note({"empty_masks": empty, "accepted": 60})
    assert note is told is None or note.startswith(told)
