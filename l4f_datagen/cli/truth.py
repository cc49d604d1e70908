"""Options that name an annotated set and how it is read; `validate` and `train` share them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l4f_datagen.cli.source import FILE, Command

if TYPE_CHECKING:
    from l4f_datagen.annotations import TruthSet

FORMATS = (
    "png", "coco", "coco-results", "labelbox", "labelbox-legacy", "cvat", "cvat-masks",
    "label-studio", "labelme", "labelme-xml", "cityscapes", "supervisely", "via", "yolo",
    "createml", "hf",
)  # fmt: skip
NAMES = (
    "truth_format", "category", "ignore_category", "mask_value", "ignore_value", "unannotated",
    "crowd", "masks_dir", "download", "mask_host", "boxes", "annotators",
)  # fmt: skip


def _added(options: list[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def reading_options() -> Callable[[Command], Command]:
    """Add the options of how an annotated set is read; `open_annotated` takes them."""
    return _added([
        click.option(
            "--format", "truth_format", type=click.Choice(FORMATS),
            help="Format of the truth (default: found by content).",
        ),
        click.option("--category", help="Which class of the truth is foreground, '*' for all."),
        click.option(
            "--ignore-category", multiple=True, metavar="NAME",
            help="A class whose areas are not scored; may be repeated.",
        ),
        click.option(
            "--mask-value",
            help="Which pixels of mask images are foreground: 7 (up to 65535), '#ff0000', '>127', "
            "alpha.",
        ),
        click.option(
            "--ignore-value", multiple=True, metavar="VALUE",
            help="A level or colour of mask images that is not scored; may be repeated.",
        ),
        click.option(
            "--unannotated", type=click.Choice(["skip", "empty"]),
            help="Images that nobody annotated: left out, or scored as images without object "
            "(default: skip).",
        ),
        click.option(
            "--crowd", type=click.Choice(["auto", "ignore", "object"]),
            help="COCO areas marked iscrowd: not scored, or objects (default: objects where CVAT "
            "or Datumaro wrote the file).",
        ),
        click.option("--masks-dir", type=FILE, help="Folder of mask files the truth refers to."),
        click.option(
            "--download", is_flag=True,
            help="Fetch masks that the truth names by URL; LABELBOX_API_KEY holds the key.",
        ),
        click.option(
            "--mask-host", multiple=True, metavar="HOST[:PORT]",
            help="A further host that --download may ask; may be repeated.",
        ),
        click.option(
            "--boxes", type=click.Choice(["refuse", "fill"]),
            help="Boxes without an outline: refuse the image, or fill them (default: refuse).",
        ),
        click.option(
            "--annotators", type=click.Choice(["majority", "union", "intersection", "first"]),
            help="How several annotators of one image become one mask (default: majority).",
        ),
    ])  # fmt: skip


def truth_options(*, required: bool) -> Callable[[Command], Command]:
    """Add all options of an annotated set to a command."""
    return _added([
        click.option(
            "--truth", type=FILE, required=required, help="Mask folder or annotation export."
        ),
        click.option(
            "--keys", type=FILE, help="keys.csv of `sample`, or its folder: checks the images."
        ),
        reading_options(),
        click.option(
            "--pair-by", type=click.Choice(["auto", "key", "stem", "number"]), default="auto",
            show_default=True, help="How truth and prediction are paired.",
        ),
        click.option("--offset", type=int, help="Truth number minus prediction number."),
    ])  # fmt: skip


def open_annotated(
    truth: Path, options: dict[str, Any], *, exact_white: bool = False
) -> "TruthSet":
    """Open an annotated set; the options of `reading_options` are taken out of ``options``.

    Raises:
        AnnotationRefused: see `load_annotations`.
    """
    from l4f_datagen.annotations import load_annotations
    from l4f_datagen.annotations.mask_files import LABELBOX_HOSTS, mask_downloader

    given = {name: options.pop(name) for name in NAMES}
    given["format"] = given.pop("truth_format")
    hosts = given.pop("mask_host")
    if given.pop("download") or hosts:
        given["download"] = mask_downloader(hosts=LABELBOX_HOSTS | set(hosts))
    given = {name: value for name, value in given.items() if value is not None}
    return load_annotations(truth, exact_white=exact_white, **given)
