"""``sample``, ``validate``, ``benchmark``: images to annotate, masks scored, methods compared."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.types import FuncParamType

from l4f_datagen.cli import options as shared
from l4f_datagen.cli.options import FILE, added, option
from l4f_datagen.core.errors import UsageError

if TYPE_CHECKING:
    from l4f_datagen.annotations import TruthSet
    from l4f_datagen.scoring import Prediction


@click.command()
@shared.SOURCE
@option("--seeds", str, "Exactly these seeds, such as 0-99,120.")
@option("--n number", click.IntRange(1, 10**9), "Number of images, over all psi.")
@option("--psi --trunc", shared.PSI_LIST, "Truncations: 0.7 or 0.5,0.7,1.0.")
@option("--noise-mode", "const|random|none", "Noise inputs.")
@option("--diverse/--no-diverse", bool, "Take --n images that differ (default up to 1,000).")
@option("--out --outdir", FILE, "Folder of the images.", required=True)
def sample(
    out: Path, number: int | None, seeds: str | None, diverse: bool | None, **options: Any
) -> None:
    """Write generated images to annotate, as PNG files with keys.csv; needs no alpha network.

    Label the images with any tool, keep the file names, and give the export to `validate --truth`.

    l4f-datagen sample --domain toy-cars --n 10 --out to-label
    l4f-datagen sample --generator my.pkl --seeds 0-99 --psi 0.7 --out to-label
    """
    from l4f_datagen.annotate.images import write_images

    if seeds is None and number is None:
        raise UsageError("--seeds", "neither --seeds nor --n is given", "say which or how many")
    if seeds is not None and diverse:
        problem = "given together with --seeds, which names the images already"
        raise UsageError("--diverse", problem, "drop one of them")
    keys = {"psi": options.pop("psi"), "noise_mode": options.pop("noise_mode")}
    if seeds is not None:
        keys |= {"seeds": seeds, "same_seeds": True}
        diverse = False
    recipe = shared.resolve_recipe(options, uses_alpha=False, **shared.given(keys))
    written = write_images(recipe, out, number, diverse=diverse, **options)
    click.echo(f"{written} images in {out}")


def axes(value: str) -> tuple[str, ...]:
    """Read the axes of a sweep."""
    for name in shared.words(value):
        if name not in ("psi", "threshold"):
            raise ValueError(f"expected psi, threshold or both, got {name!r}")
    return shared.words(value)


VALIDATING = added(
    shared.truth_options(required=True),
    option("--pred", FILE, "Mask folder, COCO file, COCO results or dataset to score."),
    option("--pred-category", str, "Which class of the prediction is foreground."),
    option("--pred-mask-value", str, "Foreground pixels of predicted mask images, '>0.9' for "
           "alpha; of COCO results the lowest score (default: '>0.5')."),
    option("--images images_dir", FILE, "Images of --pred, for the report."),
    shared.SOURCE,
    option("--mask-threshold", shared.CUT, "mask = alpha > this value."),
    shared.SCORING,
    option("--sweep", FuncParamType(axes), "Score over psi, threshold or both.", metavar="AXES"),
    option("--plot", FILE, "Plot of --sweep, .png or .svg  [default: sweep.png, or in --report]"),
    option("--report", FILE, "Write a page: a folder, or a file ending in .html."),
    option("--record", bool, "Store the score in the dataset, for its card."),
    shared.JSON,
)  # fmt: skip


@click.command()
@VALIDATING
def validate(
    truth: Path, pred: Path | None, report: Path | None, record: bool, **options: Any
) -> None:
    """Score masks against truth in the paper's columns, with 95 % intervals.

    The masks are files (--pred), or are rendered for the annotated keys by the networks of
    --domain, --recipe or --generator. Images that nobody annotated are left out and counted.

    Truth is read from mask folders, COCO, Labelbox, CVAT, Label Studio, LabelMe, VIA, YOLO,
    Cityscapes, Supervisely and Hugging Face datasets.

    l4f-datagen validate --domain toy-cars --truth export.json
    l4f-datagen validate --pred masks --truth labels --min-miou 0.9
    """
    sweep, plot, least, as_json = map(options.pop, ("sweep", "plot", "min_miou", "as_json"))
    renders = any(options[name] for name in ("domain", "recipe_file", "generator"))
    if pred is None and not renders:
        remedy = "give --pred, or --domain, --recipe or --generator to render it anew"
        raise UsageError("prediction", "nothing says what to score", remedy)
    if pred and (renders or options["keys"] or options["mask_threshold"] is not None):
        problem = "given together with flags that render the masks anew"
        raise UsageError("--pred", problem, "drop --domain, --generator, --keys ..., or --pred")
    if record and pred is None:
        raise UsageError("--record", "needs a dataset", "give --pred DATASET")
    if plot and not sweep:
        raise UsageError("--plot", "there is nothing to plot", "give --sweep psi,threshold")
    import numpy as np

    from l4f_datagen.scoring import match_truth, score_match
    from l4f_datagen.scoring.sweep import SweepCounts

    shown = ("category", "mask_value", "ignore_category", "ignore_value", "unannotated")
    settings = {name: options[name] or None for name in shown}
    pairing = shared.take(("pair_by", "offset", "allow_unused"), options)
    pairing["allow_unused"] = pairing["allow_unused"] or None
    annotated = shared.open_annotated(truth, options, exact_white=options["paper_compat"])
    prediction = _prediction(pred, annotated, options)
    matched = match_truth(annotated, prediction, **pairing)
    counts = SweepCounts(sweep) if sweep else None
    result = score_match(matched, watch=counts, settings=settings, **options)
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
    shared.require_miou(least, result, prediction.source)


def _prediction(pred: Path | None, truth: "TruthSet", options: dict[str, Any]) -> "Prediction":
    """Open the masks on disk, or the networks that render them anew; takes their options out."""
    names = ("pred_category", "pred_mask_value", "images_dir", "mask_threshold")
    category, mask_value, images_dir, threshold = map(options.pop, names)
    where = shared.take(("keys", "device", "offline"), options)
    if pred is None:
        from l4f_datagen.annotate.examples import open_rerendered

        recipe = shared.resolve_recipe(options, **shared.given({"mask_threshold": threshold}))
        return open_rerendered(recipe, [item.name for item in truth], truth.source, **where)
    from l4f_datagen.scoring import FolderPrediction

    shared.take(shared.names_of(shared.RECIPE), options)
    masks = {"category": category, "mask_value": mask_value, "images_dir": images_dir}
    return FolderPrediction(pred, exact_white=options["paper_compat"], ids=truth.ids, **masks)


MAX_SEEDS, TRIAL_IMAGES = 1_000_000, 50
NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,40}", re.ASCII)


def _tools(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> dict[str, Path]:
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


BENCHMARKING = added(
    shared.SOURCE,
    option("--out --outdir", FILE, "Folder of the results, new or to resume.", required=True),
    option("--methods", shared.NAMES, "Default: all that can run.", metavar="A,B"),
    option("--training-seeds", str, "One training per seed.  [default: 0-2; with --trial 0]"),
    option("--images num_images", click.IntRange(1, 99_999),
           "Generated images per psi.  [default: 1000; with --trial 50]"),
    option("--psi psis --trunc", shared.PSI_LIST, "Default: the recipe's; of a trial the largest."),
    option("--steps", shared.NATURAL, "Shorten every training to this many steps."),
    option("--trial", bool, "See in five minutes that everything runs, on little data."),
    option("--truth", FILE, "Masks to score against; toy domains need none."),
    option("--unrelated", FILE, "Images that do not show the domain."),
    option("--pred external", str, "Masks of an external tool, named like the images.",
           multiple=True, metavar="NAME=DIR", callback=_tools),
    option("--images-only", bool, "Only write OUT/images, for outside tools."),
)  # fmt: skip


@click.command()
@BENCHMARKING
def benchmark(training_seeds: str | None, trial: bool, **options: Any) -> None:
    """Compare the method, its ablations and other methods on one domain; run again to resume.

    Tells how long it takes, prints the paper's tables, writes them and figure.png to OUT.

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
    recipe = shared.resolve_recipe(options)
    from l4f_datagen.benchmark.bench import BenchmarkConfig
    from l4f_datagen.benchmark.run import run_benchmark

    psis = options.pop("psis") or ((max(recipe.sampling.psi),) if trial else recipe.sampling.psi)
    if trial and options["num_images"] is None:
        options["num_images"] = TRIAL_IMAGES
    config = BenchmarkConfig(
        recipe,
        training_seeds=tuple(seeds),
        psis=tuple(dict.fromkeys(psis)),
        trial=trial,
        **shared.given(options),
    )
    click.echo(run_benchmark(config))
