"""``l4f-datagen make``: the main job."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l4f_datagen.cli.engine import engine_keys, engine_options
from l4f_datagen.cli.output import output_keys, output_options
from l4f_datagen.cli.push import private_option, replace_option
from l4f_datagen.cli.source import FILE, given, resolve_recipe, source_options
from l4f_datagen.core.errors import UsageError
from l4f_datagen.core.options import PLACE, PSI_LIST

if TYPE_CHECKING:
    from l4f_datagen.recipe import Recipe

logger = logging.getLogger(__name__)


@click.command()
@source_options
@click.option(
    "--n", "number", type=click.IntRange(1, 10**9), required=True, help="Number of samples."
)
@click.option(
    "--count",
    type=click.Choice(["accepted", "attempts"]),
    default="accepted",
    show_default=True,
    help="What --n counts.",
)
@click.option("--out", "--outdir", type=PLACE, required=True, help="Dataset folder, or a URL.")
@click.option("--psi", "--trunc", type=PSI_LIST, help="Truncations: 0.7 or 0.5,0.7 or 0.5:1,0.7:2.")
@click.option(
    "--truncation-cutoff", type=click.IntRange(1), help="Truncate only this many first layers."
)
@click.option("--seeds", help="Seeds for every psi: 0-99,120. Default: a new seed for each sample.")
@click.option(
    "--same-seeds/--new-seeds",
    default=None,
    help="Use the same seeds for every psi, or a new one for each sample.",
)
@click.option("--latents", type=FILE, help="Own latents, one per row; --seeds then selects rows.")
@click.option(
    "--latent-space", type=click.Choice(["w", "z"]), help="Space of --latents; w includes W+."
)
@click.option(
    "--style-mixing", type=click.FloatRange(0, 1), help="Share of samples that mix two z."
)
@click.option(
    "--filters",
    type=click.Choice(["none", "default", "strict"]),
    help="Preset. none disables all filters; the others keep the recipe's own limits.",
)
@output_options
@click.option(
    "--mask-threshold",
    type=click.FloatRange(0, 1, max_open=True),
    help="mask = alpha > this value.",
)
@click.option("--noise-mode", type=click.Choice(["const", "random", "none"]))
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]))
@engine_options
@click.option("--overwrite", is_flag=True, help="Delete what the folder holds first.")
@click.option(
    "--push", "repo", metavar="USER/NAME", help="Publish on the Hugging Face Hub at the end."
)
@click.option("--yes", is_flag=True, help="Confirm --push.")
@private_option
@replace_option
@click.option(
    "--dry-run", is_flag=True, help="Print plan, counts, disk space and time; write nothing."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object to stdout.")
def make(
    number: int,
    count: str,
    out: Path | str,
    psi: tuple[float, ...] | None,
    truncation_cutoff: int | None,
    seeds: str | None,
    same_seeds: bool | None,
    latents: Path | None,
    latent_space: str | None,
    style_mixing: float | None,
    filters: str | None,
    mask_threshold: float | None,
    noise_mode: str | None,
    precision: str | None,
    overwrite: bool,
    repo: str | None,
    yes: bool,
    private: bool | None,
    replace: bool,
    dry_run: bool,
    as_json: bool,
    device: str,
    offline: bool,
    **source: Any,
) -> None:
    """Make a labelled dataset: images, alphas, masks, COCO, Parquet, card, contact sheet, report.

    The same command resumes an interrupted run and ends with the same bytes.
    """
    written = output_keys(source)
    named = {
        "sampling.psi": list(psi) if psi else None,
        "sampling.truncation_cutoff": truncation_cutoff,
        "sampling.seeds": seeds,
        "sampling.same_seeds": same_seeds if seeds is None or same_seeds is not None else True,
        "sampling.latents": None if latents is None else str(latents),
        "sampling.latent_space": latent_space,
        "sampling.style_mixing": style_mixing,
        "filters": {"preset": "none"} if filters == "none" else None,
        "filters.preset": filters,
        "sampling.noise_mode": noise_mode,
        "sampling.precision": precision,
        "output.mask_threshold": mask_threshold,
    }
    engine = engine_keys(source)
    recipe = resolve_recipe(**source, flags=given(named) | written)

    from l4f_datagen.dataset.ledger import empty_masks_note
    from l4f_datagen.pipeline.job import Job
    from l4f_datagen.pipeline.make import make_dataset

    if repo is not None and (engine["share"] or isinstance(out, str)):
        problem = "publishes a finished folder, and none is made here"
        raise UsageError("--push", problem, "merge into a folder, then `l4f-datagen push`")
    if repo is not None:
        _check_push(repo, recipe, yes=yes or dry_run, private=private, replace=replace)
    job = Job(recipe, out, number, count, device, overwrite=overwrite, offline=offline, **engine)
    if dry_run:
        from l4f_datagen.pipeline.estimate import estimate

        plan = estimate(job)
        click.echo(json.dumps(plan, indent=2) if as_json else _plan_text(plan))
        return
    manifest = make_dataset(job)
    counts = manifest["counts"]
    published = None if repo is None else _push(Path(out), repo, private, replace)
    if as_json:
        told = {"out": str(out), "counts": counts} | ({"push": published} if published else {})
        click.echo(json.dumps(told, indent=2))
        return
    reasons = ", ".join(f"{reason} {times}" for reason, times in counts["rejected"].items())
    click.echo(f"{counts['accepted']} samples of {counts['attempted']} attempts in {out}")
    click.echo(f"rejected: {reasons or 'none'}")
    if note := empty_masks_note(counts):
        click.echo(note)
    if counts["filled_holes"]:
        click.echo(f"polygons fill {counts['filled_holes']} holes")
    if job.share:
        click.echo(f"share {job.share} is done; once all are: l4f-datagen merge {out}")
        return
    click.echo(f"open {out}/report.html")
    if published:
        click.echo(published["text"])


def _check_push(
    repo: str, recipe: "Recipe", *, yes: bool, private: bool | None, replace: bool
) -> None:
    """Check name, token, visibility and the repository before hours of work."""
    from l4f_datagen.hub import check_destination

    if not yes:
        remedy = "add --yes, or leave out --push and look first with `l4f-datagen push`"
        raise UsageError("--push", f"publishes at {repo} when the dataset is done", remedy)
    if "hf" not in recipe.output.formats:
        raise UsageError(
            "--push", "publishes Parquet files, and none are made", "add hf to formats"
        )
    check_destination(repo, recipe.model_dump(mode="json"), private=private, replace=replace)


def _push(folder: Path, repo: str, private: bool | None, replace: bool) -> dict[str, Any]:
    from l4f_datagen.cli.push import result_text
    from l4f_datagen.hub import plan_push, push

    job = plan_push(folder, repo, private=private)
    for note in job.content.notes:
        logger.warning("%s", note)
    done = push(job, replace=replace)
    return {**vars(done), "text": result_text(done)}


def _plan_text(plan: dict[str, Any]) -> str:
    lines = [f"{key:20s} {value}" for key, value in plan.items() if key != "recipe"]
    return "\n".join([plan["recipe"], *lines])
