"""``l4f-datagen make``: the main job."""

import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l4f_datagen.cli.datasets import REPLACE, VISIBILITY
from l4f_datagen.cli.options import (
    CUT,
    FILE,
    FORMAT_LIST,
    JSON,
    NATURAL,
    PLACE,
    PSI_LIST,
    SHARE,
    SectionedCommand,
    added,
    echo,
    given,
    names_of,
    option,
    resolve_recipe,
    source_options,
)
from l4f_datagen.core.errors import UsageError

if TYPE_CHECKING:
    from l4f_datagen.recipe import Recipe

logger = logging.getLogger(__name__)

SAMPLING = (
    option("--psi --trunc", PSI_LIST, "Truncation: 0.7 or 0.5,0.7 or 0.5:1,0.7:2."),
    option("--truncation-cutoff", NATURAL, "Truncate only this many first layers."),
    option("--seeds", str, "Seeds for every psi: 0-99,120. Default: a new one each sample."),
    option("--same-seeds/--new-seeds", bool,
           "Use the same seeds for every psi, or a new one for each sample."),
    option("--latents", FILE, "A .npy or .pt file with a latent in each row; --seeds: rows."),
    option("--latent-space", "w|z", "Space of --latents; w includes W+."),
    option("--style-mixing", SHARE, "Share of samples that mix two z."),
    option("--noise-mode", "const|random|none", "Noise inputs."),
    option("--precision", "fp32|bf16|fp16", "Of the rendering."),
)  # fmt: skip
LABELS = (
    option("--refine", "none|guided|matting",
           "Correct alphas by their images: colours and a guided filter, or matting."),
    option("--mask-threshold", CUT, "The mask is where alpha is above this."),
    option("--filters", "none|default|strict",
           "Which samples are rejected. none: no sample; else the recipe's own limits hold too."),
    option("--accept-doubtful-alpha", bool,
           "Label with an alpha network that is judged unusable, too."),
)  # fmt: skip
OUTPUT = (
    option("--formats --format", FORMAT_LIST,
           "Any of png,coco,hf,imagefolder,webdataset,yolo. Default: the recipe's."),
    option("--image-format", "png|webp|jpeg",
           "Format of images; webp is lossless here. Masks and alphas are always PNG."),
    option("--alpha-bits", "8|16", "Depth of the alphas."),
    option("--cutouts/--no-cutouts", bool, "Write RGBA images of the objects to rgba/."),
    option("--composites", str,
           "Show the objects over generated backgrounds, or over the images of a folder.",
           metavar="none|generated|FOLDER"),
    option("--coco-segmentation", "rle|polygon",
           "Shape of COCO masks; polygons fill holes, which are counted."),
    option("--instances", "image|components",
           "In coco and yolo: one object an image, or one for each connected component."),
    option("--keep-rejected/--no-keep-rejected", bool,
           "Write rejected samples to rejected/; no index lists them."),
)  # fmt: skip
ENGINE = (
    option("--devices", str, "Several devices of one kind: cuda:0,cuda:1."),
    option("--workers", click.IntRange(1, 256), "CPU threads that render."),
    option("--engine", "local|ray", "Render here, or as tasks of a Ray cluster.", "local"),
    option("--ray-address", str, "Address of the cluster; without it one is started here."),
    option("--shard", str,
           "Make every N-th shard from the I-th on, counted from 0.", metavar="I/N"),
)  # fmt: skip
PUSH = (
    option("--push repo", str, "Publish on the Hub at the end.", metavar="USER/NAME"),
    option("--yes", bool, "Confirm --push."),
    VISIBILITY,
    REPLACE,
)  # fmt: skip


@click.command(cls=SectionedCommand)
@option("--n number", click.IntRange(1, 10**9), "How many.", required=True)
@option("--count", "accepted|attempts", "What --n counts.", "accepted")
@option("--out --outdir", PLACE, "Folder or URL of the dataset.", required=True)
@source_options
@added((*SAMPLING, *LABELS, *OUTPUT, *ENGINE, *PUSH))
@option("--overwrite", bool, "Delete what the folder holds.")
@option("--dry-run", bool, "Show download, training, time and disk; do nothing.")
@option("--show-recipe", bool, "Print the resolved recipe and stop.")
@JSON
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

    engine |= {"overwrite": overwrite, "offline": offline}
    engine |= {"accept_doubtful_alpha": accept_doubtful_alpha}
    config = MakeConfig(recipe, out, number, count, device, **engine)
    if dry_run:
        from l4f_datagen.pipeline.estimate import plan_dataset, plan_text

        plan = plan_dataset(config)
        echo(plan if as_json else plan_text(plan))
        return
    from l4f_datagen.pipeline.make import make_dataset

    counts = make_dataset(config)["counts"]
    published = None if repo is None else _push(Path(out), repo, private, replace)
    if as_json:
        echo({"out": str(out), "counts": counts} | ({"push": published} if published else {}))
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
    from l4f_datagen.dataset.manifest import empty_masks_note
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
    if uncertainty > UncertaintyFilter().max:
        lines.append(f"Warning: the alphas are grey, median alpha_uncertainty {uncertainty:.2f}")
    if not CoverageFilter().min <= coverage <= CoverageFilter().max:
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


SAME_NAME = {
    "sampling": ("truncation_cutoff", "latent_space", "style_mixing", "noise_mode", "precision",
                 "refine"),
    "output": ("mask_threshold", "formats", "image_format", "cutouts", "coco_segmentation",
               "instances", "keep_rejected"),
}  # fmt: skip
"""Part of the recipe -> flags that are keys of it."""


def _recipe_keys(flags: dict[str, Any]) -> dict[str, object]:
    """Take the options of sampling, labels and output out of ``flags``, as recipe keys."""
    names = ("psi", "seeds", "same_seeds", "latents", "filters", "alpha_bits", "composites")
    psi, seeds, same_seeds, latents, filters, bits, composites = map(flags.pop, names)
    keys = given(
        {
            **{f"{part}.{k}": flags.pop(k) for part, names in SAME_NAME.items() for k in names},
            "sampling.psi": list(psi) if psi else None,
            "sampling.seeds": seeds,
            "sampling.same_seeds": True if seeds and same_seeds is None else same_seeds,
            "sampling.latents": None if latents is None else str(latents),
            "filters": {"preset": "none"} if filters == "none" else None,
            "filters.preset": filters,
            "output.alpha_bits": None if bits is None else int(bits),
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
    """Take the options of engine, devices and shares out of ``flags``, for a ``MakeConfig``."""
    from l4f_datagen.rendering.quota import parse_share

    names = ("devices", "workers", "engine", "ray_address", "shard")
    devices, workers, engine, address, shard = map(flags.pop, names)
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
    from l4f_datagen.hub.publish import check_destination

    if not yes:
        remedy = "add --yes, or leave out --push and look first with `l4f-datagen push`"
        raise UsageError("--push", f"publishes at {repo} when the dataset is done", remedy)
    if "hf" not in recipe.output.formats:
        problem = "publishes Parquet files, and none are made"
        raise UsageError("--push", problem, "add hf to formats")
    check_destination(repo, recipe.model_dump(mode="json"), private=private, replace=replace)


def _push(folder: Path, repo: str, private: bool | None, replace: bool) -> dict[str, Any]:
    from l4f_datagen.cli.datasets import result_text
    from l4f_datagen.hub.publish import plan_push, push

    job = plan_push(folder, repo, private=private)
    for note in job.content.notes:
        logger.warning("%s", note)
    done = push(job, replace=replace)
    return {**vars(done), "text": result_text(done)}
