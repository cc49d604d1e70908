"""Cut photographs, and test photographs with masks, to the middle: the object fills the frame.

    python benchmarks/closeups.py --photos train.zip --test TEST --out DIR
    l4f-datagen pretrain DIR/photos --out RUN --start blood-cells --symmetry square --kimg 12 \
        --decay-kimg 4
    python benchmarks/photographs.py --domain blood-cells --generator RUN/generator.safetensors \
        --symmetry square --test DIR/test --out SCORES

TEST holds images/ and masks/.
"""

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.annotations import load_annotations
from l4f_datagen.segmenter.photos import Photos, open_photos


def middle(plane: NDArray[np.uint8], share: float) -> Image.Image:
    """Return the middle square of ``h w`` or ``h w 3``, ``share`` of its shorter side."""
    height, width = plane.shape[:2]
    side = min(height, width) * share
    ends = (width - side, height - side, width + side, height + side)
    return Image.fromarray(plane).crop(tuple(round(end / 2) for end in ends))


def cut(photos: Photos, share: float, out: Path) -> dict[str, tuple[int, ...]]:
    """Write the middles of photographs; return the sizes that they had, by stem."""
    out.mkdir(parents=True)
    sizes = {}
    for name in photos.names:
        image, stem = photos.load(name).image, Path(name).stem
        middle(image, share).save(out / f"{stem}.png")
        sizes[stem] = image.shape[:2]
    return sizes


@click.command()
@click.option("--photos", type=click.Path(path_type=Path), required=True, help="To learn from.")
@click.option("--test", type=click.Path(path_type=Path), required=True, help="images/ and masks/.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder.")
@click.option("--share", default=0.625, show_default=True, help="Of the shorter side that is left.")
def main(photos: Path, test: Path, out: Path, share: float) -> None:
    """Write OUT/photos, OUT/test/images and OUT/test/masks."""
    cut(open_photos(photos), share, out / "photos")
    sizes = cut(open_photos(test / "images"), share, out / "test/images")
    (out / "test/masks").mkdir()
    covered = []
    for item in load_annotations(test / "masks"):
        mask = middle(item.load(sizes[item.stem]).mask.astype(np.uint8) * 255, share)
        mask.save(out / "test/masks" / f"{item.stem}.png")
        covered.append(np.asarray(mask).mean() / 255)
    click.echo(f"the object covers {np.mean(covered):.2f} of {len(covered)} test photographs")


if __name__ == "__main__":
    main()
