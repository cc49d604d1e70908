"""Rows: one method, one training seed, one set of pictures; measured once and kept as JSON."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.annotations.rle import decode_coco_rle
from l4f_datagen.benchmark.bench import Block, Masks, Prepared
from l4f_datagen.core.errors import UsageError
from l4f_datagen.core.masks import mask_to_rle
from l4f_datagen.io.disk import write_atomically
from l4f_datagen.scoring.image_score import confusion

FOLDER = "rows"
SHOWN = 8
"""Pictures of the figure; their masks are kept with the row."""

Tested = Iterable[tuple[Block, Masks, NDArray[np.bool_]]]
"""Blocks with their truth and the pixels that are not scored, bool ``n h w`` each."""


@dataclass(frozen=True)
class Row:
    """What one labelling scored.

    Attributes:
        method: its name.
        seed: training seed; 0 where there is none.
        on: the pictures, ``psi0700`` or ``renders``.
        settings: digest of all else that decides the masks.
        counts: int64 ``images 4``, as `scoring.image_score.confusion` counts.
        shown: masks of the first pictures, COCO run lengths.
        collapse: how the training ended where it collapsed for good.
        training_cpu_s: CPU seconds of the training, 0 where it was not all done for this row.
    """

    method: str
    seed: int
    on: str
    settings: str
    counts: NDArray[np.int64]
    shown: list[dict[str, Any]]
    collapse: str | None = None
    training_cpu_s: float = 0.0

    @property
    def masks(self) -> list[Masks]:
        """Masks of the first pictures, bool ``h w`` each."""
        return [decode_coco_rle(rle, None, self.method) for rle in self.shown]


def row_path(out: Path, method: str, seed: int, on: str) -> Path:
    """Where a row is kept."""
    return out / FOLDER / f"{method}-seed{seed}-{on}.json"


def load_row(
    out: Path, method: str, seed: int, on: str, settings: str, *, images: int
) -> Row | None:
    """Return a row of so many images that was measured before, or None.

    Raises:
        UsageError: it was measured with other settings, is no row, or lacks images.
    """
    path = row_path(out, method, seed, on)
    if not path.exists():
        return None
    try:
        data = json.loads(path.read_text())
        counts = np.asarray(data.pop("counts"), np.int64).reshape(-1, 4)
        row = Row(counts=counts, **data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(str(path), "is no row of a benchmark", "remove it") from error
    if row.settings != settings:
        problem = "was measured with other settings"
        raise UsageError(str(path), problem, "name another --out or remove the file")
    if len(counts) != images:
        raise UsageError(str(path), f"counts {len(counts):,} of {images:,} pictures", "remove it")
    return row


def save_row(out: Path, row: Row) -> None:
    """Write a row, staged and renamed."""
    path = row_path(out, row.method, row.seed, row.on)
    path.parent.mkdir(exist_ok=True)
    plain = vars(row) | {"counts": row.counts.tolist()}
    write_atomically(path, (json.dumps(plain) + "\n").encode())


def measure(prepared: Prepared, tested: Tested, **facts: Any) -> Row:
    """Mask all pictures and count their pixels; ``facts`` are the row's other fields."""
    counts: list[NDArray[np.int64]] = []
    shown: list[dict[str, Any]] = []
    for block, truth, ignored in tested:
        for true, mask, ignore in zip(truth, prepared.label(block), ignored, strict=True):
            counts.append(confusion(true, mask, ignore))
            if len(shown) < SHOWN:
                shown.append(mask_to_rle(mask))
    return Row(counts=np.stack(counts), shown=shown, collapse=prepared.collapse, **facts)


class Stopwatch:
    """CPU seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.process_time()

    def seconds(self) -> float:
        """Seconds so far."""
        return round(time.process_time() - self._start, 1)
