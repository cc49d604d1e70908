"""YOLO segmentation: a folder of its own, with labels as normalised polygons.

```
yolo/data.yaml
yolo/images/train/00003/KEY.png    yolo/labels/train/00003/KEY.txt
```

A line is ``0 x1 y1 x2 y2 ...``, one object. An image without object has an empty file. A polygon
runs through the centres of the outermost pixels, as the readers' rasterisers, which paint the edge
too, expect; holes are filled.
"""

from collections.abc import Sequence
from typing import TextIO

import numpy as np
import yaml
from numpy.typing import NDArray

from l4f_datagen.core.formats import SPLITS
from l4f_datagen.dataset.formats.encoding import Encoded, image_suffix
from l4f_datagen.dataset.formats.instances import Instance
from l4f_datagen.dataset.formats.merging import Shards
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.recipe import OutputPart

IMAGES = {split: f"yolo/images/{split}/{{shard:05d}}" for split in SPLITS}
LABELS = {split: f"yolo/labels/{split}/{{shard:05d}}" for split in SPLITS}
PLACES = (*IMAGES.values(), *LABELS.values())
INDEX = "yolo/data.yaml"
# Ultralytics cuts the decimals of a coordinate off, supervision rounds: both find the pixel at a
# quarter, and only there.
IN_PIXEL = 0.25

Points = NDArray[np.float64]


class YoloShard:
    """Writes the images of one shard once more, beside their label files."""

    def __init__(self, staging: Staging, output: OutputPart) -> None:
        self._staging, self._suffix = staging, image_suffix(output)

    def add(self, samples: Sequence[Encoded]) -> None:
        """Stage image and labels of each sample."""
        for one in samples:
            sample, shard = one.sample, self._staging.shard
            images, labels = (folders[sample.split] for folders in (IMAGES, LABELS))
            self._staging.put(images.format(shard=shard), f"{sample.key}{self._suffix}", one.image)
            height, width = sample.mask.shape
            text = "".join(label_line(instance, width, height) for instance in one.instances)
            self._staging.put(labels.format(shard=shard), f"{sample.key}.txt", text.encode())

    def close(self) -> None:
        """Nothing is held back."""


def label_line(instance: Instance, width: int, height: int) -> str:
    """Write one object as class 0 and a polygon in shares of width and height, with newline."""
    outline = joined_xy([centred_xy(ring.points_xy) for ring in instance.outlines])
    shares = (outline + IN_PIXEL) / (width, height)
    return f"0 {' '.join(f'{share:.6g}' for share in shares.ravel().tolist())}\n"


def centred_xy(points_xy: NDArray[np.int32]) -> Points:
    """Draw an outer ring in by half a pixel: from pixel edges to pixel indices, ``points 2``.

    Args:
        points_xy: corners of pixels, ``points 2``, the mask on the right hand, as in ``Ring``.
    """
    arriving = np.sign(points_xy - np.roll(points_xy, 1, axis=0))
    leaving = np.roll(arriving, -1, axis=0)
    # To the right of (x, y) lies (-y, x): half a pixel of it from either edge at the corner.
    right = (arriving + leaving)[:, ::-1] * (-1, 1)
    centred: Points = points_xy + right / 2 - 0.5
    return centred


def joined_xy(rings: Sequence[Points]) -> Points:
    """Join rings to one, along the shortest lines between their points, there and back."""
    joined, *others = rings
    for other in others:
        gaps = np.square(joined[:, None] - other[None]).sum(axis=2)
        here, there = divmod(int(gaps.argmin()), len(other))
        around = np.roll(other, -there, axis=0)
        joined = np.concatenate([joined[: here + 1], around, around[:1], joined[here:]])
    return joined


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
