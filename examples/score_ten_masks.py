"""Score masks against ten that were drawn by hand, with intervals and the worst image.

    python examples/score_ten_masks.py TRUTH PREDICTED

Both are folders of mask images with the same names; TRUTH may be an export of any labelling tool
that `l4f_datagen.load_annotations` reads. Without arguments ten toy cars are drawn with their exact
masks, and a prediction that is one pixel too large is scored.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from l4f_datagen import load_annotations, render_scene, score


def draw_toys(folder: Path) -> tuple[Path, Path]:
    """Write ten exact masks and ten that are a pixel too large; return both folders."""
    truth, predicted = folder / "truth", folder / "predicted"
    for place in (truth, predicted):
        place.mkdir()
    for seed in range(10):
        mask = render_scene(seed).alpha > 0.5
        larger = mask.copy()
        for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
            larger |= np.roll(mask, shift, axis)
        for place, drawn in ((truth, mask), (predicted, larger)):
            Image.fromarray(drawn.astype(np.uint8) * 255).save(place / f"{seed:03d}.png")
    return truth, predicted


def main(truth: Path, predicted: Path) -> None:
    """Print the scores, and the image that fits worst."""
    annotated = load_annotations(truth)
    print(f"{len(annotated)} annotated images")
    report = score(annotated, predicted)
    print(report.to_text("predicted masks"))
    [worst] = report.worst(1)
    print(f"worst image: {worst.name}, mIoU {worst.miou:.3f}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(*draw_toys(Path(scratch)))
