"""Merging: what an index over all shards is made from, and reading the lines shards left."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from l4f_datagen.dataset.manifest import Facts


@dataclass(frozen=True)
class Shards:
    """The finished shards of a dataset.

    Attributes:
        folder: the dataset.
        numbers: of the shards, in order.
        splits: those the index is about: one for an index a split, else all that have samples.
        facts: what the files alone do not say.
    """

    folder: Path
    numbers: Sequence[int]
    splits: Sequence[str]
    facts: Facts

    def fields(self, place: str) -> Iterator[list[str]]:
        """Read the tab-separated lines at a place of every shard, those of the splits alone.

        A line begins with its split. Shards without the place are passed over.
        """
        for number in self.numbers:
            path = self.folder / place.format(shard=number)
            if not path.exists():
                continue
            with path.open(encoding="utf-8", newline="\n") as lines:
                for line in lines:
                    split, *fields = line.rstrip("\n").split("\t")
                    if split in self.splits:
                        yield fields


MergeIndex = Callable[[Shards, TextIO], None]
"""Writes one index over all shards."""
