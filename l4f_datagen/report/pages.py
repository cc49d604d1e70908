"""The pages a dataset folder opens with: card and contact sheet."""

import io
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from l4f_datagen.dataset.ledger import Row
from l4f_datagen.dataset.store import Dataset
from l4f_datagen.report.card import write_card
from l4f_datagen.report.figures import contact_sheet
from l4f_datagen.sample import alpha_to_uint8
from l4f_datagen.sampling.render import Renderer
from l4f_datagen.sampling.sweep import Draw

SHEET_SAMPLES = 24


def dataset_pages(dataset: Dataset, renderer: Renderer, origin: dict[str, Any]) -> dict[str, bytes]:
    """Return ``README.md`` and ``contact_sheet.png`` for the samples the dataset holds."""
    draws = sheet_draws(dataset.rows(), len(set(origin["recipe"]["sampling"]["psi"])))
    return {
        "README.md": write_card(dataset.counts(), origin).encode(),
        "contact_sheet.png": sheet_png(renderer, draws),
    }


def sheet_draws(rows: Iterable[Row], num_psi: int) -> list[Draw]:
    """Pick the first accepted samples of every psi, as many of each, 24 together at most."""
    each = -(-SHEET_SAMPLES // num_psi)
    picked: dict[float, list[Draw]] = {}
    for row in rows:
        chosen = picked.setdefault(row["psi"], [])
        if row["status"] == "accepted" and len(chosen) < each:
            chosen.append(Draw(row["image_id"], row["psi"], row["seed"]))
        if len(picked) == num_psi and all(len(chosen) == each for chosen in picked.values()):
            break
    in_order = (draw for psi in sorted(picked) for draw in picked[psi])
    return list(islice(in_order, SHEET_SAMPLES))


def sheet_png(renderer: Renderer, draws: Sequence[Draw]) -> bytes:
    """Render draws once more, so that a resumed run makes the same sheet, and lay them out."""
    samples = renderer.render(draws) if draws else []
    tiles = [(sample.image, alpha_to_uint8(sample.alpha), sample.mask) for sample in samples]
    buffer = io.BytesIO()
    contact_sheet(tiles).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
