"""Commands on finished datasets: ``merge``, ``verify``, ``report``, ``card`` and ``refine``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from l4f_datagen.cli.options import DEVICE, FILE, JSON, OFFLINE, PLACE, option

if TYPE_CHECKING:
    from l4f_datagen.rendering.refine import Method

SHOWN = 20
"""Problems that ``verify`` prints: about a screen."""


@click.command()
@click.argument("parts", nargs=-1, required=True, type=PLACE, metavar="OUT | PARTS...")
@option("--out --outdir", PLACE, "New dataset folder, to copy PARTS into.")
@option("--fill", bool, "Render missing shards here.")
@DEVICE
@OFFLINE
@JSON
def merge(
    parts: tuple[Path | str, ...],
    out: Path | str | None,
    fill: bool,
    device: str,
    offline: bool,
    as_json: bool,
) -> None:
    r"""Finish a dataset that jobs of `make --shard i/n` made: indexes, card, contact sheet.

    If the jobs shared one folder or URL, name it alone: merge OUT. If each wrote to its own folder,
    name all of them: merge PARTS... --out OUT. The result has the bytes of one make without
    --shard. If accepted samples are counted, the last shard is rendered again.

    \b
    l4f-datagen merge cars                        # jobs that shared one folder
    l4f-datagen merge part0 part1 --out cars      # a folder each
    """
    from l4f_datagen.core.errors import UsageError
    from l4f_datagen.pipeline.merge import MergeConfig, merge_dataset

    folders = tuple(part for part in parts if isinstance(part, Path))
    if out is None and len(parts) > 1:
        raise UsageError("merge", "takes one OUT, or PARTS with --out", "name --out FOLDER")
    if out is not None and len(folders) < len(parts):
        raise UsageError("merge", "PARTS must be folders", "let the jobs write to one URL")
    place = parts[0] if out is None else out
    manifest = merge_dataset(MergeConfig(place, folders if out else (), fill, device, offline))
    counts = manifest["counts"]
    if as_json:
        click.echo(json.dumps({"out": str(place), "counts": counts}, indent=2))
        return
    click.echo(f"{counts['accepted']} samples of {counts['attempted']} attempts in {place}")


@click.command()
@click.argument("dataset", type=FILE)
@option("--remove-changed", bool, "Delete changed files, so that `make` writes their shards again.")
@JSON
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


@click.command()
@click.argument("dataset", type=FILE)
@option("--out", FILE, "File to write. Default: in the dataset's folder.")
@option("--contact-sheet", bool, "Write contact_sheet.png instead of the page.")
def report(dataset: Path, out: Path | None, contact_sheet: bool) -> None:
    r"""Write DATASET/report.html: numbers, charts and a gallery, worst samples first.

    The page is one file that opens from disk and needs no network. `make` writes it too; this
    command is for a dataset of an older version, or one that was fetched from the Hub.

    \b
    l4f-datagen report cars
    l4f-datagen report cars --contact-sheet --out cars.png
    """
    from l4f_datagen.report.pages import write_contact_sheet, write_page

    write = write_contact_sheet if contact_sheet else write_page
    click.echo(str(write(dataset, out)))


@click.command()
@click.argument("folder", type=FILE, metavar="DATASET")
def card(folder: Path) -> None:
    r"""Write DATASET/README.md anew from its manifest and recorded scores.

    What you wrote below the card's marker stays.

    \b
    l4f-datagen card cars
    l4f-datagen validate --pred cars --truth labels --record && l4f-datagen card cars
    """
    from l4f_datagen.report.card import rewrite_card

    click.echo(str(rewrite_card(folder)))


@click.command()
@option("--images", FILE, "Folder of the images.", required=True)
@option("--masks", FILE, "Folder of their masks, of the same names.", required=True)
@option("--out --outdir", FILE, "Folder to write.", required=True)
@option(
    "--method",
    "guided|matting",
    "Colours and guided filter, or closed-form matting (needs pymatting).",
    "guided",
)
@JSON
def refine(images: Path, masks: Path, out: Path, method: "Method", as_json: bool) -> None:
    r"""Draw masks to the edges of their images.

    Writes a soft OUT/alpha/NAME.png and a hard OUT/masks/NAME.png for each mask. In a dataset,
    `make` does the same before masks are cut and filtered.

    \b
    Examples:
      l4f-datagen refine --images photos --masks masks --out refined
      l4f-datagen refine --images photos --masks masks --out refined --method matting
    """
    from l4f_datagen.core.progress import Meter
    from l4f_datagen.pipeline.refine_files import refine_files

    with Meter(None, "refine", "masks") as meter:
        counts = refine_files(images, masks, out, method, meter.advance)
    if as_json:
        click.echo(json.dumps({"out": str(out), **counts}, indent=2))
        return
    click.echo(f"{counts['masks']} masks in {out}/masks, soft in {out}/alpha")
    if counts["unchanged"]:
        click.echo(f"{counts['unchanged']} of them are as they were")
