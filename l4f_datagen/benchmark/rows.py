"""Rows: one method, one training seed, one set of images; measured once and kept as JSON."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.annotations.drawing import decode_coco_rle
from l4f_datagen.benchmark.bench import Block, Masks, Prepared
from l4f_datagen.core.errors import UsageError
from l4f_datagen.core.masks import mask_to_rle
from l4f_datagen.core.progress import Meter
from l4f_datagen.io.disk import write_atomically
from l4f_datagen.scoring.image_score import confusion

SHOWN = 8
"""Images of the figure; their masks are kept in the row."""

Tested = Iterable[tuple[Block, Masks, Masks]]
"""Blocks with their truth and their ignored pixels, bool ``n h w`` each."""


@dataclass(frozen=True)
class Row:
    """Scores of one method, training seed and set of images.

    Attributes:
        method: its name.
        seed: training seed; 0 where there is none.
        on: the images, ``psi0700`` or ``renders``.
        settings: digest of everything else that decides the masks.
        counts: int64 ``images 4``, as ``scoring.image_score.confusion`` counts.
        shown: masks of the first images, COCO run lengths.
        collapse: how the training ended if it collapsed in every attempt.
        training_cpu_s: CPU seconds of the training, 0 if not all of it was run for this row.
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
        """Masks of the first images, bool ``h w`` each."""
        return [decode_coco_rle(rle, None, self.method) for rle in self.shown]


def row_path(out: Path, method: str, seed: int, on: str) -> Path:
    """Return the file of a row."""
    return out / "rows" / f"{method}-seed{seed}-{on}.json"


def load_row(
    out: Path, method: str, seed: int, on: str, settings: str, *, images: int
) -> Row | None:
    """Return a row that was measured before, or None.

    Raises:
        UsageError: it was measured with other settings or another number of images, or is damaged.
    """
    path = row_path(out, method, seed, on)
    if not path.exists():
        return None
    try:
        data = json.loads(path.read_text())
        counts = np.asarray(data.pop("counts"), np.int64).reshape(-1, 4)
        row = Row(counts=counts, **data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(str(path), "is not a row of a benchmark", "remove it") from error
    if row.settings != settings:
        problem = "was measured with other settings"
        raise UsageError(str(path), problem, "name another --out or remove the file")
    if len(counts) != images:
        raise UsageError(str(path), f"counts {len(counts):,} of {images:,} images", "remove it")
    return row


def save_row(out: Path, row: Row) -> None:
    """Write a row."""
    path = row_path(out, row.method, row.seed, row.on)
    path.parent.mkdir(exist_ok=True)
    plain = vars(row) | {"counts": row.counts.tolist()}
    write_atomically(path, (json.dumps(plain) + "\n").encode())


def measure(prepared: Prepared, tested: Tested, **facts: Any) -> Row:
    """Mask all images and count their pixels; ``facts`` are the row's other fields."""
    counts: list[NDArray[np.int64]] = []
    shown: list[dict[str, Any]] = []
    with Meter(None, str(facts.get("method", "masks")), "images") as meter:
        for block, truth, ignored in tested:
            for true, mask, ignore in zip(truth, prepared.label(block), ignored, strict=True):
                counts.append(confusion(true, mask, ignore))
                if len(shown) < SHOWN:
                    shown.append(mask_to_rle(mask))
                meter.advance()
    return Row(counts=np.stack(counts), shown=shown, collapse=prepared.collapse, **facts)
