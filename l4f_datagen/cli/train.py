"""``l4f-datagen train``: train the alpha network of a recipe."""

from pathlib import Path
from typing import Any

import click

from l4f_datagen.cli.source import FILE, resolve_recipe, source_options


@click.command()
@source_options
@click.option("--out", "--outdir", type=FILE, required=True, help="Folder of the training run.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Seed of the training.")
@click.option("--steps", type=click.IntRange(1), help="Length of the training.")
@click.option("--reals", help="generator, toy-cars, or a folder of images.")
@click.option("--dry-run", is_flag=True, help="Print the resolved recipe and stop.")
def train(
    out: Path,
    seed: int | None,
    steps: int | None,
    reals: str | None,
    dry_run: bool,
    device: str,
    offline: bool,
    **source: Any,
) -> None:
    """Train an alpha network without labels; the same command resumes.

    Writes alpha.safetensors, snapshots, preview sheets and log.jsonl to OUT.
    """
    from l4f_datagen.alpha.reals import REALS

    training = {"seed": seed, "steps": steps}
    flags = [f"alpha.training.{k}={v}" for k, v in training.items() if v is not None]
    if reals in REALS:
        flags.append(f"alpha.training.reals={reals}")
    elif reals is not None:
        flags += ["alpha.training.reals=folder", f"alpha.training.reals_folder={reals!r}"]
    recipe = resolve_recipe(**source, flags=(*flags, "alpha.weights=null"))
    if dry_run:
        click.echo(recipe.dump(), nl=False)
        return
    from l4f_datagen.alpha.run import run_training
    from l4f_datagen.weights import choose_device, obtain_generator

    checkpoint, generator = obtain_generator(
        recipe.generator, choose_device(device), offline=offline
    )
    result = run_training(recipe.alpha, generator, checkpoint, out, say=_say)
    click.echo(str(result))


def _say(line: str) -> None:
    click.echo(line, err=True)
