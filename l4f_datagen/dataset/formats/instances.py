"""Instances: the objects of a mask, measured once for all formats that list objects."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
from numpy.typing import NDArray
from scipy import ndimage

from l4f_datagen.core.masks import EIGHT_CONNECTED, Ring, polygons_xy
from l4f_datagen.recipe import OutputPart

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Instance:
    """One object.

    Attributes:
        area_px: pixels of its mask.
        bbox_xywh: smallest box around it in px.
        rle: COCO's compressed run lengths of its mask.
        outlines: its outer rings, exact along the pixels' edges; empty unless asked for.
        num_holes: holes the outer rings cannot express; 0 unless outlines are asked for.
    """

    area_px: int
    bbox_xywh: tuple[int, int, int, int]
    rle: dict[str, Any]
    outlines: tuple[Ring, ...] = ()
    num_holes: int = 0


def needs_outlines(output: OutputPart) -> bool:
    """Whether any chosen format draws polygons."""
    return "yolo" in output.formats or (
        "coco" in output.formats and output.coco_segmentation == "polygon"
    )


def find_instances(masks: Sequence[Mask], output: OutputPart) -> list[tuple[Instance, ...]]:
    """Find the objects of masks of one size ``h w``; none in an empty mask.

    Components come in the order of their topmost, then leftmost pixel.
    """
    parts = [_DIVIDE[output.instances](mask) for mask in masks]
    found = iter(_measure([mask for those in parts for mask in those], needs_outlines(output)))
    return [tuple(next(found) for _ in those) for those in parts]


def _whole(mask: Mask) -> list[Mask]:
    return [mask] if mask.any() else []


def _components(mask: Mask) -> list[Mask]:
    labels, count = ndimage.label(mask, structure=EIGHT_CONNECTED)
    return [labels == number for number in range(1, count + 1)]


_DIVIDE: dict[str, Callable[[Mask], list[Mask]]] = {"image": _whole, "components": _components}


def _measure(masks: Sequence[Mask], outlined: bool) -> list[Instance]:
    if not masks:
        return []
    stack = np.stack(masks)
    # pycocotools takes h w n in Fortran order, which is n w h as C has it: one copy, one call.
    columns = np.ascontiguousarray(stack.transpose(0, 2, 1)).view(np.uint8)
    rles = coco_mask.encode(columns.T)
    # Its own area and toBbox fail from 256 and 64 masks on.
    areas, boxes = np.count_nonzero(stack, axis=(1, 2)).tolist(), _boxes_xywh(stack).tolist()
    instances = []
    for mask, rle, area_px, bbox_xywh in zip(masks, rles, areas, boxes, strict=True):
        rings = polygons_xy(mask) if outlined else []
        outer = tuple(ring for ring in rings if not ring.is_hole)
        counts = rle["counts"].decode("ascii")
        plain = {"size": [int(side) for side in rle["size"]], "counts": counts}
        instances.append(
            Instance(area_px, tuple(bbox_xywh), plain, outer, num_holes=len(rings) - len(outer))
        )
    return instances


def _boxes_xywh(stack: Mask) -> NDArray[np.int64]:
    """Boxes ``n 4`` of masks ``n h w``, none of them empty."""
    first, sides = [], []
    for across in (1, 2):  # what is left are columns, then rows
        occupied: Mask = np.asarray(stack.any(axis=across))
        start = occupied.argmax(axis=1)
        stop = occupied.shape[1] - occupied[:, ::-1].argmax(axis=1)
        first.append(start)
        sides.append(stop - start)
    return np.stack([*first, *sides], axis=1)
