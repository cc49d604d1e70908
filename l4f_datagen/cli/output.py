"""Options of ``make`` that say what is written, and the recipe keys they set."""

from typing import Any

import click

from l4f_datagen.cli.source import Command, given
from l4f_datagen.core.options import FORMAT_LIST

OPTIONS = (
    click.option(
        "--formats",
        type=FORMAT_LIST,
        help="Any of png,coco,hf,imagefolder,webdataset,yolo; default: the recipe's.",
    ),
    click.option(
        "--image-format",
        type=click.Choice(["png", "webp", "jpeg"]),
        help="File format of images; webp is lossless here. Masks and alphas stay PNG.",
    ),
    click.option("--alpha-bits", type=click.Choice(["8", "16"]), help="Bits per pixel of alphas."),
    click.option("--cutouts/--no-cutouts", default=None, help="Also write RGBA cut-outs."),
    click.option(
        "--composites",
        metavar="none|generated|FOLDER",
        help="Also write objects over generated backgrounds, or over images of a folder.",
    ),
    click.option(
        "--coco-segmentation",
        type=click.Choice(["rle", "polygon"]),
        help="RLE is exact; polygons fill holes, which are counted.",
    ),
    click.option(
        "--instances",
        type=click.Choice(["image", "components"]),
        help="coco, yolo: one object per image, or one per connected component.",
    ),
    click.option(
        "--keep-rejected/--no-keep-rejected",
        default=None,
        help="Also write rejected samples, to rejected/; no index lists them.",
    ),
)


def output_options(command: Command) -> Command:
    """Add the options to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def output_keys(flags: dict[str, Any]) -> dict[str, object]:
    """Take the values of the options out of ``flags``; return recipe keys of the given ones."""
    names = ("formats", "image_format", "cutouts", "coco_segmentation", "instances")
    keys = {name: flags.pop(name) for name in (*names, "keep_rejected")}
    bits, composites = flags.pop("alpha_bits"), flags.pop("composites")
    keys["alpha_bits"] = None if bits is None else int(bits)
    found = given({f"output.{name}": value for name, value in keys.items()})
    if composites is None:
        return found
    own = composites not in ("none", "generated")
    return found | {
        "output.composites": "folder" if own else composites,
        "output.composites_folder": composites if own else None,
    }
