"""``l4f-datagen make``: the main job."""

import json
from pathlib import Path
from typing import Any

import click

from l4f_datagen.cli.source import FILE, resolve_recipe, source_options
from l4f_datagen.options import FORMAT_LIST, PSI_LIST


@click.command()
@source_options
@click.option("--n", "number", type=click.IntRange(1, 10**9), required=True, help="How many.")
@click.option(
    "--count",
    type=click.Choice(["accepted", "attempts"]),
    default="accepted",
    show_default=True,
    help="What --n counts.",
)
@click.option("--out", "--outdir", type=FILE, required=True, help="Dataset folder.")
@click.option("--psi", "--trunc", type=PSI_LIST, help="Truncations: 0.7 or 0.5,0.7 or 0.5:1,0.7:2.")
@click.option("--seeds", help="Seeds of every psi: 0-99,120; default as many as it takes.")
@click.option("--formats", type=FORMAT_LIST, help="png,coco,hf (default: the recipe's).")
@click.option("--mask-threshold", type=click.FloatRange(0, 1, max_open=True), help="alpha > this.")
@click.option("--noise-mode", type=click.Choice(["const", "random", "none"]))
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]))
@click.option("--overwrite", is_flag=True, help="Throw away what the folder holds.")
@click.option("--dry-run", is_flag=True, help="Print plan, counts, disk and time; touch nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def make(
    number: int,
    count: str,
    out: Path,
    psi: tuple[float, ...] | None,
    seeds: str | None,
    formats: tuple[str, ...] | None,
    mask_threshold: float | None,
    noise_mode: str | None,
    precision: str | None,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
    device: str,
    offline: bool,
    **source: Any,
) -> None:
    """Make a labelled dataset: images, soft alphas, masks, COCO, Parquet, card, contact sheet.

    The same command resumes an interrupted run and ends with the same bytes.
    """
    named = {
        "sampling.psi": list(psi) if psi else None,
        "sampling.seeds": f"'{seeds}'" if seeds else None,
        "sampling.noise_mode": noise_mode,
        "sampling.precision": precision,
        "output.formats": f"[{', '.join(formats)}]" if formats else None,
        "output.mask_threshold": mask_threshold,
    }
    flags = tuple(f"{key}={value}" for key, value in named.items() if value is not None)
    recipe = resolve_recipe(**source, flags=flags)

    from l4f_datagen.pipeline import Job, make_dataset

    job = Job(recipe, out, number, count, device=device, overwrite=overwrite, offline=offline)
    if dry_run:
        from l4f_datagen.estimate import estimate

        plan = estimate(job)
        click.echo(json.dumps(plan, indent=2) if as_json else _plan_text(plan))
        return
    manifest = make_dataset(job, say=lambda line: click.echo(line, err=True))
    counts = manifest["counts"]
    if as_json:
        click.echo(json.dumps({"out": str(out), "counts": counts}, indent=2))
        return
    reasons = ", ".join(f"{reason} {times}" for reason, times in counts["rejected"].items())
    click.echo(f"{counts['accepted']} samples of {counts['attempted']} attempts in {out}")
    click.echo(f"rejected: {reasons or 'none'}")
    click.echo(f"look at {out / 'contact_sheet.png'}")


def _plan_text(plan: dict[str, Any]) -> str:
    lines = [f"{key:20s} {value}" for key, value in plan.items() if key != "recipe"]
    return "\n".join([plan["recipe"], *lines])
