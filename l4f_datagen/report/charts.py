"""Charts of a report, as SVG inside the page, and its section on the training.

The SVG carries no clock and no random name, so the same numbers give the same bytes; its colours
are CSS variables of the page, so that light and dark look alike.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.report.card import NAMED
from l4f_datagen.report.page import PHOTO_QUALITY, webp_uri
from l4f_datagen.report.records import Records

BINS = 36  # a choice
IDS = re.compile(r'(\bid="|href="#|url\(#)(?=[^")])')
SMALLEST_SPAN = 1e-6  # scores are kept to six decimals
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # 90 % and the middle half
INK, FAINT, ACCEPTED, REJECTED = "#010101", "#020202", "#030303", "#040404"
CSS = {INK: "var(--ink)", FAINT: "var(--line)", ACCEPTED: "var(--good)", REJECTED: "var(--bad)"}
PLAIN_RC: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "l4f-datagen",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
INKED = ("axes.labelcolor", "text.color", "xtick.color", "ytick.color")
RC = PLAIN_RC | {"axes.edgecolor": FAINT} | dict.fromkeys(INKED, INK)
SIZE_IN = (3.7, 2.0)  # a choice: two charts beside each other on a screen
AXES = (0.13, 0.14, 0.81, 0.82)
"""Left, bottom, width, height as shares, with room for half a label at the right: a layout engine
would cost as much as the drawing."""
MAX_PREVIEW_PIXELS = 4_000_000  # a choice, above the sheets of `train`
ROWS = "foreground, alpha, background, composite and cut-out"


@dataclass(frozen=True)
class Chart:
    """One figure and what it says in words, for those who cannot see it."""

    title: str
    words: str
    svg: str  # markup to stand inside a page


def charts_of(records: Records, limits: tuple[float, float] | None) -> list[Chart]:
    """Draw coverage against psi, then one histogram for every score that is not the same for all.

    ``limits`` are the coverage that the filter keeps, drawn as two lines; None where it is off.
    """
    drawn = [name for name, values in records.scores.items() if _varies(values)]
    charts = [coverage_chart(records, limits)] if "coverage" in drawn else []
    return numbered([*charts, *(histogram(records, name) for name in drawn)], "chart")


def constant_scores(records: Records) -> dict[str, float]:
    """Name the scores that are the same for all samples, which have no chart."""
    known = {name: _known(values) for name, values in records.scores.items()}
    return {name: float(v[0]) for name, v in known.items() if v.size and not _varies(v)}


def coverage_chart(records: Records, limits: tuple[float, float] | None) -> Chart:
    """Draw how coverage spreads at each psi: accepted samples to the left, rejected to the right.

    Where nothing was rejected, accepted samples stand on both sides.
    """
    psis, accepted = np.unique(records.psi), records.accepted
    coverage = records.scores["coverage"]
    low, high = float(np.nanmin(coverage)), float(np.nanmax(coverage))
    edges = np.linspace(low, high, BINS + 1)
    other = (accepted, ACCEPTED) if accepted.all() else (~accepted, REJECTED)
    sides = ((accepted, ACCEPTED, -1.0), (*other, 1.0))
    drawn = [limit for limit in limits or () if low <= limit <= high]

    def draw(axes: Axes) -> None:
        for place, psi in enumerate(psis):
            here = (records.psi == psi) & ~np.isnan(coverage)
            counts = [np.histogram(coverage[here & side], edges)[0] for side, _, _ in sides]
            scale = 0.42 / max(int(np.max(counts)), 1)
            for heights, (_, colour, sign) in zip(counts, sides, strict=True):
                if heights.any():
                    reach = place + sign * scale * np.repeat(heights, 2)
                    levels = np.repeat(edges, 2)[1:-1]
                    axes.fill_betweenx(levels, place, reach, color=colour, linewidth=0)
            kept = coverage[here & accepted]
            if kept.size:
                lowest, _, median, _, highest = np.quantile(kept, QUANTILES)
                axes.plot([place, place], [lowest, highest], color=INK, linewidth=1)
                axes.plot(place, median, "o", color=INK, markersize=3.5)
        for limit in drawn:
            axes.axhline(limit, color=INK, linewidth=0.8, linestyle=(0, (3, 3)))
        axes.set_xticks(range(len(psis)), [f"{psi:g}" for psi in psis])
        axes.set_xlim(-0.6, len(psis) - 0.4)
        axes.set_ylim(low, high)

    words = "Dot: median, line: 90 % of the accepted."
    if limits:
        words += " Dashed: the" if drawn else " The"
        words += f" filter keeps {limits[0]:g} to {limits[1]:g}."
    return Chart("Coverage by psi", words, draw_svg(draw))


def histogram(records: Records, name: str) -> Chart:
    """Draw how often each value of a score occurs, rejected samples on top of accepted ones."""
    values = records.scores[name]
    chosen = _known(values[records.accepted])
    edges = np.linspace(np.nanmin(values), np.nanmax(values), BINS + 1)
    kept = np.histogram(chosen, edges)[0]
    all_of_it = kept + np.histogram(_known(values[~records.accepted]), edges)[0]

    def draw(axes: Axes) -> None:
        axes.stairs(kept, edges, fill=True, color=ACCEPTED)
        if (all_of_it > kept).any():
            axes.stairs(all_of_it, edges, baseline=kept, fill=True, color=REJECTED)
        axes.set_xlim(edges[0], edges[-1])
        axes.locator_params(axis="x", nbins=4)  # values near 1 have long labels

    words = "No sample was accepted."
    if chosen.size:
        low, _, median, _, high = np.quantile(chosen, QUANTILES)
        words = f"Accepted: median {median:.3g}, 90 % in {low:.3g} to {high:.3g}."
    return Chart(name.replace("_", " ").capitalize(), words, draw_svg(draw))


def quantile_rows(records: Records) -> list[dict[str, Any]]:
    """Sum up every psi, rising: attempts, accepted, and each accepted score at ``QUANTILES``.

    A score has None where nothing was accepted.
    """
    rows = []
    for row, kept in records.by_psi():
        known = {name: _known(values[kept]) for name, values in records.scores.items()}
        found = {name: np.quantile(v, QUANTILES).tolist() for name, v in known.items() if v.size}
        rows.append(row | {"scores": dict.fromkeys(known) | found})
    return rows


def _varies(values: NDArray[np.float64]) -> bool:
    known = _known(values)
    return bool(known.size) and float(np.ptp(known)) > SMALLEST_SPAN


def _known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[~np.isnan(values)]


def draw_svg(draw: Callable[[Axes], None]) -> str:
    """Return the SVG of what ``draw`` puts on the axes; it may use the colours in ``CSS``."""
    with style.context(["default", RC]):  # whatever the user's matplotlibrc says
        figure = Figure(figsize=SIZE_IN)
        FigureCanvasSVG(figure)
        axes = figure.add_axes(AXES)
        draw(axes)
        axes.locator_params(axis="y", nbins=5)
        buffer, nothing = io.StringIO(), dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg[svg.index("<svg") :], flags=re.S)
    for marker, variable in CSS.items():
        svg = svg.replace(marker, variable)
    return re.sub(r"'DejaVu Sans'[^;\"]*", "inherit", svg)


def numbered(charts: Sequence[Chart], prefix: str) -> list[Chart]:
    """Make the ids of SVGs unique in a page that holds several."""
    return [
        replace(chart, svg=IDS.sub(rf"\1{prefix}{number}-", chart.svg))
        for number, chart in enumerate(charts)
    ]


def training_section(origin: Mapping[str, Any], preview: bytes | None) -> dict[str, Any]:
    """Return what the template says of the training; ``preview`` is a sheet of the run, as PNG."""
    try:
        run = origin["alpha"].get("run")
        weights = origin["recipe"].get("alpha", {}).get("weights")
        if run is not None:
            return {"told": _told(run), "charts": training_charts(run), "preview": _sheet(preview)}
        told = "The alpha network was trained on the spot; its log was not kept."
        if weights:  # without the folders of somebody's machine
            named = weights.startswith(NAMED)
            name = weights if named else PurePath(weights.replace("\\", "/")).name
            told = f"None for this dataset: the alpha network was loaded from {name}."
        return {"told": told, "charts": [], "preview": None}
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        problem = f"tells of a training that cannot be read ({error})"
        remedy = "run the `make` that made the dataset again"
        raise InputRefused("manifest.json", problem, remedy) from error


def training_charts(run: Mapping[str, Any]) -> list[Chart]:
    """Draw losses, mean alpha and binarisation over the steps; given-up attempts are faint."""
    *given_up, last = run["attempts"]

    def curves(names: Mapping[str, Any], limits: tuple[float, float] | None = None) -> str:
        def draw(axes: Axes) -> None:
            for attempt, colour, width in [*((a, FAINT, 0.8) for a in given_up), (last, INK, 1.2)]:
                steps = [int(step) for step in attempt["step"]]
                for name, dashes in names.items():
                    values = [np.nan if v is None else float(v) for v in attempt[name]]
                    axes.plot(steps, values, color=colour, linewidth=width, linestyle=dashes)
            if run["kept_step"] is not None:
                kept = int(run["kept_step"])
                axes.axvline(kept, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
            if limits:
                axes.set_ylim(*limits)

        return draw_svg(draw)

    names = ("d_loss", "realism", "alpha_coverage", "binarization")
    d_loss, realism, alpha, binary = (_ends(last[name]) for name in names)
    told = f"Solid: discriminator, {d_loss}. Dashed: alpha network, {realism}."
    losses = curves({"d_loss": "-", "realism": (0, (4, 2))})
    words = f"{alpha.capitalize()}; 1 is all foreground."
    indecision = "Indecision, mean min(alpha, 1 - alpha)"
    hard = f"{binary.capitalize()}; 0 is a hard matte."
    charts = [
        Chart("Losses", told, losses),
        Chart("Mean alpha", words, curves({"alpha_coverage": "-"}, limits=(0, 1))),
        Chart(indecision, hard, curves({"binarization": "-"})),
    ]
    return numbered(charts, "training")


def _told(run: Mapping[str, Any]) -> str:
    attempts = int(run["attempts"][-1]["attempt"])
    words = [f"Trained for this dataset, without labels, in {int(run['steps'])} steps."]
    if attempts > 1:
        faint = "faint lines are attempts given up as collapsed"
        words.append(f"Attempt {attempts} went through; {faint}.")
    if run["kept_step"] is not None:
        words.append(f"The snapshot of step {int(run['kept_step'])} was kept (dotted line).")
    return " ".join(words)


def _ends(values: Sequence[float | None]) -> str:
    """Say where a curve starts and ends."""
    known = [value for value in values if value is not None]
    return f"from {known[0]:.3g} to {known[-1]:.3g}" if known else "never a number"


def _sheet(preview: bytes | None) -> dict[str, Any] | None:
    """Return a preview sheet as WebP inside the page; None for what is no sheet."""
    try:
        with Image.open(io.BytesIO(preview or b"")) as opened:
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
