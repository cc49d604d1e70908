"""Writers: each turns accepted samples into one format. A new one is a file and a line here.

A writer opens once a shard, is handed the encoded samples in order and stages files in its
*places* (see ``staging``). Indexes over all shards are merged at the very end.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TextIO

from l4f_datagen.dataset.manifest import Facts
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.errors import UsageError
from l4f_datagen.writers import coco, hf, png
from l4f_datagen.writers.encoding import Encoded

MergeIndex = Callable[[Path, Sequence[int], Facts, TextIO], None]
"""Writes one index from the dataset folder, the numbers of its shards and the facts."""


class ShardWriter(Protocol):
    """One shard in one format."""

    def add(self, samples: Sequence[Encoded]) -> None:
        """Stage samples, in order."""

    def close(self) -> None:
        """Stage what was held back; does nothing the second time."""


@dataclass(frozen=True)
class Writer:
    """One format.

    Attributes:
        open_shard: begins a shard in its staging.
        places: what a shard has here, templates of ``{shard:05d}``.
        indexes: file name to the function that merges all shards into it.
        requires: other formats whose files the indexes name.
    """

    open_shard: Callable[[Staging], ShardWriter]
    places: tuple[str, ...]
    indexes: Mapping[str, MergeIndex] = field(default_factory=dict)
    requires: tuple[str, ...] = ()


WRITERS: dict[str, Writer] = {
    "png": Writer(png.PngShard, png.PLACES),
    "coco": Writer(
        coco.CocoShard, coco.PLACES, {coco.INDEX: coco.write_instances}, requires=("png",)
    ),
    "hf": Writer(hf.HfShard, hf.PLACES),
}


def check_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """Check names of formats and give them in the order of the table, each once.

    Raises:
        UsageError: none, an unknown one, or one without a format whose files it lists.
    """
    known = ", ".join(WRITERS)
    if not formats:
        raise UsageError("formats", "expected at least one, got none", f"choose from {known}")
    for name in formats:
        if name not in WRITERS:
            raise UsageError("formats", f"{name!r} is not known", f"choose from {known}")
        for other in WRITERS[name].requires:
            if other not in formats:
                raise UsageError(
                    "formats", f"{name} lists files that {other} writes", f"add {other}"
                )
    return tuple(name for name in WRITERS if name in formats)
