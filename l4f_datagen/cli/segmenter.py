"""``l4f-datagen segmenter``: a network for real photographs, learnt from a generated dataset."""

import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l4f_datagen.cli import options as shared
from l4f_datagen.cli.options import DEVICE, FILE, THRESHOLD, option
from l4f_datagen.core.errors import InputRefused, UsageError

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
@option("--symmetry", shared.SYMMETRY, "Show images mirrored, or in all turns and flips.", "mirror")
@option("--verify/--no-verify", bool, "Check the dataset's hashes first.", True)
@DEVICE
def train(dataset: Path, out: Path, **options: Any) -> None:
    """Train on a DATASET that `make` has finished; the same command resumes.

    Samples outside the dataset's split `train`, or else a tenth chosen by seed, are held out and
    scored. Writes segmenter.safetensors, segmenter.json and log.jsonl to OUT.

    l4f-datagen segmenter train dataset --out segmenter
    l4f-datagen segmenter train dataset --out segmenter --epochs 20 --size 128
    """
    if options["steps"] and options["epochs"]:
        raise UsageError("--steps", "given together with --epochs", "name one of them")
    from l4f_datagen.segmenter.run import train_on_dataset

    result = train_on_dataset(dataset, out, **options)
    model, data, copy = (shlex.quote(str(path)) for path in (result, dataset, f"{dataset}-copy"))
    logger.info("next: l4f-datagen segmenter predict %s PHOTOS --out masks", model)
    copying = f"l4f-datagen push {data} --to-folder {copy}"
    logger.info("what a push would publish, as a folder: %s", copying)
    click.echo(str(result))


@segmenter.command("score")
@click.argument("model", type=FILE)
@shared.truth_options(required=True, predicted="photograph")
@option("--images", FILE, "Their photographs (default: TRUTH/images).")
@shared.SCORING
@shared.JSON
@THRESHOLD
@DEVICE
def score(
    model: Path, truth: Path, images: Path | None, min_miou: float | None, **options: Any
) -> None:
    """Score a MODEL on real annotated photographs, with the table of `validate`.

    Each is scaled until its longer side is the trained size, and the mask is scaled back.

    l4f-datagen segmenter score run/segmenter.safetensors --truth labels --images photos
    l4f-datagen segmenter score run/segmenter.safetensors --truth coco.json --images photos --ap
    """
    from l4f_datagen.segmenter.photos import open_photos, score_photos

    if images is None:
        images = truth / "images"
        if not images.is_dir():
            raise UsageError("--images", "not given, and no images/ in --truth", "name the folder")
    opened, as_json = _open(model, options.pop("device")), options.pop("as_json")
    options["allow_unused"] = options["allow_unused"] or None
    truth_set = shared.open_annotated(truth, options, exact_white=options["paper_compat"])
    report = score_photos(opened, open_photos(images), truth_set, **options)
    click.echo(report.to_json() if as_json else report.to_text(f"{model} against {truth}"))
    shared.require_miou(min_miou, report, str(model))


@segmenter.command("predict")
@click.argument("model", type=FILE)
@click.argument("images", type=FILE)
@option("--out --outdir", FILE, "Folder of the masks.", required=True)
@option("--alpha with_alpha", bool, "Also write the soft alpha.")
@option("--overwrite", bool, "Replace existing masks.")
@THRESHOLD
@DEVICE
def predict(model: Path, images: Path, out: Path, device: str, **options: Any) -> None:
    """Write a mask PNG (0 or 255) for each of IMAGES, a file or a folder, at its own size.

    Masks go to OUT/masks, soft alphas to OUT/alpha; `validate --pred OUT` reads both.

    l4f-datagen segmenter predict run/segmenter.safetensors photos --out masks
    l4f-datagen segmenter predict run/segmenter.safetensors photo.jpg --out masks --alpha
    """
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
    """Export a MODEL as ONNX, any batch and size; checked against torch before it is written.

    Input `image`: float32 batch 3 h w in [-1, 1]; output `alpha`: batch 1 h w in [0, 1].

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
