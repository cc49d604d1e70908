"""YOLO segmentation: a folder of its own, with labels as normalised polygons.

```
yolo/data.yaml
yolo/images/train/KEY.png    yolo/labels/train/KEY.txt
```

The folders are flat, for many readers look in no subfolder. A line is ``0 x1 y1 x2 y2 ...``, one
connected part of the mask: a line that joins parts would be painted. An image without object has
an empty file. A polygon follows the edges of the pixels, so that it is right at whatever size a
trainer scales the image to; holes are filled.
"""

from collections.abc import Sequence
from typing import TextIO

import numpy as np
import yaml
from numpy.typing import NDArray

from l4f_datagen.core.formats import SPLITS
from l4f_datagen.core.masks import Ring
from l4f_datagen.dataset.formats.encoding import Encoded, image_suffix
from l4f_datagen.dataset.manifest import Shards
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.recipe import OutputPart

IMAGES = {split: f"yolo/images/{split}" for split in SPLITS}
LABELS = {split: f"yolo/labels/{split}" for split in SPLITS}
FLAT = (*IMAGES.values(), *LABELS.values())
INDEX = "yolo/data.yaml"
# Ultralytics scales a polygon to its training size (640), cuts the decimals off and paints the edge
# too. A hundredth of a pixel inside, the last pixel painted is the last of the mask at every whole
# scale up to 100, and what float32 and six digits lose is far less.
INSET_PX = 0.01

Points = NDArray[np.float64]


class YoloShard:
    """Writes the images of one shard once more, beside their label files."""

    def __init__(self, staging: Staging, output: OutputPart) -> None:
        self._staging, self._suffix = staging, image_suffix(output)

    def add(self, samples: Sequence[Encoded]) -> None:
        """Stage image and labels of each sample."""
        for one in samples:
            sample = one.sample
            height, width = sample.mask.shape
            rings = (ring for instance in one.instances for ring in instance.outlines)
            text = "".join(label_line(ring, width, height) for ring in rings)
            image = f"{sample.key}{self._suffix}"
            self._staging.put_flat(IMAGES[sample.split], image, one.image)
            self._staging.put_flat(LABELS[sample.split], f"{sample.key}.txt", text.encode())

    def close(self) -> None:
        """Nothing is held back."""


def label_line(ring: Ring, width: int, height: int) -> str:
    """Write one part as class 0 and a polygon in shares of width and height, with newline."""
    shares = inset_xy(ring.points_xy) / (width, height)
    return f"0 {' '.join(f'{share:.6g}' for share in shares.ravel().tolist())}\n"


def inset_xy(points_xy: NDArray[np.int32]) -> Points:
    """Draw an outer ring in by ``INSET_PX``, ``points 2``.

    Args:
        points_xy: corners of pixels, ``points 2``, the mask on the right hand, as in ``Ring``.
    """
    arriving = np.sign(points_xy - np.roll(points_xy, 1, axis=0))
    leaving = np.roll(arriving, -1, axis=0)
    # To the right of (x, y) lies (-y, x).
    right = (arriving + leaving)[:, ::-1] * (-1, 1)
    inset: Points = points_xy + INSET_PX * right
    return inset


def write_data_yaml(shards: Shards, out: TextIO) -> None:
    """Write the file that names classes and folders, which are relative to it."""
    missing = [split for split in ("train", "val") if split not in shards.splits]
    for split in missing:  # the trainers insist on both
        out.write(f"# There is no {split} split: {split} names the images of another one.\n")
    some = shards.splits[0]
    folders = {
        split: f"images/{split if split in shards.splits else some}"
        for split in SPLITS
        if split in (*shards.splits, *missing)
    }
    yaml.safe_dump(
        {**folders, "names": {0: shards.facts.category}}, out, sort_keys=False, allow_unicode=True
    )
