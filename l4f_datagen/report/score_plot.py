"""Plot of a score sweep: mIoU over threshold, one line a psi, with the 95 % interval of all."""

import io
from pathlib import Path

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l4f_datagen.core.errors import UsageError
from l4f_datagen.report.named_file import write_named
from l4f_datagen.scoring.sweep import ScoreSweep, SweepRow

SUFFIXES = (".png", ".svg")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
INK = "#333333"
RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "l4f-datagen",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
SIZE_IN = (6.4, 3.6)


def save_plot(sweep: ScoreSweep, path: Path) -> None:
    """Write the plot as PNG or SVG, by the suffix; staged and renamed.

    Raises:
        UsageError: another suffix, or it cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(str(path), f"ends in {suffix or 'nothing'}", "name a .png or .svg file")
    write_named(path, plot_svg(sweep).encode() if suffix == ".svg" else plot_png(sweep))


def plot_svg(sweep: ScoreSweep) -> str:
    """Return the plot as an SVG element; it carries no clock, so the same sweep gives the same."""
    buffer = io.StringIO()
    with style.context(RC):
        metadata = {"Date": None, "Creator": None}
        _figure(sweep).savefig(buffer, format="svg", metadata=metadata)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def plot_png(sweep: ScoreSweep) -> bytes:
    """Return the plot as a PNG file."""
    buffer = io.BytesIO()
    with style.context(RC):
        _figure(sweep).savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _figure(sweep: ScoreSweep) -> Figure:
    figure = Figure(figsize=SIZE_IN, dpi=150, layout="constrained")
    axes = figure.add_subplot()
    if "threshold" in sweep.axes:
        _over_threshold(axes, sweep)
    else:
        _over_psi(axes, sweep)
    axes.set_ylabel("mIoU")
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    return figure


def _over_threshold(axes: Axes, sweep: ScoreSweep) -> None:
    psis = list(dict.fromkeys(row.psi for row in sweep.rows))
    for number, psi in enumerate(psis):
        rows = [row for row in sweep.rows if row.psi == psi and row.threshold is not None]
        cuts = [float(row.threshold) for row in rows if row.threshold is not None]
        colour = INK if psi is None else COLOURS[(number - 1) % len(COLOURS)]
        label = "all images" if psi is None else f"psi {psi:g}"
        axes.plot(
            cuts,
            [row.miou.value for row in rows],
            color=colour,
            linewidth=2 if psi is None else 1.2,
            label=f"{label} ({rows[0].num_images})",
        )
        if psi is None:
            low, high = [row.miou.low for row in rows], [row.miou.high for row in rows]
            axes.fill_between(cuts, low, high, color=colour, alpha=0.15, linewidth=0)
    given = sweep.row()
    axes.axhline(given.miou.value, color=INK, linewidth=0.8, linestyle=(0, (3, 3)))
    axes.annotate("masks as given", (0.05, given.miou.value), fontsize=8, color=INK, va="bottom")
    axes.set_xlabel("threshold: mask = alpha > threshold (band: 95 % interval of all images)")
    axes.legend(frameon=False)


def _over_psi(axes: Axes, sweep: ScoreSweep) -> None:
    rows: list[SweepRow] = [row for row in sweep.rows if row.psi is not None]
    places = list(range(len(rows)))
    for place, row in zip(places, rows, strict=True):
        axes.plot([place, place], [row.miou.low, row.miou.high], color=COLOURS[0], linewidth=2)
        axes.plot(place, row.miou.value, "o", color=COLOURS[0])
    axes.set_xticks(places, [f"{row.psi:g}\n{row.num_images} images" for row in rows])
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.set_xlabel("psi (bars: 95 % interval)")
