"""``l4f-datagen validate``: score masks against hand-made truth."""

from pathlib import Path
from typing import Literal

import click

from l4f_datagen.cli.source import FILE


@click.command()
@click.option("--truth", type=FILE, required=True, help="Mask folder or annotation export.")
@click.option("--pred", type=FILE, required=True, help="Mask folder, COCO file or dataset.")
@click.option("--category", help="Which class of the truth is foreground.")
@click.option("--mask-value", help="Which value of a mask PNG is foreground.")
@click.option("--pred-mask-value", help="The same for the prediction, e.g. '>0.9' for alpha.")
@click.option(
    "--pair-by",
    type=click.Choice(["auto", "key", "stem", "number"]),
    default="auto",
    show_default=True,
    help="How truth and prediction are paired.",
)
@click.option("--offset", type=int, help="Prediction number minus truth number.")
@click.option("--resize", type=click.Choice(["nearest"]), help="Allow sizes that differ.")
@click.option("--paper-compat", is_flag=True, help="Compute exactly as the paper's authors did.")
@click.option("--min-miou", type=click.FloatRange(0, 1), help="Exit 3 below this mIoU.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def validate(
    truth: Path,
    pred: Path,
    category: str | None,
    mask_value: str | None,
    pred_mask_value: str | None,
    pair_by: Literal["auto", "key", "stem", "number"],
    offset: int | None,
    resize: Literal["nearest"] | None,
    paper_compat: bool,
    min_miou: float | None,
    as_json: bool,
) -> None:
    """Score predicted masks against truth in the paper's columns, with 95 % intervals."""
    from l4f_datagen.errors import BelowScore
    from l4f_datagen.scoring import score_folder

    report = score_folder(
        pred,
        truth,
        category=category,
        mask_value=mask_value,
        pred_mask_value=pred_mask_value,
        pair_by=pair_by,
        offset=offset,
        resize=resize,
        paper_compat=paper_compat,
    )
    click.echo(report.to_json() if as_json else report.to_text(f"{pred} against {truth}"))
    if min_miou is not None and report.scores.miou < min_miou:
        reached = f"mIoU {report.scores.miou:.4f} is below the asked {min_miou}"
        raise BelowScore(str(pred), reached, "look at the worst images first")
