"""COCO instances: compressed RLE, ``iscrowd`` 0, one annotation an image.

``file_name`` is relative to ``images/``; ``alpha_file``, which COCO does not know, to the dataset.
An image whose mask is empty is listed without an annotation.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from l4f_datagen.dataset.manifest import Facts, dump_json
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.masks import area_px, bbox_xywh, mask_to_rle
from l4f_datagen.sample import Sample
from l4f_datagen.writers.encoding import Encoded

INDEX = "annotations/instances_train.json"
PLACES = (".l4f/coco/{shard:05d}.jsonl",)
CATEGORY_ID = 1  # from 1: Ultralytics' converter subtracts one


class CocoShard:
    """Writes one line a sample, ``[image, annotation or null]``, to be merged at the end."""

    def __init__(self, staging: Staging) -> None:
        self._shard = staging.shard
        self._lines = staging.open(PLACES[0].format(shard=staging.shard))

    def add(self, samples: Sequence[Encoded]) -> None:
        """Append the lines of the samples."""
        for encoded in samples:
            sample = encoded.sample
            file = f"{self._shard:05d}/{sample.key}.png"
            line = [_image(sample, file), _annotation(sample, file)]
            self._lines.write(dump_json(line))

    def close(self) -> None:
        """Nothing is held back."""


def write_instances(folder: Path, shards: Sequence[int], facts: Facts, out: TextIO) -> None:
    """Merge the lines of all shards into one instances file, in constant memory."""
    head = {
        "info": {"description": facts.description, "version": "1.0"},
        "licenses": [{"id": 1, "name": facts.licence, "url": facts.licence_url}],
        # Some readers drop categories whose supercategory is "none".
        "categories": [{"id": CATEGORY_ID, "name": facts.category, "supercategory": "object"}],
    }
    out.write(dump_json(head).decode().rstrip("}\n"))
    for name, position in (("images", 0), ("annotations", 1)):
        out.write(f',"{name}":[')
        separator = "\n"
        for line in _lines(folder, shards):
            if line[position] is not None:
                out.write(separator + dump_json(line[position]).decode().rstrip("\n"))
                separator = ",\n"
        out.write("]")
    out.write("}\n")


def _lines(folder: Path, shards: Sequence[int]) -> Iterator[list[dict[str, Any] | None]]:
    for shard in shards:
        with (folder / PLACES[0].format(shard=shard)).open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def _image(sample: Sample, file: str) -> dict[str, Any]:
    height, width = sample.mask.shape
    return {
        "id": sample.image_id,
        "file_name": file,
        "width": width,
        "height": height,
        "license": 1,
        "key": sample.key,
        "psi": float(sample.psi),
        "seed": int(sample.seed),
    }


def _annotation(sample: Sample, file: str) -> dict[str, Any] | None:
    area = area_px(sample.mask)
    if area == 0:
        return None
    return {
        "id": sample.image_id,  # one object an image: the plan numbers both, from 1
        "image_id": sample.image_id,
        "category_id": CATEGORY_ID,
        "segmentation": mask_to_rle(sample.mask),
        "area": float(area),
        "bbox": [float(side) for side in bbox_xywh(sample.mask)],
        "iscrowd": 0,
        "alpha_file": f"alpha/{file}",
    }
