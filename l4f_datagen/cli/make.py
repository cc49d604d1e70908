"""``l4f-datagen make``: the main job."""

import json
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l4f_datagen.cli.push import private_option, replace_option
from l4f_datagen.cli.source import (
    FILE,
    Command,
    SectionedCommand,
    given,
    names_of,
    resolve_recipe,
    source_options,
)
from l4f_datagen.core.errors import UsageError
from l4f_datagen.core.options import FORMAT_LIST, PLACE, PSI_LIST

if TYPE_CHECKING:
    from l4f_datagen.recipe import Recipe

logger = logging.getLogger(__name__)

SAMPLING = (
    click.option(
        "--psi", "--trunc", type=PSI_LIST, help="Truncation: 0.7 or 0.5,0.7 or 0.5:1,0.7:2."
    ),
    click.option(
        "--truncation-cutoff", type=click.IntRange(1), help="Truncate only this many first layers."
    ),
    click.option("--seeds", help="Seeds for every psi: 0-99,120. Default: a new one each sample."),
    click.option(
        "--same-seeds/--new-seeds",
        default=None,
        help="Use the same seeds for every psi, or a new one for each sample.",
    ),
    click.option(
        "--latents", type=FILE, help="A .npy or .pt file with a latent in each row; --seeds: rows."
    ),
    click.option(
        "--latent-space", type=click.Choice(["w", "z"]), help="Space of --latents; w includes W+."
    ),
    click.option(
        "--style-mixing", type=click.FloatRange(0, 1), help="Share of samples that mix two z."
    ),
    click.option(
        "--noise-mode", type=click.Choice(["const", "random", "none"]), help="Noise inputs."
    ),
    click.option(
        "--precision", type=click.Choice(["fp32", "bf16", "fp16"]), help="Of the rendering."
    ),
)
LABELS = (
    click.option(
        "--refine",
        type=click.Choice(["none", "guided", "matting"]),
        help="Draw alphas to the edges of the images: guided is fast, matting is finer.",
    ),
    click.option(
        "--mask-threshold",
        type=click.FloatRange(0, 1, max_open=True),
        help="The mask is where alpha is above this.",
    ),
    click.option(
        "--filters",
        type=click.Choice(["none", "default", "strict"]),
        help="Which samples are rejected. none: no sample; else the recipe's own limits hold too.",
    ),
    click.option(
        "--accept-doubtful-alpha",
        is_flag=True,
        help="Label with an alpha network that is judged unusable, too.",
    ),
)
OUTPUT = (
    click.option(
        "--formats",
        type=FORMAT_LIST,
        help="Any of png,coco,hf,imagefolder,webdataset,yolo. Default: the recipe's.",
    ),
    click.option(
        "--image-format",
        type=click.Choice(["png", "webp", "jpeg"]),
        help="Format of images; webp is lossless here. Masks and alphas are always PNG.",
    ),
    click.option("--alpha-bits", type=click.Choice(["8", "16"]), help="Depth of the alphas."),
    click.option(
        "--cutouts/--no-cutouts", default=None, help="Write RGBA images of the objects to rgba/."
    ),
    click.option(
        "--composites",
        metavar="none|generated|FOLDER",
        help="Show the objects over generated backgrounds, or over the images of a folder.",
    ),
    click.option(
        "--coco-segmentation",
        type=click.Choice(["rle", "polygon"]),
        help="Shape of COCO masks; polygons fill holes, which are counted.",
    ),
    click.option(
        "--instances",
        type=click.Choice(["image", "components"]),
        help="In coco and yolo: one object an image, or one for each connected component.",
    ),
    click.option(
        "--keep-rejected/--no-keep-rejected",
        default=None,
        help="Write rejected samples to rejected/; no index lists them.",
    ),
)
ENGINE = (
    click.option("--devices", help="Several devices of one kind: cuda:0,cuda:1."),
    click.option("--workers", type=click.IntRange(1, 256), help="CPU threads that render."),
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Render here, or as tasks of a Ray cluster.",
    ),
    click.option("--ray-address", help="Address of the cluster; without it one is started here."),
    click.option(
        "--shard", metavar="I/N", help="Make every N-th shard from the I-th on, counted from 0."
    ),
)
PUSH = (
    click.option("--push", "repo", metavar="USER/NAME", help="Publish on the Hub at the end."),
    click.option("--yes", is_flag=True, help="Confirm --push."),
    private_option,
    replace_option,
)


def _options(command: Command) -> Command:
    for option in reversed((*SAMPLING, *LABELS, *OUTPUT, *ENGINE, *PUSH)):
        command = option(command)
    return command


@click.command(cls=SectionedCommand)
@click.option("--n", "number", type=click.IntRange(1, 10**9), required=True, help="How many.")
@click.option(
    "--count",
    type=click.Choice(["accepted", "attempts"]),
    default="accepted",
    show_default=True,
    help="What --n counts.",
)
@click.option("--out", "--outdir", type=PLACE, required=True, help="Folder or URL of the dataset.")
@source_options
@_options
@click.option("--overwrite", is_flag=True, help="Delete what the folder holds.")
@click.option("--dry-run", is_flag=True, help="Show download, training, time and disk; do nothing.")
@click.option("--show-recipe", is_flag=True, help="Print the resolved recipe and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def make(
    number: int,
    count: str,
    out: Path | str,
    repo: str | None,
    yes: bool,
    private: bool | None,
    replace: bool,
    overwrite: bool,
    dry_run: bool,
    show_recipe: bool,
    as_json: bool,
    device: str,
    offline: bool,
    accept_doubtful_alpha: bool,
    **flags: Any,
) -> None:
    r"""Make a labelled dataset: images, alphas, masks, card, contact sheet and report.

    The same command resumes an interrupted run and ends with the same bytes.

    \b
    l4f-datagen make --domain toy-cars --n 1000 --out cars
    l4f-datagen make --generator my.pkl --n 5000 --out mine --formats png,yolo --dry-run
    """
    engine = _engine_values(flags)
    keys = _recipe_keys(flags)
    recipe = resolve_recipe(**flags, flags=keys)
    if show_recipe:
        click.echo(recipe.dump(), nl=False)
        return
    if repo is not None:
        if engine["share"] or isinstance(out, str):
            problem = "publishes a finished folder, and none is made here"
            raise UsageError("--push", problem, "merge into a folder, then `l4f-datagen push`")
        _check_push(repo, recipe, yes=yes or dry_run, private=private, replace=replace)

    from l4f_datagen.pipeline.config import MakeConfig

    config = MakeConfig(
        recipe,
        out,
        number,
        count,
        device,
        overwrite=overwrite,
        offline=offline,
        accept_doubtful_alpha=accept_doubtful_alpha,
        **engine,
    )
    if dry_run:
        from l4f_datagen.pipeline.estimate import plan_dataset, plan_text

        plan = plan_dataset(config)
        click.echo(json.dumps(plan, indent=2) if as_json else plan_text(plan))
        return
    from l4f_datagen.pipeline.make import make_dataset

    counts = make_dataset(config)["counts"]
    published = None if repo is None else _push(Path(out), repo, private, replace)
    if as_json:
        told = {"out": str(out), "counts": counts} | ({"push": published} if published else {})
        click.echo(json.dumps(told, indent=2))
        return
    click.echo(counts_text(out, counts))
    if config.share:
        click.echo(f"share {config.share} is done; when all are: l4f-datagen merge {out}")
        return
    click.echo(next_steps(out, recipe.output.formats))
    if published:
        click.echo(published["text"])


make.sections = {
    "Sampling": names_of(SAMPLING),
    "Labels": names_of(LABELS),
    "Output": names_of(OUTPUT),
    "Devices and jobs": names_of(ENGINE),
    "Publishing": names_of(PUSH),
}


def counts_text(out: Path | str, counts: dict[str, Any]) -> str:
    """Format the counts, the reasons of rejections, and warnings."""
    from l4f_datagen.dataset.ledger import empty_masks_note
    from l4f_datagen.recipe import CoverageFilter, UncertaintyFilter
    from l4f_datagen.report.records import dataset_facts

    reasons = ", ".join(f"{reason} {times:,}" for reason, times in counts["rejected"].items())
    lines = [f"{counts['accepted']:,} samples of {counts['attempted']:,} attempts in {out}"]
    lines.append(f"rejected: {reasons or 'none'}")
    if note := empty_masks_note(counts):
        lines.append(f"Warning: {note}")
    if counts["filled_holes"]:
        lines.append(f"polygons fill {counts['filled_holes']:,} holes")
    scores = {}
    if isinstance(out, Path) and (out / "manifest.json").exists():
        scores = {name: row["median"] for name, row in dataset_facts(out)["scores"].items()}
    # Half of the samples beyond what the filters would pass by default.
    uncertainty, coverage = scores.get("alpha_uncertainty", 0.0), scores.get("coverage", 0.5)
    limits = CoverageFilter()
    if uncertainty > UncertaintyFilter().max:
        lines.append(f"Warning: the alphas are grey, median alpha_uncertainty {uncertainty:.2f}")
    if not limits.min <= coverage <= limits.max:
        lines.append(f"Warning: masks cover little or all of the images, median {coverage:.2f}")
    return "\n".join(lines)


def next_steps(out: Path | str, formats: tuple[str, ...]) -> str:
    """List the commands to look at, use and publish a finished dataset."""
    if isinstance(out, str):
        return f"look at it   {out}/report.html"
    folder = shlex.quote(str(out))
    lines = [("look at it", f"{out / 'report.html'}")]
    if "hf" in formats:
        lines.append(("load it", f'datasets.load_dataset("{out}")'))
    if "yolo" in formats:
        lines.append(("train YOLO", f"yolo segment train data={out / 'yolo' / 'data.yaml'}"))
    lines.append(("train on it", f"l4f-datagen segmenter train {folder} --out {out}-segmenter"))
    if "hf" in formats:
        lines.append(("publish it", f"l4f-datagen push {folder} USER/NAME"))
    return "\n".join(f"{what:12s} {command}" for what, command in lines)


def _recipe_keys(flags: dict[str, Any]) -> dict[str, object]:
    """Take the options of sampling, labels and output out of ``flags``, as recipe keys."""
    psi, seeds, same_seeds = (flags.pop(name) for name in ("psi", "seeds", "same_seeds"))
    latents, filters = flags.pop("latents"), flags.pop("filters")
    bits, composites = flags.pop("alpha_bits"), flags.pop("composites")
    space = ("truncation_cutoff", "latent_space", "style_mixing")
    rendering = ("noise_mode", "precision", "refine")
    output = ("mask_threshold", "formats", "image_format", "cutouts", "coco_segmentation")
    keys = given(
        {
            "sampling.psi": list(psi) if psi else None,
            "sampling.seeds": seeds,
            "sampling.same_seeds": True if seeds and same_seeds is None else same_seeds,
            "sampling.latents": None if latents is None else str(latents),
            **{f"sampling.{name}": flags.pop(name) for name in (*space, *rendering)},
            "filters": {"preset": "none"} if filters == "none" else None,
            "filters.preset": filters,
            **{f"output.{name}": flags.pop(name) for name in output},
            "output.alpha_bits": None if bits is None else int(bits),
            **{f"output.{name}": flags.pop(name) for name in ("instances", "keep_rejected")},
        }
    )
    if composites is None:
        return keys
    own = composites not in ("none", "generated")
    return keys | {
        "output.composites": "folder" if own else composites,
        "output.composites_folder": composites if own else None,
    }


def _engine_values(flags: dict[str, Any]) -> dict[str, Any]:
    """Take the options of engine, devices and shares out of ``flags``, for a ``MakeConfig``.

    Raises:
        UsageError: options that exclude each other, or no such share.
    """
    from l4f_datagen.rendering.quota import parse_share

    names = ("devices", "workers", "engine", "ray_address", "shard")
    devices, workers, engine, address, shard = (flags.pop(name) for name in names)
    if address is not None and engine != "ray":
        raise UsageError("--ray-address", "given without --engine ray", "add --engine ray")
    if devices is not None and engine == "ray":
        raise UsageError("--devices", "given with --engine ray", "a cluster knows its own GPUs")
    return {
        "devices": tuple(devices.split(",")) if devices else (),
        "workers": workers,
        "engine": engine,
        "ray_address": address,
        "share": None if shard is None else parse_share(shard),
    }


def _check_push(
    repo: str, recipe: "Recipe", *, yes: bool, private: bool | None, replace: bool
) -> None:
    """Check name, token, visibility and the repository before hours of work."""
    from l4f_datagen.hub import check_destination

    if not yes:
        remedy = "add --yes, or leave out --push and look first with `l4f-datagen push`"
        raise UsageError("--push", f"publishes at {repo} when the dataset is done", remedy)
    if "hf" not in recipe.output.formats:
        problem = "publishes Parquet files, and none are made"
        raise UsageError("--push", problem, "add hf to formats")
    check_destination(repo, recipe.model_dump(mode="json"), private=private, replace=replace)


def _push(folder: Path, repo: str, private: bool | None, replace: bool) -> dict[str, Any]:
    from l4f_datagen.cli.push import result_text
    from l4f_datagen.hub import plan_push, push

    job = plan_push(folder, repo, private=private)
    for note in job.content.notes:
        logger.warning("%s", note)
    done = push(job, replace=replace)
    return {**vars(done), "text": result_text(done)}
