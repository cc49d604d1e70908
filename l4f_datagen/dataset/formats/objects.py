"""Formats that list objects: COCO instances and YOLO segmentation.

COCO: one file a split, compressed RLE or polygons, ``iscrowd`` 0 in both. ``file_name`` is relative
to ``images/``; ``alpha_file``, which COCO does not know, to the dataset. An image whose mask is
empty is listed without an annotation. Where an image is one object, both have one id; components
are numbered within their image: id = image_id * 1,000,000 + 1, 2, ...

YOLO: a folder of its own, with labels as normalised polygons.

```
yolo/data.yaml
yolo/images/train/KEY.png    yolo/labels/train/KEY.txt
```

The folders are flat, for many readers look in no subfolder. A line is ``0 x1 y1 x2 y2 ...``, one
connected part of the mask: a line that joins parts would be painted. An image without object has
an empty file. A polygon follows the edges of the pixels, so that it is right at whatever size a
trainer scales the image to; holes are filled.
"""

import json
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np
import yaml
from numpy.typing import NDArray

from l4f_datagen.core.masks import Instance, Ring
from l4f_datagen.core.sample import SPLITS
from l4f_datagen.dataset.formats.encoding import Encoded, ShardWriter, image_suffix
from l4f_datagen.dataset.manifest import Shards, dump_json
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.recipe import OutputPart

COCO_PLACES = (".l4f/coco/{shard:05d}.tsv",)
CATEGORY_ID = 1  # from 1: Ultralytics' converter subtracts one
COMPONENT_IDS = 1_000_000  # a mask of 1024 px has 262,144 parts at most, every second pixel
_DUMP = json.JSONEncoder(sort_keys=True, allow_nan=False, separators=(",", ":")).encode


class CocoShard(ShardWriter):
    """Writes one line a sample: split, image, its annotations. They are merged unread."""

    def __init__(self, staging: Staging, output: OutputPart) -> None:
        self._shard, self._output = staging.shard, output
        self._suffix = image_suffix(output)
        self._lines = staging.open(COCO_PLACES[0].format(shard=staging.shard))

    def add(self, samples: Sequence[Encoded]) -> None:
        """Append the lines of the samples."""
        self._lines.write("".join(map(self._line, samples)).encode())

    def _line(self, encoded: Encoded) -> str:
        sample = encoded.sample
        stem = f"{self._shard:05d}/{sample.key}"
        height, width = sample.mask.shape
        image = {
            "id": sample.image_id,
            "file_name": f"{stem}{self._suffix}",
            "width": width,
            "height": height,
            "license": 1,
            "key": sample.key,
            "psi": float(sample.psi),
            "seed": int(sample.seed),
        }
        annotations = [
            {
                "id": self._id(sample.image_id, number),
                "image_id": sample.image_id,
                "category_id": CATEGORY_ID,
                "segmentation": self._segmentation(instance),
                "area": float(instance.area_px),
                "bbox": list(map(float, instance.bbox_xywh)),
                "iscrowd": 0,
                "alpha_file": f"alpha/{stem}.png",
            }
            for number, instance in enumerate(encoded.instances, 1)
        ]
        return f"{sample.split}\t{_DUMP(image)}\t{_DUMP(annotations)[1:-1]}\n"

    def _id(self, image_id: int, number: int) -> int:
        whole = self._output.instances == "image"
        return image_id if whole else image_id * COMPONENT_IDS + number

    def _segmentation(self, instance: Instance) -> dict[str, Any] | list[list[float]]:
        if self._output.coco_segmentation == "rle":
            return instance.rle
        # Corners of pixels: COCO's own rasteriser gives back the mask, less its holes.
        return [ring.points_xy.ravel().astype(float).tolist() for ring in instance.outlines]


def write_instances(shards: Shards, out: TextIO) -> None:
    """Merge the lines of all shards into one instances file, in constant memory."""
    facts = shards.facts
    head = {
        "info": {"description": facts.description, "version": "1.0"},
        "licenses": [{"id": 1, "name": facts.licence, "url": facts.licence_url}],
        # Some readers drop categories whose supercategory is "none".
        "categories": [{"id": CATEGORY_ID, "name": facts.category, "supercategory": "object"}],
    }
    out.write(dump_json(head).decode().rstrip("}\n"))
    for position, name in enumerate(("images", "annotations")):
        out.write(f',"{name}":[')
        separator = "\n"
        for fields in shards.fields(COCO_PLACES[0]):
            if fields[position]:
                out.write(separator + fields[position])
                separator = ",\n"
        out.write("]")
    out.write("}\n")


COCO_INDEXES = {"annotations/instances_{split}.json": write_instances}

IMAGES = {split: f"yolo/images/{split}" for split in SPLITS}
LABELS = {split: f"yolo/labels/{split}" for split in SPLITS}
YOLO_FLAT = (*IMAGES.values(), *LABELS.values())
# Ultralytics scales a polygon to its training size (640), cuts the decimals off and paints the edge
# too. A hundredth of a pixel inside, the last pixel painted is the last of the mask at every whole
# scale up to 100, and what float32 and six digits lose is far less.
INSET_PX = 0.01

Points = NDArray[np.float64]


class YoloShard(ShardWriter):
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


def label_line(ring: Ring, width: int, height: int) -> str:
    """Write one part as class 0 and a polygon in shares of width and height, with newline."""
    shares = inset_xy(ring.points_xy) / (width, height)
    return f"0 {' '.join(f'{share:.6g}' for share in shares.ravel().tolist())}\n"


def inset_xy(points_xy: NDArray[np.int32]) -> Points:
    """Draw an outer ring of ``Ring`` in by ``INSET_PX``, ``points 2``."""
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


YOLO_INDEXES = {"yolo/data.yaml": write_data_yaml}
