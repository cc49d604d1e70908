"""``l4f-datagen refine``: masks of any origin, drawn to the edges of their images."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from l4f_datagen.cli.source import FILE

if TYPE_CHECKING:
    from l4f_datagen.rendering.refine import Method


@click.command()
@click.option("--images", type=FILE, required=True, help="Folder of the images.")
@click.option("--masks", type=FILE, required=True, help="Folder of their masks, of the same names.")
@click.option("--out", "--outdir", type=FILE, required=True, help="Folder to write.")
@click.option(
    "--method",
    type=click.Choice(["guided", "matting"]),
    default="matting",
    show_default=True,
    help="Guided filter (fast) or closed-form matting (closer; needs pymatting).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object to stdout.")
def refine(images: Path, masks: Path, out: Path, method: "Method", as_json: bool) -> None:
    r"""Draw masks to the edges of their images.

    Writes a soft OUT/alpha/NAME.png and a hard OUT/masks/NAME.png for each mask. In a dataset,
    `make --set sampling.refine=guided` does the same before masks are cut and filtered.

    \b
    Examples:
      l4f-datagen refine --images photos --masks masks --out refined
      l4f-datagen refine --images photos --masks masks --out refined --method guided
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
