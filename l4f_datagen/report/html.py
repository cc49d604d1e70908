"""The report: one HTML file in which a person sees within a minute whether labels are good."""

import io
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.report.card import NAMED
from l4f_datagen.report.charts import (
    FAINT,
    INK,
    QUANTILES,
    Chart,
    charts_of,
    constant_scores,
    draw_svg,
    numbered,
    quantile_rows,
)
from l4f_datagen.report.page import PHOTO_QUALITY, SHOWN_PX, encode_tile, render_page, webp_uri
from l4f_datagen.report.records import Records
from l4f_datagen.report.stored_images import read_images

Indices = NDArray[np.int64]
ACCEPTED_SHARE = 2 / 3  # a choice: of the samples shown
MAX_SHOWN = 300  # a choice
MAX_TILE_BYTES = 17_000_000
"""Of all images together; with scores and charts the page stays under 20 MB."""


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

    Returns key to tile, and the shown samples as indices in the order of the plan; those without a
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
                "scores": [
                    None if np.isnan(v[i]) else float(v[i]) for v in records.scores.values()
                ],
                "ranks": [round(float(ranks[name][i]), 4) for name in records.scores],
                "command": again_command(key),
                "tile": tiles.get(key),
            }
        )
    return rows


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
        return _spread(records, side, len(side))
    # Stable sort: of equal ranks the earlier sample comes first.
    suspects = side[np.argsort(-records.worst()[side], kind="stable")][: places // 2]
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


MAX_PREVIEW_PIXELS = 4_000_000  # a choice, above the sheets of `train`
ROWS = "foreground, alpha, background, composite and cut-out"


def training_section(origin: Mapping[str, Any], preview: bytes | None) -> dict[str, Any]:
    """Return what the template says of the training; ``preview`` is a sheet of the run, as PNG."""
    try:
        run = origin["alpha"].get("run")
        weights = origin["recipe"].get("alpha", {}).get("weights")
        if run is not None:
            told, charts = _told(run), training_charts(run)
            return {"told": told, "charts": charts, "preview": preview and _encoded(preview)}
        told = "The alpha network was trained on the spot; its log was not kept."
        if weights:
            told = f"None for this dataset: the alpha network was loaded from {_named(weights)}."
        return {"told": told, "charts": [], "preview": None}
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        problem = f"tells of a training that cannot be read ({error})"
        remedy = "run the `make` that made the dataset again"
        raise InputRefused("manifest.json", problem, remedy) from error


def training_charts(run: Mapping[str, Any]) -> list[Chart]:
    """Draw losses, mean alpha and binarisation over the steps; given-up attempts are faint."""
    last = run["attempts"][-1]
    losses = {"d_loss": "-", "realism": (0, (4, 2))}
    d_loss, realism = (_ends(last[name]) for name in losses)
    alpha, binary = (_ends(last[name]).capitalize() for name in ("alpha_coverage", "binarization"))
    told = f"Solid: discriminator, {d_loss}. Dashed: alpha network, {realism}."
    coverage = _curves(run, {"alpha_coverage": "-"}, limits=(0, 1))
    indecision = "Indecision, mean min(alpha, 1 - alpha)"
    charts = [
        Chart("Losses", told, _curves(run, losses)),
        Chart("Mean alpha", f"{alpha}; 1 is all foreground.", coverage),
        Chart(indecision, f"{binary}; 0 is a hard matte.", _curves(run, {"binarization": "-"})),
    ]
    return numbered(charts, "training")


def _curves(
    run: Mapping[str, Any],
    names: Mapping[str, Any],
    limits: tuple[float, float] | None = None,
) -> str:
    *given_up, last = run["attempts"]
    kept = run["kept_step"]

    def draw(axes: Axes) -> None:
        for attempt, colour, width in [*((a, FAINT, 0.8) for a in given_up), (last, INK, 1.2)]:
            steps = [int(step) for step in attempt["step"]]
            for name, dashes in names.items():
                values = [np.nan if v is None else float(v) for v in attempt[name]]
                axes.plot(steps, values, color=colour, linewidth=width, linestyle=dashes)
        if kept is not None:
            axes.axvline(int(kept), color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        if limits:
            axes.set_ylim(*limits)

    return draw_svg(draw)


def _told(run: Mapping[str, Any]) -> str:
    attempts = int(run["attempts"][-1]["attempt"])
    kept = run["kept_step"]
    words = [f"Trained for this dataset, without labels, in {int(run['steps'])} steps."]
    if attempts > 1:
        faint = "faint lines are attempts given up as collapsed"
        words.append(f"Attempt {attempts} went through; {faint}.")
    if kept is not None:
        words.append(f"The snapshot of step {int(kept)} was kept (dotted line).")
    return " ".join(words)


def _ends(values: Sequence[float | None]) -> str:
    """Say where a curve starts and ends."""
    known = [value for value in values if value is not None]
    return f"from {known[0]:.3g} to {known[-1]:.3g}" if known else "never a number"


def _named(weights: str) -> str:
    """Name weights without the folders of somebody's machine."""
    return weights if weights.startswith(NAMED) else PurePath(weights.replace("\\", "/")).name


def _encoded(preview: bytes) -> dict[str, Any] | None:
    """Return a preview sheet as WebP inside the page; None for what is no sheet."""
    try:
        with Image.open(io.BytesIO(preview)) as opened:
            if opened.width * opened.height > MAX_PREVIEW_PIXELS:
                return None
            image = opened.convert("RGB")
    except (OSError, UnidentifiedImageError, SyntaxError, Image.DecompressionBombError):
        return None
    return {
        "uri": webp_uri(image, PHOTO_QUALITY),
        "width": image.width,
        "height": image.height,
        "rows": ROWS,
        "words": f"Preview sheet of the training: one image per column, in rows {ROWS}.",
    }
