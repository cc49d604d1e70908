"""``l4f-datagen validate``: score masks against hand-made truth."""

from pathlib import Path
from typing import Any, Literal

import click

from l4f_datagen.cli.source import FILE

FORMATS = (
    "png", "coco", "labelbox", "labelbox-legacy", "cvat", "cvat-masks", "label-studio", "labelme",
    "supervisely", "hf",
)  # fmt: skip


@click.command()
@click.option("--truth", type=FILE, required=True, help="Mask folder or annotation export.")
@click.option("--pred", type=FILE, required=True, help="Mask folder, COCO file or dataset.")
@click.option("--format", "truth_format", type=click.Choice(FORMATS), help="Told by content.")
@click.option("--category", help="Which class of the truth is foreground.")
@click.option("--mask-value", help="Which value of a mask PNG is foreground.")
@click.option("--masks-dir", type=FILE, help="Mask files that the truth refers to.")
@click.option("--download", is_flag=True, help="Fetch masks the truth names by URL (https).")
@click.option("--mask-host", multiple=True, metavar="HOST[:PORT]", help="Further host for it.")
@click.option("--boxes", type=click.Choice(["refuse", "fill"]), help="What a bare box means.")
@click.option(
    "--annotators",
    type=click.Choice(["majority", "union", "intersection", "first"]),
    help="How several annotators of one image become one mask.",
)
@click.option("--pred-category", help="Which class of the prediction is foreground.")
@click.option("--pred-mask-value", help="The same for its PNGs, e.g. '>0.9' for alpha.")
@click.option(
    "--pair-by",
    type=click.Choice(["auto", "key", "stem", "number"]),
    default="auto",
    show_default=True,
    help="How truth and prediction are paired.",
)
@click.option("--offset", type=int, help="Truth number minus prediction number.")
@click.option("--allow-unused", is_flag=True, help="Predictions without truth are fine.")
@click.option("--resize", type=click.Choice(["nearest"]), help="Allow sizes that differ.")
@click.option("--paper-compat", is_flag=True, help="Compute exactly as the paper's authors did.")
@click.option("--ap", "with_ap", is_flag=True, help="COCO average precision too.")
@click.option("--min-miou", type=click.FloatRange(0, 1), help="Exit 3 below this mIoU.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def validate(
    truth: Path,
    pred: Path,
    truth_format: str | None,
    download: bool,
    mask_host: tuple[str, ...],
    boxes: str | None,
    annotators: str | None,
    allow_unused: bool,
    resize: Literal["nearest"] | None,
    min_miou: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Score predicted masks against truth in the paper's columns, with 95 % intervals.

    Truth is read from mask folders, COCO, Labelbox, CVAT, Label Studio, LabelMe, Supervisely and
    Hugging Face datasets.
    """
    from l4f_datagen.annotations.download import LABELBOX_HOSTS, mask_downloader
    from l4f_datagen.errors import BelowScore
    from l4f_datagen.scoring import score_folder

    named = {"format": truth_format, "boxes": boxes, "annotators": annotators}
    options |= {name: value for name, value in named.items() if value is not None}
    if download or mask_host:
        options["download"] = mask_downloader(hosts=LABELBOX_HOSTS | set(mask_host))
    report = score_folder(pred, truth, resize=resize, allow_unused=allow_unused or None, **options)
    click.echo(report.to_json() if as_json else report.to_text(f"{pred} against {truth}"))
    if min_miou is not None and report.scores.miou < min_miou:
        reached = f"mIoU {report.scores.miou:.4f} is below the asked {min_miou}"
        raise BelowScore(str(pred), reached, "look at the worst images first")
