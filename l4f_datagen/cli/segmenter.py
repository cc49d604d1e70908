"""``l4f-datagen segmenter``: a network for real photographs, learnt from a generated dataset."""

import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l4f_datagen.cli.options import (
    DEVICE,
    FILE,
    JSON,
    THRESHOLD,
    open_annotated,
    option,
    scoring_options,
    truth_options,
)

if TYPE_CHECKING:
    from l4f_datagen.segmenter.model import Segmenter

logger = logging.getLogger(__name__)


@click.group()
def segmenter() -> None:
    """Train a small U-Net on a dataset and use it on real photographs."""


@segmenter.command("train")
@click.argument("dataset", type=FILE)
@option("--out --outdir", FILE, "Folder of the training run.", required=True)
@option("--steps", click.IntRange(1, 10**7), "Number of steps; default: 1000.")
@option("--epochs", click.FloatRange(0, 10**5, min_open=True), "Length in epochs instead of steps.")
@option("--size", click.IntRange(8, 4096), "Longer side in px; default: at most 256.")
@option("--batch", click.IntRange(1, 1024), None, 32)
@option("--width", click.IntRange(1, 128), None, 16)
@option("--seed", click.IntRange(0, 2**32 - 1), None, 0)
@option(
    "--symmetry",
    "none|mirror|square",
    "Show images mirrored too, or in all eight turns and flips where they have no upright.",
    "mirror",
)
@option("--verify/--no-verify", bool, "Check the dataset's hashes first.", True)
@DEVICE
def train(dataset: Path, out: Path, **options: Any) -> None:
    r"""Train on a DATASET that `make` has finished; the same command resumes.

    \b
    Examples:
      l4f-datagen segmenter train dataset --out segmenter
      l4f-datagen segmenter train dataset --out segmenter --epochs 20 --size 128

    Samples outside the dataset's split `train`, or else a tenth chosen by seed, are held out and
    scored. Writes segmenter.safetensors, segmenter.json and log.jsonl to OUT.
    """
    from l4f_datagen.core.errors import UsageError

    if options["steps"] and options["epochs"]:
        raise UsageError("--steps", "given together with --epochs", "name one of them")
    from l4f_datagen.segmenter.run import train_on_dataset

    result = train_on_dataset(dataset, out, **options)
    words = ["segmenter", "predict", str(result), "PHOTOS", "--out", "masks"]
    logger.info("next: %s", shlex.join(["l4f-datagen", *words]))
    copy = ["l4f-datagen", "push", str(dataset), "--to-folder", f"{dataset}-copy"]
    logger.info("what a push would publish, as a folder: %s", shlex.join(copy))
    click.echo(str(result))


@segmenter.command("score")
@click.argument("model", type=FILE)
@truth_options(required=True, predicted="photograph")
@option("--images", FILE, "Their photographs (default: TRUTH/images).")
@scoring_options
@JSON
@THRESHOLD
@DEVICE
def score(
    model: Path,
    truth: Path,
    images: Path | None,
    allow_unused: bool,
    paper_compat: bool,
    min_miou: float | None,
    as_json: bool,
    device: str,
    **options: Any,
) -> None:
    r"""Score a MODEL on real annotated photographs, with the table of `validate`.

    Photographs may have any size: each is scaled until its longer side is the trained size, and
    the mask is scaled back.

    \b
    l4f-datagen segmenter score run/segmenter.safetensors --truth labels --images photos
    l4f-datagen segmenter score run/segmenter.safetensors --truth coco.json --images photos --ap
    """
    from l4f_datagen.core.errors import BelowScore, UsageError
    from l4f_datagen.segmenter.photos import open_photos, score_photos

    if images is None:
        images = truth / "images"
        if not images.is_dir():
            raise UsageError("--images", "not given, and no images/ in --truth", "name the folder")
    opened = _open(model, device)
    truth_set = open_annotated(truth, options, exact_white=paper_compat)
    report = score_photos(
        opened,
        open_photos(images),
        truth_set,
        allow_unused=allow_unused or None,
        paper_compat=paper_compat,
        **options,
    )
    click.echo(report.to_json() if as_json else report.to_text(f"{model} against {truth}"))
    if min_miou is not None and report.scores.miou < min_miou:
        reached = f"mIoU {report.scores.miou:.4f} is below the asked {min_miou}"
        raise BelowScore(str(model), reached, "look at the worst images first")


@segmenter.command("predict")
@click.argument("model", type=FILE)
@click.argument("images", type=FILE)
@option("--out --outdir", FILE, "Folder of the masks.", required=True)
@option("--alpha with_alpha", bool, "Also write the soft alpha.")
@option("--overwrite", bool, "Replace existing masks.")
@THRESHOLD
@DEVICE
def predict(model: Path, images: Path, out: Path, device: str, **options: Any) -> None:
    r"""Write a mask PNG (0 or 255) for each of IMAGES, a file or a folder, at its own size.

    Masks go to OUT/masks, soft alphas to OUT/alpha; `validate --pred OUT` reads both.

    \b
    l4f-datagen segmenter predict run/segmenter.safetensors photos --out masks
    l4f-datagen segmenter predict run/segmenter.safetensors photo.jpg --out masks --alpha
    """
    from l4f_datagen.core.errors import InputRefused
    from l4f_datagen.segmenter.photos import open_photos, write_masks

    photos = open_photos(images)
    refused = len(write_masks(_open(model, device), photos, out, **options))
    click.echo(f"{len(photos.names) - refused} masks in {out}")
    if refused:
        problem = f"{refused} of {len(photos.names)} were refused"
        raise InputRefused(str(images), problem, "see the lines above")


@segmenter.command("export")
@click.argument("model", type=FILE)
@click.argument("target", metavar="FILE.onnx", type=FILE)
@option("--overwrite", bool, "Replace an existing file.")
def export(model: Path, target: Path, overwrite: bool) -> None:
    r"""Export a MODEL as ONNX, any batch and size; checked against torch before it is written.

    Input `image`: float32 batch 3 h w in [-1, 1]; output `alpha`: batch 1 h w in [0, 1].

    \b
    l4f-datagen segmenter export run/segmenter.safetensors segmenter.onnx
    l4f-datagen segmenter export run/segmenter.safetensors segmenter.onnx --overwrite
    """
    from l4f_datagen.segmenter.export import export_onnx

    difference = export_onnx(_open(model, "cpu"), target, overwrite=overwrite)
    click.echo(f"ONNX Runtime and torch differ by {difference:.1e} at most", err=True)
    click.echo(str(target))


def _open(model: Path, device: str) -> "Segmenter":
    from l4f_datagen.models.devices import choose_device
    from l4f_datagen.segmenter.model import open_segmenter

    return open_segmenter(model, choose_device(device))
