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
from typing import ClassVar, TextIO

import numpy as np
import yaml

from l4f_datagen.core.masks import Ring
from l4f_datagen.core.sample import SPLITS
from l4f_datagen.dataset.formats.encoding import Encoded, ShardWriter
from l4f_datagen.dataset.manifest import Shards, dump_json
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.recipe import OutputPart

COCO_LINES = ".l4f/coco/{shard:05d}.tsv"
CATEGORY_ID = 1  # from 1: Ultralytics' converter subtracts one
COMPONENT_IDS = 1_000_000  # a mask of 1024 px has 262,144 parts at most, every second pixel
_DUMP = json.JSONEncoder(sort_keys=True, allow_nan=False, separators=(",", ":")).encode


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
        for fields in shards.fields(COCO_LINES):
            if fields[position]:
                out.write(separator + fields[position])
                separator = ",\n"
        out.write("]")
    out.write("}\n")


class CocoShard(ShardWriter):
    """Writes one line a sample: split, image, its annotations. They are merged unread."""

    places = (COCO_LINES,)
    indexes: ClassVar = {"annotations/instances_{split}.json": write_instances}

    def __init__(self, staging: Staging, output: OutputPart) -> None:
        super().__init__(staging, output)
        self._lines = staging.open(COCO_LINES.format(shard=self.shard))

    def add(self, samples: Sequence[Encoded]) -> None:
        """Append the lines of the samples."""
        self._lines.write("".join(map(self._line, samples)).encode())

    def _line(self, encoded: Encoded) -> str:
        sample, whole = encoded.sample, self.output.instances == "image"
        height, width = sample.mask.shape
        image = {
            "id": sample.image_id,
            "license": 1,
            "width": width,
            "height": height,
            "file_name": f"{self.shard:05d}/{self.name(encoded, 'image')}",
            "key": sample.key,
            "psi": float(sample.psi),
            "seed": int(sample.seed),
        }
        annotations = []
        for number, found in enumerate(encoded.instances, 1):
            # Corners of pixels: COCO's own rasteriser gives back the mask, less its holes.
            rings = [ring.points_xy.ravel().astype(float).tolist() for ring in found.outlines]
            annotations.append(
                {
                    "id": sample.image_id if whole else sample.image_id * COMPONENT_IDS + number,
                    "image_id": sample.image_id,
                    "category_id": CATEGORY_ID,
                    "iscrowd": 0,
                    "segmentation": found.rle if self.output.coco_segmentation == "rle" else rings,
                    "area": float(found.area_px),
                    "bbox": list(map(float, found.bbox_xywh)),
                    "alpha_file": f"alpha/{self.shard:05d}/{sample.key}.png",
                }
            )
        return f"{sample.split}\t{_DUMP(image)}\t{_DUMP(annotations)[1:-1]}\n"


# Ultralytics scales a polygon to its training size (640), cuts the decimals off and paints the edge
# too. A hundredth of a pixel inside, the last pixel painted is the last of the mask at every whole
# scale up to 100, and what float32 and six digits lose is far less.
INSET_PX = 0.01


def write_data_yaml(shards: Shards, out: TextIO) -> None:
    """Write the file that names classes and folders, which are relative to it."""
    folders = {split: f"images/{split}" for split in SPLITS if split in shards.splits}
    for split in ("train", "val"):  # the trainers insist on both
        if split not in shards.splits:
            out.write(f"# There is no {split} split: {split} names the images of another one.\n")
            folders[split] = f"images/{shards.splits[0]}"
    names = {split: folders[split] for split in SPLITS if split in folders}
    facts = {**names, "names": {0: shards.facts.category}}
    yaml.safe_dump(facts, out, sort_keys=False, allow_unicode=True)


class YoloShard(ShardWriter):
    """Writes the images of one shard once more, beside their label files."""

    flat = tuple(f"yolo/{kind}/{split}" for kind in ("images", "labels") for split in SPLITS)
    indexes: ClassVar = {"yolo/data.yaml": write_data_yaml}

    def add(self, samples: Sequence[Encoded]) -> None:
        """Stage image and labels of each sample."""
        for one in samples:
            key, split = one.sample.key, one.sample.split
            height, width = one.sample.mask.shape
            rings = (ring for instance in one.instances for ring in instance.outlines)
            text = "".join(label_line(ring, width, height) for ring in rings)
            self.staging.put(f"yolo/images/{split}", self.name(one, "image"), one.image, flat=True)
            self.staging.put(f"yolo/labels/{split}", f"{key}.txt", text.encode(), flat=True)


def label_line(ring: Ring, width: int, height: int) -> str:
    """Write one part as class 0 and a polygon in shares of width and height, with newline."""
    corners = ring.points_xy  # of an outer ring, drawn in by ``INSET_PX``
    arriving = np.sign(corners - np.roll(corners, 1, axis=0))
    leaving = np.roll(arriving, -1, axis=0)
    right = (arriving + leaving)[:, ::-1] * (-1, 1)  # to the right of (x, y) lies (-y, x)
    shares = (corners + INSET_PX * right) / (width, height)
    return f"0 {' '.join(f'{share:.6g}' for share in shares.ravel().tolist())}\n"
