"""The pages a dataset folder opens with: card, contact sheet, report."""

import json
from collections.abc import Mapping
from typing import Any

from l4f_datagen.core.sample import alpha_to_uint8
from l4f_datagen.dataset.indexes import Page
from l4f_datagen.dataset.layout import PREVIEW
from l4f_datagen.dataset.store import Dataset
from l4f_datagen.rendering.plan import Draw
from l4f_datagen.rendering.render import Renderer
from l4f_datagen.report.card import card_page
from l4f_datagen.report.html import MAX_SHOWN, write_report
from l4f_datagen.report.records import Records, records_of
from l4f_datagen.report.selection import choose_shown
from l4f_datagen.report.sheet import sheet_choice, sheet_pictures, sheet_png
from l4f_datagen.report.stored_images import Stored


def dataset_pages(
    dataset: Dataset,
    renderer: Renderer,
    origin: Mapping[str, Any],
    preview: bytes | None = None,
) -> dict[str, Page]:
    """Return the pages for the samples the dataset holds; the card tells of the manifest.

    Args:
        dataset: all of whose shards are done.
        renderer: that made them.
        origin: see ``provenance.provenance``.
        preview: preview sheet of the alpha network's training, where there was one.
    """
    records = records_of(dataset.rows())
    chosen = sheet_choice(records)
    shown = {*chosen, *choose_shown(records, MAX_SHOWN)}
    dataset.fetch_images({records.key(i): int(records.shard[i]) for i in shown})
    stored = sheet_pictures(dataset.folder, records, chosen)
    if len(stored) < len(chosen):  # formats without alpha, such as YOLO alone
        stored = _rendered(renderer, records, chosen)
    return {
        "README.md": card_page(dataset.folder),
        "contact_sheet.png": sheet_png(stored),
        "report.html": lambda manifest: write_report(
            dataset.folder, json.loads(manifest)["provenance"], records, preview=preview
        ),
        **({} if preview is None else {PREVIEW: preview}),
    }


def _rendered(renderer: Renderer, records: Records, chosen: list[int]) -> list[Stored]:
    draws = [
        Draw(int(records.image_id[i]), float(records.psi[i]), int(records.seed[i])) for i in chosen
    ]
    return [Stored(s.image, alpha_to_uint8(s.alpha), s.mask, {}) for s in renderer.render(draws)]
