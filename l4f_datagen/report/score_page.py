"""Score page: scores against hand-made truth as one HTML file, and the plot of a sweep."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.core.errors import UsageError
from l4f_datagen.core.masks import Mask
from l4f_datagen.io.disk import write_named
from l4f_datagen.report.charts import PLAIN_RC
from l4f_datagen.report.page import render_page, shrunk, webp_uri
from l4f_datagen.scoring.match import Match
from l4f_datagen.scoring.protocol import nearest
from l4f_datagen.scoring.score_report import ScoreReport
from l4f_datagen.scoring.sweep import ScoreSweep

MAX_SHOWN = 40  # a choice, as are the sizes below
MAX_ROWS = 1000
TILE_PX = 256
FALSE_POSITIVE_RGB = (230, 120, 0)  # apart for colour-blind eyes too, as are the two in the page
FALSE_NEGATIVE_RGB = (0, 100, 230)
IGNORED_RGB = (205, 170, 220)
OBJECT_LIFT, BACKGROUND_LIFT = 235, 130
SUFFIXES = (".png", ".svg")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
INK = "#333333"
SIZE_IN = (6.4, 4.0)
INTERVAL = "95 % interval of all"
THRESHOLD_NOTES = (
    "Good: a high, flat top. A peak well above the dashed line speaks for its threshold."
)
PSI_NOTES = "Good: dots near 1. Where they fall with psi, unusual samples have worse masks."


def score_page(
    report: ScoreReport, matched: Match, sweep: ScoreSweep | None = None, title: str = ""
) -> bytes:
    """Return the page; it asks the network for nothing.

    The worst images are loaded once more to be drawn, 40 at most; the rest stand in the table.
    """
    numbers = {image.name: number for number, image in enumerate(report.images)}
    worst = report.worst(MAX_ROWS)
    shown = [_card(matched, numbers[image.name], report) for image in worst[:MAX_SHOWN]]
    plot = None if sweep is None else plot_svg(sweep)
    drawn = {"sweep": sweep, "plot": plot, "shown": shown, "images": worst}
    return render_page("score.html", title=title, report=report, scores=report.scores, **drawn)


def error_overlay(
    image: NDArray[np.uint8] | None, truth: Mask, mask: Mask, ignore: Mask | None
) -> NDArray[np.uint8]:
    """Paint where a mask errs, over a pale grey image (or none), lighter on the true object."""
    grey = np.where(truth, OBJECT_LIFT, BACKGROUND_LIFT)
    if image is not None:
        grey = 0.35 * image.astype(np.float32).mean(axis=2) + 0.65 * grey
    painted = np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)
    painted[mask & ~truth] = FALSE_POSITIVE_RGB
    painted[truth & ~mask] = FALSE_NEGATIVE_RGB
    if ignore is not None:
        painted[ignore] = IGNORED_RGB
    return painted


def _card(matched: Match, number: int, report: ScoreReport) -> dict[str, Any]:
    """Draw one image: the image where there is one, and the overlay."""
    pair = matched.pair(number)
    image = matched.prediction.image(matched.pairing.pairs[number][1])
    truth, mask = pair.truth.mask, nearest(pair.mask, pair.truth.mask.shape)
    if image is not None and image.shape[:2] != truth.shape:
        image = np.asarray(Image.fromarray(image).resize(truth.shape[::-1]))
    return {
        "score": report.images[number],
        "image": None if image is None else _uri(image),
        "overlay": _uri(error_overlay(image, truth, mask, pair.truth.ignore)),
        "false_positive": float((mask & ~truth).mean()),
        "false_negative": float((truth & ~mask).mean()),
    }


def _uri(pixels: NDArray[np.uint8]) -> str:
    return webp_uri(shrunk(pixels, TILE_PX), 90, method=3)


def save_page(page: bytes, target: Path) -> Path:
    """Write the page to a file ending in .html, or as ``score.html`` into a folder."""
    named = target.suffix.lower() in (".html", ".htm")
    return write_named(target if named else target / "score.html", page)


def save_plot(sweep: ScoreSweep, path: Path) -> None:
    """Write the plot as PNG or SVG, by the suffix; refuse another."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(str(path), f"ends in {suffix or 'nothing'}", "name a .png or .svg file")
    png = suffix == ".png"
    write_named(path, _drawn(sweep, "png", {"Software": None}) if png else plot_svg(sweep).encode())


def plot_svg(sweep: ScoreSweep) -> str:
    """Return the plot as an SVG element; it carries no clock, so the same sweep gives the same."""
    text = _drawn(sweep, "svg", {"Date": None, "Creator": None}).decode()
    return text[text.index("<svg") :]


def _drawn(sweep: ScoreSweep, format: str, metadata: dict[str, None]) -> bytes:
    buffer = io.BytesIO()
    with style.context(PLAIN_RC):
        figure = Figure(figsize=SIZE_IN, dpi=150, layout="constrained")
        axes = figure.add_subplot()
        (_over_threshold if "threshold" in sweep.axes else _over_psi)(axes, sweep)
        axes.set_ylabel("mIoU")
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        figure.savefig(buffer, format=format, metadata=metadata)
    return buffer.getvalue()


def _over_threshold(axes: Axes, sweep: ScoreSweep) -> None:
    axes.set_xlabel("threshold: mask = alpha > threshold")
    for number, psi in enumerate(dict.fromkeys(row.psi for row in sweep.rows)):
        rows = [row for row in sweep.rows if row.psi == psi and row.threshold is not None]
        cuts = np.asarray([row.threshold for row in rows], np.float64)
        label, colour, width = "all psi", INK, 2.0
        if psi is not None:
            label, colour, width = f"psi {psi:g}", COLOURS[(number - 1) % len(COLOURS)], 1.2
        label += f" ({rows[0].num_images} images)"
        mious = [row.miou.value for row in rows]
        axes.plot(cuts, mious, color=colour, linewidth=width, label=label)
        if psi is None:
            ends = ([row.miou.low for row in rows], [row.miou.high for row in rows])
            axes.fill_between(cuts, *ends, color=colour, alpha=0.15, linewidth=0, label=INTERVAL)
    given, best = sweep.row().miou.value, sweep.best_threshold
    axes.axhline(given, color=INK, label="masks as given", linestyle="--", linewidth=0.8)
    if best is not None:
        label = f"best threshold, {best:g}"
        axes.axvline(best, color=COLOURS[2], label=label, linestyle=":", linewidth=1.2)
    _titled(axes, "Agreement with the truth over the mask threshold", THRESHOLD_NOTES)
    axes.legend(frameon=False, fontsize="small", loc="lower center", ncols=2)


def _over_psi(axes: Axes, sweep: ScoreSweep) -> None:
    rows = [row for row in sweep.rows if row.psi is not None]
    places = list(range(len(rows)))
    ends = ([row.miou.low for row in rows], [row.miou.high for row in rows])
    axes.vlines(places, *ends, color=COLOURS[0], linewidth=2, label="95 % interval over images")
    values = [row.miou.value for row in rows]
    axes.plot(places, values, "o", color=COLOURS[0], label="mIoU of all images of a psi")
    axes.set_xticks(places, [f"{row.psi:g}\n{row.num_images} images" for row in rows])
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.set_xlabel("truncation psi")
    _titled(axes, "Agreement with the truth over psi", PSI_NOTES)
    axes.legend(frameon=False, fontsize="small", loc="lower left")


def _titled(axes: Axes, title: str, notes: str) -> None:
    axes.set_title(title, loc="left", pad=18)
    places: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(notes, (0, 1), (0, 5), **places, fontsize="small", color="#555555")
