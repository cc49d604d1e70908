"""Seed ranges as NVIDIA's tools write them: ``0-99,120``; ``0-`` has no end."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise

from l4f_datagen.core.errors import UsageError

MAX_SEED = 2**32 - 1  # what NumPy's RandomState takes
SEEDS_PATTERN = r"^\d{1,20}(-\d{0,20})?(,\d{1,20}(-\d{0,20})?)*$"


@dataclass(frozen=True)
class Seeds:
    """An ordered set of seeds: half-open ranges in the order of use."""

    ranges: tuple[range, ...]

    def __len__(self) -> int:
        return sum(len(part) for part in self.ranges)

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self.ranges)

    def __getitem__(self, index: int) -> int:
        """Return the seed at ``index`` (from 0); IndexError past the end and below 0."""
        place = index
        for part in self.ranges:
            if 0 <= place < len(part):
                return part[place]
            place -= len(part)
        raise IndexError(index)

    def rows_of(self, rows: int, source: str) -> "Seeds":
        """Read the seeds as rows of a file: a range without end stops at its last row.

        UsageError for a row that the file ``source`` with so many ``rows`` does not have.
        """
        endless = MAX_SEED + 1
        cut = [range(p.start, rows if p.stop == endless else p.stop) for p in self.ranges]
        for part in cut:
            if not part or part.stop > rows:
                problem = f"names row {max(part.start, part.stop - 1)}, but {source} has {rows}"
                raise UsageError("--seeds", problem, f"rows count from 0 to {rows - 1}")
        return Seeds(tuple(cut))


def parse_seeds(text: str, option: str = "--seeds") -> Seeds:
    """Parse a list of seeds and ranges; UsageError for what is none.

    >>> parse_seeds("0-2,9").ranges
    (range(0, 3), range(9, 10))
    """
    remedy = f"write for example {option} 0-99,120"
    if not re.fullmatch(SEEDS_PATTERN, text):
        raise UsageError(option, f"expected ranges such as 0-99,120, got {text!r}", remedy)
    ranges = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        start = int(first)
        stop = (int(last) if last else MAX_SEED) + 1 if dash else start + 1
        if stop <= start:
            raise UsageError(option, f"{part} runs backwards", remedy)
        if stop - 1 > MAX_SEED:
            raise UsageError(option, f"{part} goes beyond {MAX_SEED}", "seeds are 32-bit")
        ranges.append(range(start, stop))
    ordered = sorted(ranges, key=lambda part: part.start)
    for before, after in pairwise(ordered):
        if after.start < before.stop:
            raise UsageError(option, f"names seed {after.start} twice", remedy)
    return Seeds(tuple(ranges))
