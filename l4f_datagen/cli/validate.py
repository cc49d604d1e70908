"""``l4f-datagen validate``: score masks against hand-made truth."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from l4f_datagen.cli.options import (
    CUT,
    FILE,
    JSON,
    given,
    open_annotated,
    option,
    resolve_recipe,
    scoring_options,
    source_options,
    truth_options,
)
from l4f_datagen.core.errors import UsageError

if TYPE_CHECKING:
    from l4f_datagen.annotations import TruthSet
    from l4f_datagen.scoring import Prediction

AXES = ("psi", "threshold")
SOURCES = ("domain", "recipe_file", "generator")


def _axes(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    axes = tuple(value.split(",")) if value else ()
    for name in axes:
        if name not in AXES:
            raise click.BadParameter(f"expected psi, threshold or both, got {name!r}")
    return axes


@click.command()
@truth_options(required=True)
@option("--pred", FILE, "Mask folder, COCO file, COCO results or dataset to score.")
@option("--pred-category", str, "Which class of the prediction is foreground.")
@option(
    "--pred-mask-value",
    str,
    "Which pixels of predicted mask images are foreground, e.g. '>0.9' for alpha; of COCO results "
    "the lowest score (default: '>0.5').",
)
@option("--images images_dir", FILE, "Images of --pred, for the report.")
@source_options
@option("--mask-threshold", CUT, "mask = alpha > this value.")
@scoring_options
@option("--sweep", str, "Score over psi, threshold or both.", callback=_axes, metavar="AXES")
@option(
    "--plot",
    FILE,
    "Plot of --sweep, .png or .svg  [default: sweep.png, or in the page of --report]",
)
@option("--report", FILE, "Write a page: a folder, or a file ending in .html.")
@option("--record", bool, "Store the score in the dataset, for its card.")
@JSON
def validate(
    truth: Path,
    pred: Path | None,
    pair_by: Literal["auto", "key", "stem", "number"],
    offset: int | None,
    allow_unused: bool,
    resize: Literal["nearest"] | None,
    paper_compat: bool,
    with_ap: bool,
    sweep: tuple[str, ...],
    plot: Path | None,
    report: Path | None,
    record: bool,
    min_miou: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    r"""Score masks against truth in the paper's columns, with 95 % intervals.

    The masks are files (--pred), or are rendered for the annotated keys by the networks of
    --domain, --recipe or --generator.

    Truth is read from mask folders, COCO, Labelbox, CVAT, Label Studio, LabelMe, VIA, YOLO,
    Cityscapes, Supervisely and Hugging Face datasets.

    Images that nobody annotated are left out and counted, whatever the format; --unannotated empty
    scores them as images without object.

    \b
    l4f-datagen validate --domain toy-cars --truth export.json
    l4f-datagen validate --pred masks --truth labels --min-miou 0.9
    """
    _check_flags(pred, options, sweep=sweep, plot=plot, record=record)
    import numpy as np

    from l4f_datagen.core.errors import BelowScore
    from l4f_datagen.scoring import match_truth, score_match
    from l4f_datagen.scoring.sweep import SweepCounts

    shown = ("category", "mask_value", "ignore_category", "ignore_value", "unannotated")
    settings = {name: options[name] or None for name in shown}
    annotated = open_annotated(truth, options, exact_white=paper_compat)
    prediction = _prediction(pred, annotated, options, exact_white=paper_compat)
    matched = match_truth(
        annotated, prediction, pair_by=pair_by, offset=offset, allow_unused=allow_unused or None
    )
    counts = SweepCounts(sweep) if sweep else None
    result = score_match(
        matched,
        paper_compat=paper_compat,
        resize=resize,
        with_ap=with_ap,
        watch=counts,
        settings=settings,
    )
    swept = counts.sweep(np.random.RandomState(0)) if counts else None
    title = f"{prediction.source} against {truth}"
    if as_json:
        values = result.to_dict() | ({"sweep": swept.to_dict()} if swept else {})
        click.echo(json.dumps(values, indent=2, ensure_ascii=False))
    else:
        click.echo(result.to_text(title))
        if swept:
            click.echo(f"\nsweep over {' and '.join(swept.axes)}\n{swept.to_text()}")
    if swept and (plot or not report):
        from l4f_datagen.report.score_page import save_plot

        save_plot(swept, plot or Path("sweep.png"))
        click.echo(f"plot: {plot or 'sweep.png'}", err=True)
    if report:
        from l4f_datagen.report.score_page import save_page, score_page

        page = save_page(score_page(result, matched, swept, title), report)
        click.echo(f"report: {page}", err=True)
    if record and pred:
        from l4f_datagen.scoring.score_report import record_scores

        click.echo(f"recorded: {record_scores(pred, result)}", err=True)
    if min_miou is not None and result.scores.miou < min_miou:
        reached = f"mIoU {result.scores.miou:.4f} is below the asked {min_miou}"
        raise BelowScore(prediction.source, reached, "look at the worst images first")


def _check_flags(
    pred: Path | None,
    options: dict[str, Any],
    *,
    sweep: tuple[str, ...],
    plot: Path | None,
    record: bool,
) -> None:
    given = [name for name in SOURCES if options[name]]
    if pred is None and not given:
        remedy = "give --pred, or --domain, --recipe or --generator to render it anew"
        raise UsageError("prediction", "nothing says what to score", remedy)
    if pred is not None and (given or options["keys"] or options["mask_threshold"] is not None):
        problem = "given together with flags that render the masks anew"
        raise UsageError("--pred", problem, "drop --domain, --generator, --keys ..., or --pred")
    if record and pred is None:
        raise UsageError("--record", "needs a dataset", "give --pred DATASET")
    if plot and not sweep:
        raise UsageError("--plot", "there is nothing to plot", "give --sweep psi,threshold")


def _prediction(
    pred: Path | None, truth: "TruthSet", options: dict[str, Any], *, exact_white: bool
) -> "Prediction":
    """Open the masks on disk, or the networks that render them anew."""
    category, mask_value = options.pop("pred_category"), options.pop("pred_mask_value")
    images_dir, keys = options.pop("images_dir"), options.pop("keys")
    threshold, device = options.pop("mask_threshold"), options.pop("device")
    offline = options.pop("offline")
    if pred is not None:
        from l4f_datagen.scoring import FolderPrediction

        return FolderPrediction(
            pred,
            category=category,
            mask_value=mask_value,
            exact_white=exact_white,
            images_dir=images_dir,
            ids=truth.ids,
        )
    recipe = resolve_recipe(**options, flags=given({"output.mask_threshold": threshold}))

    from l4f_datagen.annotate.examples import open_rerendered

    names = [item.name for item in truth]
    return open_rerendered(recipe, names, truth.source, keys=keys, device=device, offline=offline)
