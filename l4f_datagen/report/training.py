"""Training: the section of the report that tells how the alpha network came about."""

import io
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from PIL import Image, UnidentifiedImageError

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.report.card import NAMED
from l4f_datagen.report.charts import FAINT, INK, Chart, draw_svg, own_names
from l4f_datagen.report.page import webp_uri

MAX_PREVIEW_PIXELS = 4_000_000  # a choice, above the sheets of `train`
QUALITY = 82  # a choice, as for the samples
ROWS = "foreground, alpha, background, composite and cut-out"


def training_section(origin: Mapping[str, Any], preview: bytes | None) -> dict[str, Any]:
    """Return what the template says of the training; ``preview`` is a sheet of the run, as PNG.

    Raises:
        InputRefused: a manifest whose course of training is none.
    """
    try:
        run = origin["alpha"].get("run")
        weights = origin["recipe"].get("alpha", {}).get("weights")
        if run is None:
            told = (
                f"None for this dataset: the alpha network was loaded from {_named(weights)}."
                if weights
                else "The alpha network was trained on the spot; its log was not kept."
            )
            return {"told": told, "charts": [], "preview": None}
        return {
            "told": _told(run),
            "charts": training_charts(run),
            "preview": preview and _encoded(preview),
        }
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
    charts = [
        ("Losses", told, _curves(run, losses)),
        (
            "Mean alpha",
            f"{alpha}; 1 is all foreground.",
            _curves(run, {"alpha_coverage": "-"}, limits=(0, 1)),
        ),
        (
            "Indecision, mean min(alpha, 1 - alpha)",
            f"{binary}; 0 is a hard matte.",
            _curves(run, {"binarization": "-"}),
        ),
    ]
    return [
        Chart(title, words, own_names(svg, f"training{number}"))
        for number, (title, words, svg) in enumerate(charts)
    ]


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
        words.append(
            f"Attempt {attempts} went through; faint lines are attempts given up as collapsed."
        )
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
        "uri": webp_uri(image, QUALITY),
        "width": image.width,
        "height": image.height,
        "rows": ROWS,
        "words": f"Preview sheet of the training: one image per column, in rows {ROWS}.",
    }
