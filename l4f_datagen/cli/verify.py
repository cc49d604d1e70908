"""``l4f-datagen verify``: every file of a dataset against the hashes of its manifest."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from l4f_datagen.cli.source import FILE

SHOWN = 20


@click.command()
@click.argument("dataset", type=FILE)
@click.option(
    "--remove-changed",
    is_flag=True,
    help="Delete changed files, so that `make` writes their shards again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object to stdout.")
def verify(dataset: Path, remove_changed: bool, as_json: bool) -> None:
    r"""Compare every file of a finished dataset with the hashes in its manifest.

    Lists each file that is missing, cut short, changed or not part of the dataset, with a remedy.
    The exit code is 1 if there is one. Works on folders that `make` has finished and on datasets
    downloaded from the Hugging Face Hub.

    \b
    Examples:
      l4f-datagen verify out/cars
      l4f-datagen verify out/cars --json
    """
    from l4f_datagen.core.errors import L4FError
    from l4f_datagen.core.progress import Meter
    from l4f_datagen.dataset import verify as checks
    from l4f_datagen.dataset.manifest import read_manifest

    files = checks.count_files(read_manifest(dataset))
    with Meter(files, "verify", "files") as meter:
        problems = checks.verify_dataset(dataset, meter.advance)
    if remove_changed:
        checks.remove_changed(dataset, problems)
    if as_json:
        told = {"dataset": str(dataset), "files": files, "problems": list(map(asdict, problems))}
        click.echo(json.dumps(told, indent=2))
    else:
        for problem in problems[:SHOWN]:
            click.echo(str(problem))
        if len(problems) > SHOWN:
            click.echo(f"and {len(problems) - SHOWN} more; --json lists all")
    if problems:
        raise L4FError(
            str(dataset),
            f"{len(problems)} of {files} files are not as manifest.json lists them",
            "run the same `make` again now" if remove_changed else "do what each line says",
        )
    if not as_json:
        click.echo(f"{files} files are as manifest.json lists them")
