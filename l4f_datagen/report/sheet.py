"""Contact sheet of a dataset: which samples, from its own files, as PNG."""

import io
from pathlib import Path

import numpy as np

from l4f_datagen.io.figures import contact_sheet
from l4f_datagen.report.records import Records
from l4f_datagen.report.stored_images import Stored, read_pictures

SHEET_SAMPLES = 24


def sheet_choice(records: Records) -> list[int]:
    """Pick accepted samples of every psi, as many of each, 24 together at most.

    The first of the plan, but each seed once while there are others: one seed at two psi shows
    nearly the same object.
    """
    psis = np.unique(records.psi)
    each = -(-SHEET_SAMPLES // max(len(psis), 1))
    picked, seen = list[int](), set[int]()
    for psi in psis:
        group = np.flatnonzero(records.accepted & (records.psi == psi)).tolist()
        new = [index for index in group if int(records.seed[index]) not in seen]
        chosen = sorted((new + [index for index in group if index not in set(new)])[:each])
        seen.update(int(records.seed[index]) for index in chosen)
        picked += chosen
    return picked[:SHEET_SAMPLES]


def sheet_pictures(folder: Path, records: Records, chosen: list[int]) -> list[Stored]:
    """Read the pictures of chosen accepted samples, in their order, as far as there are any."""
    keys = {records.key(i): (int(records.shard[i]), True) for i in chosen}
    found = dict(read_pictures(folder, keys))
    return [found[key] for key in keys if key in found]


def sheet_png(stored: list[Stored]) -> bytes:
    """Lay pictures out as a contact sheet; the same pictures give the same bytes."""
    buffer = io.BytesIO()
    tiles = [(sample.image, sample.alpha, sample.mask) for sample in stored]
    contact_sheet(tiles).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
