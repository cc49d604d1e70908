"""Pages: card, contact sheet and report of a dataset, at the end of a run or written again."""

import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from l4f_datagen.core.errors import UsageError
from l4f_datagen.core.sample import alpha_to_uint8
from l4f_datagen.dataset.indexes import Page
from l4f_datagen.dataset.layout import PREVIEW
from l4f_datagen.dataset.manifest import read_manifest
from l4f_datagen.io.disk import write_named
from l4f_datagen.io.figures import contact_sheet
from l4f_datagen.report.card import card_page
from l4f_datagen.report.html import MAX_SHOWN, choose_shown, write_report
from l4f_datagen.report.records import Records, read_records, records_of
from l4f_datagen.report.stored_images import Stored, read_images

if TYPE_CHECKING:  # `report` and `card` need no torch
    from l4f_datagen.dataset.store import Dataset
    from l4f_datagen.rendering.render import Renderer

SHEET_SAMPLES = 24  # six rows of four: what fits on one screen
MAX_PREVIEW_BYTES = 16 * 2**20  # sheets of ``train`` have 1 to 2 MB: a larger file is none


def dataset_pages(
    dataset: "Dataset",
    renderer: "Renderer",
    preview: bytes | None = None,
) -> dict[str, Page]:
    """Return the pages of a dataset whose shards are all done, and whose samples ``renderer`` made.

    ``preview`` is the sheet of the alpha network's training, where there was one.
    """
    records = records_of(dataset.rows())
    chosen = sheet_choice(records)
    shown = {*chosen, *choose_shown(records, MAX_SHOWN)}
    dataset.fetch_images({records.key(i): int(records.shard[i]) for i in shown})
    stored = sheet_images(dataset.folder, records, chosen)
    if len(stored) < len(chosen):  # formats without alpha, such as YOLO alone
        stored = _rendered(renderer, records, chosen)
    return {
        "README.md": card_page(dataset.folder),
        "contact_sheet.png": sheet_png(records, stored),
        "report.html": lambda manifest: write_report(
            dataset.folder, json.loads(manifest)["provenance"], records, preview=preview
        ),
        **({} if preview is None else {PREVIEW: preview}),
    }


def write_page(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a dataset to ``out`` (None: ``report.html`` in it); return its path."""
    origin = read_manifest(folder)["provenance"]
    sheet = folder / PREVIEW
    small = sheet.is_file() and sheet.stat().st_size <= MAX_PREVIEW_BYTES
    preview = sheet.read_bytes() if small else None
    page = write_report(folder, origin, read_records(folder), beside=out is None, preview=preview)
    return write_named(out or folder / "report.html", page)


def write_contact_sheet(folder: Path, out: Path | None = None) -> Path:
    """Write the contact sheet to ``out`` (None: ``contact_sheet.png`` in it); return its path."""
    read_manifest(folder)
    records = read_records(folder)
    stored = sheet_images(folder, records, sheet_choice(records))
    if not stored:
        problem = "holds no image, mask and alpha of an accepted sample"
        remedy = "make it with format png, hf, imagefolder or webdataset"
        raise UsageError(os.fspath(folder), problem, remedy)
    return write_named(out or folder / "contact_sheet.png", sheet_png(records, stored))


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


def sheet_images(folder: Path, records: Records, chosen: list[int]) -> list[tuple[int, Stored]]:
    """Read the images of chosen accepted samples, in their order; missing ones are left out."""
    keys = {records.key(i): (int(records.shard[i]), True) for i in chosen}
    found = dict(read_images(folder, keys))
    return [(i, found[records.key(i)]) for i in chosen if records.key(i) in found]


def sheet_png(records: Records, stored: list[tuple[int, Stored]]) -> bytes:
    """Lay samples out as a contact sheet; the same samples give the same bytes."""
    buffer = io.BytesIO()
    tiles = [
        (f"psi {records.psi[i]:g}, seed {records.seed[i]}", s.image, s.alpha, s.mask)
        for i, s in stored
    ]
    contact_sheet(tiles).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _rendered(
    renderer: "Renderer", records: Records, chosen: list[int]
) -> list[tuple[int, Stored]]:
    from l4f_datagen.rendering.plan import Draw

    draws = [
        Draw(int(records.image_id[i]), float(records.psi[i]), int(records.seed[i])) for i in chosen
    ]
    made = [Stored(s.image, alpha_to_uint8(s.alpha), s.mask, {}) for s in renderer.render(draws)]
    return list(zip(chosen, made, strict=True))
