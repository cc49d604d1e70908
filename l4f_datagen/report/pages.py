"""Pages: card, contact sheet and report of a dataset, at the end of a run or written again.

The report is one HTML file in which a person sees within a minute whether labels are good.
"""

import io
import json
import os
from collections.abc import Mapping
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.core.errors import UsageError
from l4f_datagen.core.sample import alpha_to_uint8
from l4f_datagen.dataset.indexes import Page
from l4f_datagen.dataset.layout import PREVIEW
from l4f_datagen.dataset.manifest import read_manifest
from l4f_datagen.io.disk import write_named
from l4f_datagen.io.figures import contact_sheet
from l4f_datagen.report import charts
from l4f_datagen.report.card import card_page
from l4f_datagen.report.page import SHOWN_PX, Stored, encode_tile, read_images, render_page
from l4f_datagen.report.records import Records, read_records, records_of

if TYPE_CHECKING:  # `report` and `card` need no torch
    from l4f_datagen.dataset.store import Dataset
    from l4f_datagen.rendering.render import Renderer

Indices = NDArray[np.int64]
SHEET_SAMPLES = 24  # six rows of four: what fits on one screen
MAX_PREVIEW_BYTES = 16 * 2**20  # sheets of ``train`` have 1 to 2 MB: a larger file is none
ACCEPTED_SHARE = 2 / 3  # a choice: of the samples shown
MAX_SHOWN = 300  # a choice
MAX_TILE_BYTES = 17_000_000
"""Of all images together; with scores and charts the page stays under 20 MB."""


def dataset_pages(
    dataset: "Dataset", renderer: "Renderer", preview: bytes | None = None
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
        chosen = sorted(group, key=lambda index: int(records.seed[index]) in seen)[:each]
        seen.update(records.seed[chosen].tolist())
        picked += sorted(chosen)
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

    columns = (records.image_id[chosen], records.psi[chosen], records.seed[chosen])
    draws = [Draw(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
    made = [Stored(s.image, alpha_to_uint8(s.alpha), s.mask, {}) for s in renderer.render(draws)]
    return list(zip(chosen, made, strict=True))


def write_report(
    folder: Path,  # its finished shards, where images are read from
    origin: Mapping[str, Any],  # see ``provenance.provenance``
    records: Records,
    *,
    beside: bool = True,  # whether the page will lie in the folder and may link to its files
    preview: bytes | None = None,  # sheet of the alpha network's training, PNG
) -> bytes:
    """Return the page of a dataset; the same dataset gives the same bytes."""
    tiles, places = shown_tiles(folder, records)
    if not beside:
        tiles = {key: tile | {"files": {}} for key, tile in tiles.items()}
    accepted = records.accepted
    kept = origin["recipe"]["filters"].get("coverage")
    size = next(((tile["width"], tile["height"]) for tile in tiles.values()), None)
    return render_page(
        "report.html",
        origin=origin,
        attempted=len(records),
        accepted=int(accepted.sum()),
        empty_masks=int((accepted & (records.coverage == 0)).sum()),
        reasons=records.rejected(),
        psis=np.unique(records.psi).tolist(),
        seeds=(int(records.seed.min()), int(records.seed.max())) if len(records) else None,
        size=size,
        shown_px=SHOWN_PX,
        shown=len(places),
        lost=sum(accepted[i] and records.key(i) not in tiles for i in places),
        rejected_kept=any(not accepted[i] and records.key(i) in tiles for i in places),
        charts=charts.charts_of(records, kept and (kept["min"], kept["max"])),
        constant=charts.constant_scores(records),
        quantiles=[round(100 * quantile) for quantile in charts.QUANTILES],
        rows=charts.quantile_rows(records),
        scores=list(records.scores),
        training=charts.training_section(origin, preview),
        data={"scores": list(records.scores), "samples": sample_rows(records, places, tiles)},
    )


def shown_tiles(folder: Path, records: Records) -> tuple[dict[str, dict[str, Any]], list[int]]:
    """Encode the samples that are shown, as many as the page has room for.

    Returns key to tile where there are images, and the samples in the order of the plan.
    """
    chosen = choose_shown(records, MAX_SHOWN)
    wanted = {records.key(i): (int(records.shard[i]), bool(records.accepted[i])) for i in chosen}
    tiles = {key: encode_tile(stored) for key, stored in read_images(folder, wanted)}
    room, places = MAX_TILE_BYTES, []
    for index in chosen:
        tile = tiles.get(records.key(index))
        room -= sum(len(tile[part]) for part in ("image", "alpha", "outline")) if tile else 0
        if room < 0:
            break
        places.append(index)
    return {key: tiles[key] for key in map(records.key, places) if key in tiles}, sorted(places)


def sample_rows(
    records: Records, places: list[int], tiles: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Describe the shown samples for the page's script."""
    worst, ranks = records.worst(), records.badness()
    return [
        {
            "key": key,
            "psi": float(records.psi[i]),
            "seed": int(records.seed[i]),
            "image_id": int(records.image_id[i]),
            "reason": records.reasons[records.reason[i]],
            "worst": round(float(worst[i]), 4),
            "scores": [None if np.isnan(v[i]) else float(v[i]) for v in records.scores.values()],
            "ranks": [round(float(ranks[name][i]), 4) for name in records.scores],
            "command": again_command(key),
            "tile": tiles.get(key),
        }
        for i, key in zip(places, map(records.key, places), strict=True)
    ]


def again_command(key: str) -> str:
    """Give the command that makes one sample again, byte for byte, in the dataset's folder."""
    return f"l4f-datagen inspect sample . {key} --out ../again"


def choose_shown(records: Records, limit: int) -> list[int]:
    """Choose at most ``limit`` samples, the same ones for the same ledger.

    Accepted samples get two thirds of the places, rejected ones the rest, and each side what the
    other leaves free. Of each side half the places go to the samples that are worst by any score,
    half are spread evenly over every psi in the order of the plan. Returned are indices in
    ``records`` by importance: any beginning of the list is a fair choice too.
    """
    accepted, rejected = np.flatnonzero(records.accepted), np.flatnonzero(~records.accepted)
    places = min(len(accepted), max(round(limit * ACCEPTED_SHARE), limit - len(rejected)))
    kept = _choose(records, accepted, places)
    return _interleave(kept, _choose(records, rejected, limit - places))


def _choose(records: Records, side: Indices, places: int) -> list[int]:
    if len(side) <= places:
        return _spread(records, side)
    # Stable sort: of equal ranks the earlier sample comes first.
    suspects = side[np.argsort(-records.worst()[side], kind="stable")][: places // 2]
    others = _spread(records, np.setdiff1d(side, suspects))
    return _interleave(suspects.tolist(), others[: places - len(suspects)])


def _spread(records: Records, side: Indices) -> list[int]:
    """Take turns between the psi, each evenly from the first to the last, coarse steps first."""
    groups = [side[records.psi[side] == psi] for psi in np.unique(records.psi[side])]
    # Each group starts at another place: where all psi share their seeds, objects still differ.
    groups = [np.roll(group, -place) for place, group in enumerate(groups)]
    in_turn = zip_longest(*(_coarse_to_fine(group) for group in groups))
    return [index for index in chain.from_iterable(in_turn) if index is not None]


def _coarse_to_fine(group: Indices) -> list[int]:
    """Order positions as van der Corput's sequence does: every beginning is spread evenly."""
    bits = max(len(group) - 1, 1).bit_length()
    numbers, order = np.arange(2**bits), np.zeros(2**bits, np.int64)
    for bit in range(bits):
        order |= ((numbers >> bit) & 1) << (bits - 1 - bit)
    return [int(index) for index in group[order[order < len(group)]]]


def _interleave(first: list[int], second: list[int]) -> list[int]:
    """Mix two lists in proportion to their lengths, each in its order."""
    places = [((k + 0.5) / len(part), which, index) for which, part in enumerate((first, second))
              for k, index in enumerate(part)]  # fmt: skip
    return [index for _, _, index in sorted(places)]
