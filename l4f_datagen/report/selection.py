"""Selection: which samples a page shows when a dataset has more than a page can hold."""

from itertools import chain, zip_longest

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.report.records import Records

Indices = NDArray[np.int64]
ACCEPTED_SHARE = 2 / 3


def choose_shown(records: Records, limit: int) -> list[int]:
    """Choose at most ``limit`` samples, the same ones for the same ledger.

    Accepted samples get two thirds of the places, rejected ones the rest, and each side what the
    other leaves free. Of each side half the places go to the samples that are worst by any score,
    half are spread evenly over every psi in the order of the plan.

    Returns:
        Indices in ``records``, by importance: any beginning of the list is a fair choice too.
    """
    accepted, rejected = np.flatnonzero(records.accepted), np.flatnonzero(~records.accepted)
    places = min(len(accepted), max(round(limit * ACCEPTED_SHARE), limit - len(rejected)))
    worst = records.worst()
    sides = (
        _choose(records, accepted, worst, places),
        _choose(records, rejected, worst, limit - places),
    )
    return _interleave(*sides)


def _choose(records: Records, side: Indices, worst: NDArray[np.float64], places: int) -> list[int]:
    if len(side) <= places:
        spread_only = len(side)
        return _spread(records, side, spread_only)
    # Stable sort: of equal ranks the earlier sample comes first.
    suspects = side[np.argsort(-worst[side], kind="stable")][: places // 2]
    others = np.setdiff1d(side, suspects)
    return _interleave([int(i) for i in suspects], _spread(records, others, places - len(suspects)))


def _spread(records: Records, side: Indices, places: int) -> list[int]:
    """Take as many of every psi, evenly from the first to the last, coarse steps first."""
    groups = [side[records.psi[side] == psi] for psi in np.unique(records.psi[side])]
    # Each group starts at another place: where all psi share their seeds, objects still differ.
    groups = [np.roll(group, -place) for place, group in enumerate(groups)]
    in_turn = zip_longest(*(_coarse_to_fine(group) for group in groups))
    chosen = [int(index) for index in chain.from_iterable(in_turn) if index is not None]
    return chosen[:places]


def _coarse_to_fine(group: Indices) -> list[int]:
    """Order positions as van der Corput's sequence does: every beginning is spread evenly."""
    bits = max(len(group) - 1, 1).bit_length()
    numbers = np.arange(2**bits)
    reversed_bits = sum(((numbers >> bit) & 1) << (bits - 1 - bit) for bit in range(bits))
    order = np.asarray(reversed_bits)[np.asarray(reversed_bits) < len(group)]
    return [int(index) for index in group[order]]


def _interleave(first: list[int], second: list[int]) -> list[int]:
    """Mix two lists in proportion to their lengths, each in its order."""
    places = [((k + 0.5) / len(part), which, index) for which, part in enumerate((first, second))
              for k, index in enumerate(part)]  # fmt: skip
    return [index for _, _, index in sorted(places)]
