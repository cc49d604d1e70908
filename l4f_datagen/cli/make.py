"""``make``, the main job, and ``quickstart``."""

import shlex
import sys
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l4f_datagen.cli import options as shared
from l4f_datagen.cli.datasets import REPLACE, VISIBILITY, planned_push, result_text
from l4f_datagen.cli.options import FILE, added, given, names_of, option
from l4f_datagen.core.errors import UsageError

if TYPE_CHECKING:
    from l4f_datagen.pipeline.config import MakeConfig

SAMPLING = added(
    option("--psi --trunc", shared.PSI_LIST, "Truncation: 0.7 or 0.5,0.7 or 0.5:1,0.7:2."),
    option("--truncation-cutoff", shared.NATURAL, "Truncate only this many first layers."),
    option("--seeds", str, "Seeds for every psi: 0-99,120. Default: a new one each sample."),
    option("--same-seeds/--new-seeds", bool, "The same seeds for every psi, or new ones."),
    option("--latents", FILE, "A .npy or .pt file with a latent in each row; --seeds: rows."),
    option("--latent-space", "w|z", "Space of --latents; w includes W+."),
    option("--style-mixing", shared.SHARE, "Share of samples that mix two z."),
    option("--noise-mode", "const|random|none", "Noise inputs."),
    option("--precision", "fp32|bf16|fp16", "Of the rendering."),
)  # fmt: skip
LABELS = added(
    option("--refine", "none|guided|matting", "Correct alphas by the colours of their images."),
    option("--mask-threshold", shared.CUT, "The mask is where alpha is above this."),
    option("--filters", "none|default|strict",
           "Which samples are rejected. none: no sample; else the recipe's own limits hold too."),
)  # fmt: skip
OUTPUT = added(
    option("--formats --format", shared.FORMAT_LIST,
           "Any of png,coco,hf,imagefolder,webdataset,yolo. Default: the recipe's."),
    option("--image-format", "png|webp|jpeg", "Of images alone; webp is lossless here."),
    option("--alpha-bits", click.Choice((8, 16)), "Depth of the alphas."),
    option("--cutouts/--no-cutouts", bool, "Write RGBA images of the objects to rgba/."),
    option("--composites", str, "Show the objects over these backgrounds.",
           metavar="none|generated|FOLDER"),
    option("--coco-segmentation", "rle|polygon", "Polygons fill holes, which are counted."),
    option("--instances", "image|components",
           "In coco and yolo: one object an image, or one for each connected component."),
    option("--keep-rejected/--no-keep-rejected", bool, "Write rejected samples to rejected/."),
)  # fmt: skip
SECTIONS = {
    "Sampling": SAMPLING,
    "Labels": added(
        LABELS,
        option("--accept-doubtful-alpha", bool, "Also label with a network judged unusable."),
    ),
    "Output": OUTPUT,
    "Devices and jobs": added(
        option("--devices", shared.NAMES, "Several devices of one kind: cuda:0,cuda:1.",
               metavar="A,B"),
        option("--workers", click.IntRange(1, 256), "CPU threads that render."),
        option("--engine", "local|ray", "Render here, or as tasks of a Ray cluster.", "local"),
        option("--ray-address", str, "Address of the cluster; without it one is started here."),
        option("--shard share", str, "Make every N-th shard, I from 0 to N - 1.", metavar="I/N"),
    ),
    "Publishing": added(
        option("--push repo", str, "Publish on the Hub at the end.", metavar="USER/NAME"),
        option("--yes", bool, "Confirm --push."),
        VISIBILITY,
        REPLACE,
    ),
}  # fmt: skip


class SectionedCommand(click.Command):
    """Command whose help lists options in ``SECTIONS``; those in none come first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections."""
        titles = {name: title for title, group in SECTIONS.items() for name in names_of(group)}
        for title in ("Options", *SECTIONS):
            params = [p for p in self.get_params(ctx) if titles.get(p.name, "Options") == title]
            with formatter.section(title):
                formatter.write_dl([row for p in params if (row := p.get_help_record(ctx))])


@click.command(cls=SectionedCommand)
@option("--n number", click.IntRange(1, 10**9), "How many.", required=True)
@option("--count", "accepted|attempts", "What --n counts.", "accepted")
@option("--out --outdir", shared.PLACE, "Folder or URL of the dataset.", required=True)
@shared.SOURCE
@added(*SECTIONS.values())
@option("--overwrite", bool, "Delete what the folder holds.")
@option("--dry-run", bool, "Show download, training, time and disk; do nothing.")
@option("--show-recipe", bool, "Print the resolved recipe and stop.")
@shared.JSON
def make(
    out: Path | str, repo: str | None, dry_run: bool, show_recipe: bool, as_json: bool, **more: Any
) -> None:
    """Make a labelled dataset: images, alphas, masks, card, contact sheet and report.

    The same command resumes an interrupted run and ends with the same bytes.

    l4f-datagen make --domain toy-cars --n 1000 --out cars
    l4f-datagen make --generator my.pkl --n 5000 --out mine --formats png,yolo --dry-run
    """
    if more["ray_address"] is not None and more["engine"] != "ray":
        raise UsageError("--ray-address", "given without --engine ray", "add --engine ray")
    if more["devices"] and more["engine"] == "ray":
        raise UsageError("--devices", "given with --engine ray", "a cluster knows its own GPUs")
    from l4f_datagen.rendering.quota import parse_share

    yes, private, replace = map(more.pop, ("yes", "private", "replace"))
    if more["share"] is not None:
        more["share"] = parse_share(more["share"])
    recipe = shared.resolve_recipe(more, **_recipe_keys(more))
    if show_recipe:
        click.echo(recipe.dump(), nl=False)
        return

    from l4f_datagen.pipeline.config import MakeConfig

    config = MakeConfig(recipe, out, **given(more))
    if repo is not None:
        _check_push(repo, config, yes=yes or dry_run, private=private, replace=replace)
    if dry_run:
        from l4f_datagen.pipeline.estimate import plan_dataset, plan_text

        plan = plan_dataset(config)
        shared.echo(plan if as_json else plan_text(plan))
        return
    from l4f_datagen.pipeline.make import make_dataset

    counts = make_dataset(config)["counts"]
    published: dict[str, Any] = {}
    if repo is not None:
        from l4f_datagen.hub.publish import push

        done = push(planned_push(Path(out), repo, private=private), replace=replace)
        published["push"] = {**vars(done), "text": result_text(done)}
    if as_json:
        shared.echo({"out": str(out), "counts": counts, **published})
        return
    click.echo(counts_text(out, counts))
    if config.share:
        click.echo(f"share {config.share} is done; when all are: l4f-datagen merge {out}")
        return
    click.echo(next_steps(out, recipe.output.formats))
    if published:
        click.echo(published["push"]["text"])


@click.command()
@option("--out --outdir", FILE, "Folder of the dataset.", "l4f-quickstart")
@option("--domain", str, "A domain of `recipes list`.", "toy-cars")
@option("--n number", click.IntRange(1, 10_000), "How many samples.", 64)
@option("--open/--no-open opens", bool, "Open the report in a browser. Default: on a terminal.")
def quickstart(out: Path, domain: str, number: int, opens: bool | None) -> None:
    """Make a small dataset with weights that ship with the package, and open its report.

    It takes about a minute on a CPU and fetches nothing.

    l4f-datagen quickstart
    l4f-datagen quickstart --out demo --n 200 --no-open
    """
    from l4f_datagen.pipeline.config import MakeConfig
    from l4f_datagen.pipeline.make import make_dataset
    from l4f_datagen.recipe.domains import load_recipe

    recipe = load_recipe(domain)
    click.echo(counts_text(out, make_dataset(MakeConfig(recipe, out, number))["counts"]))
    click.echo(next_steps(out, recipe.output.formats))
    if opens or (opens is None and sys.stdout.isatty()):
        webbrowser.open((out / "report.html").absolute().as_uri())


def counts_text(out: Path | str, counts: Mapping[str, Any]) -> str:
    """Format the counts, the reasons of rejections, and warnings."""
    from l4f_datagen.dataset.manifest import empty_masks_note
    from l4f_datagen.recipe.parts import CoverageFilter, UncertaintyFilter
    from l4f_datagen.report.records import dataset_facts

    reasons = ", ".join(f"{reason} {times:,}" for reason, times in counts["rejected"].items())
    made = f"{counts['accepted']:,} samples of {counts['attempted']:,} attempts in {out}"
    lines = [made, f"rejected: {reasons or 'none'}"]
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
    lines = [f"look at it   {out / 'report.html'}"]
    lines += [f'load it      datasets.load_dataset("{out}")'] * ("hf" in formats)
    if "yolo" in formats:
        lines.append(f"train YOLO   yolo segment train data={out / 'yolo' / 'data.yaml'}")
    lines.append(f"train on it  l4f-datagen segmenter train {folder} --out {out}-segmenter")
    lines += [f"publish it   l4f-datagen push {folder} USER/NAME"] * ("hf" in formats)
    return "\n".join(lines)


def _recipe_keys(options: dict[str, Any]) -> dict[str, Any]:
    """Take what sampling, labels and output were given out of ``options``, as recipe keys."""
    keys = given(shared.take(names_of(added(SAMPLING, LABELS, OUTPUT)), options))
    if keys.get("seeds"):
        keys.setdefault("same_seeds", True)
    if "latents" in keys:
        keys["latents"] = str(keys["latents"])
    if "filters" in keys:
        preset = keys.pop("filters")
        keys |= {"filters": {"preset": preset}} if preset == "none" else {"filters.preset": preset}
    if "composites" in keys:
        own = keys["composites"] not in ("none", "generated")
        keys["composites_folder"] = keys["composites"] if own else None
        keys["composites"] = "folder" if own else keys["composites"]
    return keys


def _check_push(
    repo: str, config: "MakeConfig", *, yes: bool, private: bool | None, replace: bool
) -> None:
    """Check name, token, visibility and the repository before hours of work."""
    from l4f_datagen.hub.publish import check_destination

    if config.share or isinstance(config.out, str):
        problem = "publishes a finished folder, and none is made here"
        raise UsageError("--push", problem, "merge into a folder, then `l4f-datagen push`")
    if not yes:
        remedy = "add --yes, or leave out --push and look first with `l4f-datagen push`"
        raise UsageError("--push", f"publishes at {repo} when the dataset is done", remedy)
    if "hf" not in config.recipe.output.formats:
        problem = "publishes Parquet files, and none are made"
        raise UsageError("--push", problem, "add hf to formats")
    check_destination(repo, config.recipe.model_dump(mode="json"), private=private, replace=replace)
