"""COCO instances, one file a split: compressed RLE or polygons, ``iscrowd`` 0 in both.

``file_name`` is relative to ``images/``; ``alpha_file``, which COCO does not know, to the dataset.
An image whose mask is empty is listed without an annotation. Where an image is one object, both
have one id; components are numbered within their image: id = image_id * 1,000,000 + 1, 2, ...
"""

import json
from collections.abc import Sequence
from typing import Any, TextIO

from l4f_datagen.dataset.formats.encoding import Encoded, Instance, image_suffix
from l4f_datagen.dataset.manifest import Shards, dump_json
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.recipe import OutputPart

INDEX = "annotations/instances_{split}.json"
PLACES = (".l4f/coco/{shard:05d}.tsv",)
CATEGORY_ID = 1  # from 1: Ultralytics' converter subtracts one
COMPONENT_IDS = 1_000_000
_DUMP = json.JSONEncoder(sort_keys=True, allow_nan=False, separators=(",", ":")).encode


class CocoShard:
    """Writes one line a sample: split, image, its annotations. They are merged unread."""

    def __init__(self, staging: Staging, output: OutputPart) -> None:
        self._shard, self._output = staging.shard, output
        self._suffix = image_suffix(output)
        self._lines = staging.open(PLACES[0].format(shard=staging.shard))

    def add(self, samples: Sequence[Encoded]) -> None:
        """Append the lines of the samples."""
        self._lines.write("".join(map(self._line, samples)).encode())

    def close(self) -> None:
        """Nothing is held back."""

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
        for fields in shards.fields(PLACES[0]):
            if fields[position]:
                out.write(separator + fields[position])
                separator = ",\n"
        out.write("]")
    out.write("}\n")
