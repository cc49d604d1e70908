"""IoU of digit masks against the thresholded images. python benchmarks/digits.py DATASET.

Digits are white on black, so the pixels above mid-grey are the truth. The outer
two pixels are left out: some converted digit networks draw a faint frame there.
"""

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.scoring.image_score import score_image
from l4f_datagen.scoring.metrics import pool

FRAME_PX = 2
MID_GREY = 127


def read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        plane = np.asarray(image.convert("L"))
    return plane[FRAME_PX:-FRAME_PX, FRAME_PX:-FRAME_PX]


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path, exists=True))
def main(dataset: Path) -> None:
    images = sorted((dataset / "images").rglob("*.png"))
    pairs = [(path, dataset / "masks" / path.relative_to(dataset / "images")) for path in images]
    scores = pool([score_image(a.stem, read(a) > MID_GREY, read(b) > MID_GREY) for a, b in pairs])
    click.echo(f"{len(pairs)} digits: IoU {scores.foreground.iou:.4f}, mIoU {scores.miou:.4f}")
    click.echo(
        f"coverage {scores.coverage:.4f}, of the thresholded images {scores.truth_coverage:.4f}"
    )


if __name__ == "__main__":
    main()
