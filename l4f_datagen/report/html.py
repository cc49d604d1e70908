"""The report: one HTML file in which a person sees within a minute whether labels are good."""

from collections.abc import Mapping
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.report.charts import QUANTILES, charts_of, constant_scores, quantile_rows
from l4f_datagen.report.page import render_page
from l4f_datagen.report.records import Records
from l4f_datagen.report.stored_images import SHOWN_PX, encode_tile, read_images
from l4f_datagen.report.training import training_section

Indices = NDArray[np.int64]
ACCEPTED_SHARE = 2 / 3  # a choice: of the samples shown
MAX_SHOWN = 300  # a choice
MAX_TILE_BYTES = 17_000_000
"""Of all images together; with scores and charts the page stays under 20 MB."""


def write_report(
    folder: Path,
    origin: Mapping[str, Any],
    records: Records,
    *,
    beside: bool = True,
    preview: bytes | None = None,
) -> bytes:
    """Return the page of a dataset; the same dataset gives the same bytes.

    Args:
        folder: its finished shards, where images are read from.
        origin: see ``provenance.provenance``.
        records: the whole ledger.
        beside: whether the page will lie in the folder, so that it may link to its files.
        preview: preview sheet of the alpha network's training, PNG.

    Raises:
        InputRefused: an origin whose course of training is none.
    """
    tiles, places = shown_tiles(folder, records)
    if not beside:
        tiles = {key: tile | {"files": {}} for key, tile in tiles.items()}
    accepted = records.accepted
    kept = origin["recipe"]["filters"].get("coverage")
    limits = kept and (kept["min"], kept["max"])
    size = next(((tile["width"], tile["height"]) for tile in tiles.values()), None)
    data = {"scores": list(records.scores), "samples": sample_rows(records, places, tiles)}
    return render_page(
        "report.html",
        origin=origin,
        attempted=len(records),
        accepted=int(accepted.sum()),
        empty_masks=int((accepted & (records.coverage == 0)).sum()),
        reasons=records.rejected(),
        psis=[float(psi) for psi in np.unique(records.psi)],
        seeds=(int(records.seed.min()), int(records.seed.max())) if len(records) else None,
        size=size,
        shown_px=SHOWN_PX,
        shown=len(places),
        lost=sum(accepted[i] and records.key(i) not in tiles for i in places),
        rejected_kept=any(not accepted[i] and records.key(i) in tiles for i in places),
        charts=charts_of(records, limits),
        constant=constant_scores(records),
        quantiles=[round(100 * quantile) for quantile in QUANTILES],
        rows=quantile_rows(records),
        scores=list(records.scores),
        training=training_section(origin, preview),
        data=data,
    )


def shown_tiles(folder: Path, records: Records) -> tuple[dict[str, dict[str, Any]], list[int]]:
    """Encode the samples that are shown, as many as the page has room for.

    Returns:
        Key to tile, and the shown samples as indices in the order of the plan; those without a
        tile have no images.
    """
    chosen = choose_shown(records, MAX_SHOWN)
    accepted = records.accepted
    wanted = {records.key(i): (int(records.shard[i]), bool(accepted[i])) for i in chosen}
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
    rows = []
    for i in places:
        key = records.key(i)
        rows.append(
            {
                "key": key,
                "psi": float(records.psi[i]),
                "seed": int(records.seed[i]),
                "image_id": int(records.image_id[i]),
                "reason": records.reasons[records.reason[i]],
                "worst": round(float(worst[i]), 4),
                "scores": [_finite(column[i]) for column in records.scores.values()],
                "ranks": [round(float(ranks[name][i]), 4) for name in records.scores],
                "command": again_command(key),
                "tile": tiles.get(key),
            }
        )
    return rows


def again_command(key: str) -> str:
    """Give the command that makes one sample again, byte for byte, in the dataset's folder."""
    return f"l4f-datagen inspect sample . {key} --out ../again"


def _finite(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def choose_shown(records: Records, limit: int) -> list[int]:
    """Choose at most ``limit`` samples, the same ones for the same ledger.

    Accepted samples get two thirds of the places, rejected ones the rest, and each side what the
    other leaves free. Of each side half the places go to the samples that are worst by any score,
    half are spread evenly over every psi in the order of the plan.

    Returns:
        Indices in ``records``, by importance: any beginning of the list is a fair choice too.
    """
    accepted, rejected = np.flatnonzero(records.accepted), np.flatnonzero(~records.accepted)
    places = min(len(accepted), max(round(limit * ACCEPTED_SHARE), limit - len(rejected)))
    worst = records.worst()
    sides = (
        _choose(records, accepted, worst, places),
        _choose(records, rejected, worst, limit - places),
    )
    return _interleave(*sides)


def _choose(records: Records, side: Indices, worst: NDArray[np.float64], places: int) -> list[int]:
    if len(side) <= places:
        return _spread(records, side, len(side))
    # Stable sort: of equal ranks the earlier sample comes first.
    suspects = side[np.argsort(-worst[side], kind="stable")][: places // 2]
    others = np.setdiff1d(side, suspects)
    return _interleave([int(i) for i in suspects], _spread(records, others, places - len(suspects)))


def _spread(records: Records, side: Indices, places: int) -> list[int]:
    """Take as many of every psi, evenly from the first to the last, coarse steps first."""
    groups = [side[records.psi[side] == psi] for psi in np.unique(records.psi[side])]
    # Each group starts at another place: where all psi share their seeds, objects still differ.
    groups = [np.roll(group, -place) for place, group in enumerate(groups)]
    in_turn = zip_longest(*(_coarse_to_fine(group) for group in groups))
    chosen = [int(index) for index in chain.from_iterable(in_turn) if index is not None]
    return chosen[:places]


def _coarse_to_fine(group: Indices) -> list[int]:
    """Order positions as van der Corput's sequence does: every beginning is spread evenly."""
    bits = max(len(group) - 1, 1).bit_length()
    numbers = np.arange(2**bits)
    reversed_bits = sum(((numbers >> bit) & 1) << (bits - 1 - bit) for bit in range(bits))
    order = np.asarray(reversed_bits)[np.asarray(reversed_bits) < len(group)]
    return [int(index) for index in group[order]]


def _interleave(first: list[int], second: list[int]) -> list[int]:
    """Mix two lists in proportion to their lengths, each in its order."""
    places = [((k + 0.5) / len(part), which, index) for which, part in enumerate((first, second))
              for k, index in enumerate(part)]  # fmt: skip
    return [index for _, _, index in sorted(places)]
