"""Score page: one HTML file with the table, the sweep, and where each mask errs, worst first."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.io.figures import fit
from l4f_datagen.report.named_file import write_named
from l4f_datagen.report.page import render_page
from l4f_datagen.report.score_plot import plot_svg
from l4f_datagen.scoring.match import Match
from l4f_datagen.scoring.protocol import fitted
from l4f_datagen.scoring.score_report import ScoreReport
from l4f_datagen.scoring.sweep import ScoreSweep

MAX_SHOWN = 40
MAX_ROWS = 1000
TILE_PX = 256
LOSSLESS_PX = 128
FALSE_POSITIVE_RGB = (230, 120, 0)  # apart for colour-blind eyes too, as are the two in the page
FALSE_NEGATIVE_RGB = (0, 100, 230)
IGNORED_RGB = (205, 170, 220)
OBJECT_LIFT, BACKGROUND_LIFT = 235, 130


def score_page(
    report: ScoreReport, matched: Match, sweep: ScoreSweep | None = None, title: str = ""
) -> bytes:
    """Return the page; it asks the network for nothing.

    The worst images are loaded once more to be drawn, 40 at most; the rest stand in the table.

    Raises:
        AnnotationRefused: a file has changed since it was scored.
    """
    numbers = {image.name: number for number, image in enumerate(report.images)}
    worst = report.worst(MAX_ROWS)
    shown = [_card(matched, numbers[image.name], report) for image in worst[:MAX_SHOWN]]
    scores = report.scores
    return render_page(
        "score.html",
        title=title,
        report=report,
        scores=scores,
        classes=[("object", scores.foreground), ("background", scores.background)],
        sweep=sweep,
        plot=None if sweep is None else plot_svg(sweep),
        shown=shown,
        images=worst,
        settings={key: value for key, value in report.settings.items() if value is not None},
    )


def error_overlay(
    picture: NDArray[np.uint8] | None,
    truth: NDArray[np.bool_],
    mask: NDArray[np.bool_],
    ignore: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Paint where a mask errs, over a pale grey picture that is lighter on the true object.

    Args:
        picture: uint8 ``h w 3``, None paints on plain grey.
        truth: bool ``h w``.
        mask: bool ``h w``, the prediction.
        ignore: bool ``h w``, pixels that were not scored, or None.

    Returns:
        uint8 ``h w 3``: false positives orange, false negatives blue, ignored pixels lilac.
    """
    lift = np.where(truth, OBJECT_LIFT, BACKGROUND_LIFT)
    if picture is None:
        painted = np.repeat(lift[:, :, None], 3, axis=2).astype(np.uint8)
    else:
        grey = picture.astype(np.float32).mean(axis=2)
        painted = np.repeat((0.35 * grey + 0.65 * lift)[:, :, None], 3, axis=2).astype(np.uint8)
    painted[mask & ~truth] = FALSE_POSITIVE_RGB
    painted[truth & ~mask] = FALSE_NEGATIVE_RGB
    if ignore is not None:
        painted[ignore] = IGNORED_RGB
    return painted


def _card(matched: Match, number: int, report: ScoreReport) -> dict[str, Any]:
    """Draw one image: the picture where it is at hand, and the overlay."""
    pair, picture = matched.pair(number), matched.image(number)
    truth, mask = pair.truth.mask, pair.mask
    if mask.shape != truth.shape:
        mask, _ = fitted(pair.name, truth.shape, mask, None, "nearest")
    if picture is not None and picture.shape[:2] != truth.shape:
        picture = np.asarray(Image.fromarray(picture).resize(truth.shape[::-1]))
    overlay = error_overlay(picture, truth, mask, pair.truth.ignore)
    return {
        "score": report.images[number],
        "picture": None if picture is None else _uri(picture),
        "overlay": _uri(overlay),
        "false_positive": _share(mask & ~truth),
        "false_negative": _share(truth & ~mask),
    }


def _share(errors: NDArray[np.bool_]) -> float:
    return float(errors.mean())


def _uri(picture: NDArray[np.uint8]) -> str:
    small = max(picture.shape[:2]) <= LOSSLESS_PX
    image = Image.fromarray(picture) if small else fit(picture, TILE_PX)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=small, quality=50 if small else 90, method=3)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def save_page(page: bytes, target: Path) -> Path:
    """Write the page to a file ending in .html, or as ``score.html`` into a folder.

    Raises:
        UsageError: it cannot be written.
    """
    named = target.suffix.lower() in (".html", ".htm")
    return write_named(target if named else target / "score.html", page)
