"""``l4f-datagen validate``: score masks against hand-made truth."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from l4f_datagen.cli.options import (
    CUT,
    FILE,
    JSON,
    NATURAL,
    PSI_LIST,
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


MAX_SEEDS = 1_000_000
TRIAL_IMAGES = 50
NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,40}", re.ASCII)


def _preds(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, Path]:
    """Split ``name=DIR``."""
    found: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or not path or not NAME.fullmatch(name):
            raise click.BadParameter(f"expected name=DIR with a name such as rembg, got {text!r}")
        if name in found:
            raise click.BadParameter(f"{name} is given twice")
        found[name] = Path(path)
    return found


@click.command()
@source_options
@option("--out --outdir", FILE, "Folder of the results; the same command resumes.", required=True)
@option("--methods", str, "Methods to compare; default: all that can run.", metavar="A,B")
@option(
    "--training-seeds", str, "One training per seed: 0,1,2 or 0-4.  [default: 0-2; with --trial 0]"
)
@option(
    "--images num_images",
    click.IntRange(1, 99_999),
    "Generated images per psi.  [default: 1000; with --trial 50]",
)
@option("--psi --trunc", PSI_LIST, "Truncations; default: the recipe's; with --trial the largest.")
@option("--steps", NATURAL, "Shorten every training to this many steps.")
@option("--trial", bool, "See in five minutes that everything runs, on little data.")
@option("--truth", FILE, "Masks to score against; toy domains need none.")
@option("--unrelated", FILE, "Images that do not show the domain.")
@option(
    "--pred preds",
    str,
    "Masks of an external tool, named like the images.",
    multiple=True,
    metavar="NAME=DIR",
    callback=_preds,
)
@option("--images-only", bool, "Only write OUT/images, for outside tools.")
def benchmark(
    out: Path,
    methods: str | None,
    training_seeds: str | None,
    num_images: int | None,
    psi: tuple[float, ...] | None,
    steps: int | None,
    trial: bool,
    truth: Path | None,
    unrelated: Path | None,
    preds: dict[str, Path],
    images_only: bool,
    device: str,
    offline: bool,
    **source: Any,
) -> None:
    r"""Compare the method, its ablations and other methods on one domain; run again to resume.

    Begins with an estimate of its time. Prints the tables of the paper's appendix, and writes
    them to OUT with tables.csv and figure.png. Every method masks the same generated images.

    \b
    l4f-datagen benchmark --domain toy-cars --out bench
    l4f-datagen benchmark --domain toy-cars --out trial --trial
    """
    from l4f_datagen.recipe.seeds import parse_seeds

    training_seeds = training_seeds or ("0" if trial else "0-2")
    seeds = parse_seeds(training_seeds, "--training-seeds")
    if not 1 <= len(seeds) <= 1_000 or max(part.stop for part in seeds.ranges) > MAX_SEEDS:
        problem = f"got {training_seeds}"
        remedy = f"give 1 to 1,000 seeds below {MAX_SEEDS:,}, as 0-2"
        raise UsageError("--training-seeds", problem, remedy)
    numbers = tuple(seeds[k] for k in range(len(seeds)))
    recipe = resolve_recipe(**source)
    from l4f_datagen.benchmark.bench import BenchmarkConfig
    from l4f_datagen.benchmark.run import run_benchmark

    psis = (max(recipe.sampling.psi),) if trial else recipe.sampling.psi
    config = BenchmarkConfig(
        recipe,
        out,
        tuple(name.strip() for name in methods.split(",")) if methods is not None else None,
        numbers,
        num_images or (TRIAL_IMAGES if trial else 1_000),
        tuple(dict.fromkeys(psi or psis)),
        steps,
        trial,
        truth,
        unrelated,
        preds,
        images_only,
        device,
        offline,
    )
    click.echo(run_benchmark(config))
