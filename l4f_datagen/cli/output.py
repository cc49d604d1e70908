"""Options of ``make`` that say what is written, and the recipe keys they set."""

from typing import Any

import click

from l4f_datagen.cli.source import Command, quoted
from l4f_datagen.core.options import FORMAT_LIST

OPTIONS = (
    click.option(
        "--formats",
        type=FORMAT_LIST,
        help="Of png,coco,hf,imagefolder,webdataset,yolo (default: the recipe's).",
    ),
    click.option(
        "--image-format",
        type=click.Choice(["png", "webp", "jpeg"]),
        help="Of images; webp is lossless here. Masks and alphas stay PNG.",
    ),
    click.option("--alpha-bits", type=click.Choice(["8", "16"]), help="Depth of the alphas."),
    click.option("--cutouts/--no-cutouts", default=None, help="RGBA pictures too, in rgba/."),
    click.option(
        "--composites",
        metavar="none|generated|FOLDER",
        help="The objects over generated backgrounds, or over the pictures of a folder.",
    ),
    click.option(
        "--coco-segmentation",
        type=click.Choice(["rle", "polygon"]),
        help="Polygons fill holes; they are counted.",
    ),
    click.option(
        "--instances",
        type=click.Choice(["image", "components"]),
        help="coco, yolo: one object an image, or one a connected component.",
    ),
    click.option(
        "--keep-rejected/--no-keep-rejected",
        default=None,
        help="Write rejected samples too, in rejected/; no index lists them.",
    ),
)


def output_options(command: Command) -> Command:
    """Add the options to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def output_keys(flags: dict[str, Any]) -> dict[str, str | None]:
    """Take the values of the options out of ``flags``; give recipe keys and YAML, None if unset."""
    formats, cutouts = flags.pop("formats"), flags.pop("cutouts")
    composites, keep = flags.pop("composites"), flags.pop("keep_rejected")
    own = composites not in (None, "none", "generated")
    return {
        "output.formats": f"[{', '.join(formats)}]" if formats else None,
        "output.image_format": flags.pop("image_format"),
        "output.alpha_bits": flags.pop("alpha_bits"),
        "output.cutouts": None if cutouts is None else str(cutouts).lower(),
        "output.composites": "folder" if own else composites,
        "output.composites_folder": (
            None if composites is None else quoted(composites) if own else "null"
        ),
        "output.coco_segmentation": flags.pop("coco_segmentation"),
        "output.instances": flags.pop("instances"),
        "output.keep_rejected": None if keep is None else str(keep).lower(),
    }
