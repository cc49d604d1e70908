"""Options that name an annotated set and how it is read; `validate` and `train` share them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l4f_datagen.cli.source import FILE, Command

if TYPE_CHECKING:
    from l4f_datagen.annotations import TruthSet

FORMATS = (
    "png", "coco", "labelbox", "labelbox-legacy", "cvat", "cvat-masks", "label-studio", "labelme",
    "supervisely", "hf",
)  # fmt: skip
NAMES = (
    "truth_format", "category", "mask_value", "masks_dir", "download", "mask_host", "boxes",
    "annotators",
)  # fmt: skip


def truth_options(*, required: bool) -> Callable[[Command], Command]:
    """Add the options of an annotated set to a command."""
    options = [
        click.option(
            "--truth", type=FILE, required=required, help="Mask folder or annotation export."
        ),
        click.option(
            "--keys", type=FILE, help="keys.csv of `sample`, or its folder: checks the pictures."
        ),
        click.option(
            "--format", "truth_format", type=click.Choice(FORMATS), help="Of the truth; told alone."
        ),
        click.option("--category", help="Which class of the truth is foreground."),
        click.option("--mask-value", help="Which value of a mask PNG is foreground."),
        click.option("--masks-dir", type=FILE, help="Mask files that the truth refers to."),
        click.option("--download", is_flag=True, help="Fetch masks the truth names by URL."),
        click.option("--mask-host", multiple=True, metavar="HOST[:PORT]", help="One more for it."),
        click.option(
            "--boxes", type=click.Choice(["refuse", "fill"]), help="What a bare box means."
        ),
        click.option(
            "--annotators",
            type=click.Choice(["majority", "union", "intersection", "first"]),
            help="How several annotators of one image become one mask.",
        ),
        click.option(
            "--pair-by",
            type=click.Choice(["auto", "key", "stem", "number"]),
            default="auto",
            show_default=True,
            help="How truth and prediction are paired.",
        ),
        click.option("--offset", type=int, help="Truth number minus prediction number."),
    ]

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def open_annotated(
    truth: Path, options: dict[str, Any], *, exact_white: bool = False
) -> "TruthSet":
    """Open the annotated set that the options name; what they say of it is taken out of them.

    Raises:
        AnnotationRefused: see `open_truth`.
    """
    from l4f_datagen.annotations import open_truth
    from l4f_datagen.annotations.download import LABELBOX_HOSTS, mask_downloader

    told = {name: options.pop(name) for name in NAMES}
    told["format"] = told.pop("truth_format")
    hosts = told.pop("mask_host")
    if told.pop("download") or hosts:
        told["download"] = mask_downloader(hosts=LABELBOX_HOSTS | set(hosts))
    given = {name: value for name, value in told.items() if value is not None}
    return open_truth(truth, exact_white=exact_white, **given)
