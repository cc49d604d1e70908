"""Masks: measures and outlines of a bool ``h w`` array (NumPy only, no files).

Pixels count from the top left. Boxes and polygons use pixel corners: pixel ``(x, y)`` covers
``[x, x + 1) x [y, y + 1)``. Components are 8-connected: pixels that touch at a corner belong
together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
from numpy.typing import NDArray
from scipy import ndimage

EIGHT_CONNECTED, NOTHING = np.ones((3, 3), np.bool_), np.zeros((3, 3), np.bool_)
Mask = NDArray[np.bool_]


def alpha_to_mask(alpha: Any, threshold: float) -> Any:
    """Cut alpha into a mask: ``alpha > threshold``, strictly; NumPy or torch in, the same kind out.

    The only place where an alpha becomes a mask. ValueError for a threshold outside [0, 1), for
    which the mask could only be full or empty.
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"mask_threshold: expected 0 <= threshold < 1, got {threshold}")
    return alpha > float(threshold)


def coverage(mask: Mask) -> float:
    """Share of the image that is mask, in [0, 1]."""
    return int(np.count_nonzero(mask)) / mask.size


def count_components(masks: Mask) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Count the 8-connected parts of masks ``n h w``, and weigh the largest one of each.

    Returns numbers ``n``, and shares ``n`` of each mask in [0, 1]; 0 where it is empty.
    """
    within = np.stack([NOTHING, EIGHT_CONNECTED, NOTHING])  # no mask is connected with the next
    labels, count = ndimage.label(masks, structure=within)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    owner, inside = np.zeros(count + 1, np.int64), np.nonzero(masks)
    owner[labels[inside]] = inside[0]
    num_components = np.bincount(owner[1:], minlength=len(masks))
    largest = np.zeros(len(masks), np.int64)
    np.maximum.at(largest, owner[1:], areas[1:])
    total = np.count_nonzero(masks, axis=(1, 2))
    return num_components, largest / np.maximum(total, 1)


def largest_component(mask: Mask) -> Mask:
    """Keep the largest 8-connected part, the topmost of equals; an empty mask stays empty."""
    labels, count = ndimage.label(mask, structure=EIGHT_CONNECTED)
    if count < 2:
        return mask.copy()
    kept: Mask = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    return kept


def fill_holes(mask: Mask) -> Mask:
    """Fill what the mask encloses: background that reaches the border by no 4-connected way."""
    filled: Mask = ndimage.binary_fill_holes(mask)
    return filled


def edge_pixels(mask: Mask) -> Mask:
    """Return the object's pixels with a 4-neighbour outside, ``h w``; the border is no edge."""
    around = np.pad(mask, 1, constant_values=True)
    inner = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    edge: Mask = mask & ~inner
    return edge


def border_contacts(masks: Mask) -> NDArray[np.float64]:
    """Share of each image's outermost ring of pixels that is mask, ``n h w`` to ``n``."""
    ring = np.ones(masks.shape[1:], np.bool_)
    ring[1:-1, 1:-1] = False
    shares: NDArray[np.float64] = np.count_nonzero(masks[:, ring], axis=1) / int(ring.sum())
    return shares


def mask_to_rle(mask: Mask) -> dict[str, Any]:
    """Encode a mask as COCO's compressed run lengths, ready for JSON."""
    return _plain_rle(coco_mask.encode(np.asfortranarray(mask, np.uint8)))


def _plain_rle(rle: dict[str, Any]) -> dict[str, Any]:
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


@dataclass(frozen=True)
class Ring:
    """One closed outline of a mask: int32 ``points 2``, corners in px, first one not repeated.

    The mask lies on the right hand: outer rings run clockwise on the screen, holes the other way.
    """

    points_xy: NDArray[np.int32]
    is_hole: bool


STEP_X, STEP_Y = np.array([1, 0, -1, 0]), np.array([0, 1, 0, -1])  # right, down, left, up


def polygons_xy(mask: Mask) -> list[Ring]:
    """Outline a mask exactly, along the pixels' edges: every part and every hole.

    The areas of the outer rings less those of the holes are ``area_px``. Parts that touch at a
    corner share one ring, as components do; such a ring passes the corner twice. Rings come in the
    order of their topmost, then leftmost edge.
    """
    inside = np.pad(mask, 1)
    north_west, north_east = inside[:-1, :-1], inside[:-1, 1:]
    south_west, south_east = inside[1:, :-1], inside[1:, 1:]
    # Where a unit edge of the outline starts, mask to its right: 4 h+1 w+1.
    right, down = south_east & ~north_east, south_west & ~south_east
    left, up = north_west & ~south_west, north_east & ~north_west
    leaves = np.stack([right, down, left, up])
    at = np.argwhere(leaves)  # edges as rows (direction, y, x) of their start, in scan order
    direction, y, x = at.T
    to_y, to_x = y + STEP_Y[direction], x + STEP_X[direction]
    # At a corner where two edges leave, the left one goes over to the diagonal neighbour.
    to_left, to_right = (direction - 1) % 4, (direction + 1) % 4
    turn = np.where(leaves[direction, to_y, to_x], direction, to_right)
    turn = np.where(leaves[to_left, to_y, to_x], to_left, turn)
    number = np.full(leaves.shape, -1, np.int64)
    number[leaves] = np.arange(len(at))
    following = number[turn, to_y, to_x].tolist()
    is_corner = (turn != direction).tolist()
    corners = np.stack([to_x, to_y], axis=1).astype(np.int32)

    rings, seen = [], np.zeros(len(at), np.bool_)
    for start in np.lexsort((at[:, 2], at[:, 1])).tolist():
        points, edge = [], start
        while not seen[edge]:
            seen[edge] = True
            if is_corner[edge]:
                points.append(edge)
            edge = following[edge]
        if points:
            x, y = corners[points].astype(np.int64).T
            area = np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)  # doubled, clockwise positive
            rings.append(Ring(corners[points], is_hole=bool(area < 0)))
    return rings


@dataclass(frozen=True)
class Instance:
    """One object: area, box in px, COCO's run lengths, and outer rings where they are asked for."""

    area_px: int
    bbox_xywh: tuple[int, int, int, int]
    rle: dict[str, Any]
    outlines: tuple[Ring, ...] = ()
    num_holes: int = 0  # that the outer rings cannot express


def split_components(mask: Mask) -> list[Mask]:
    """Return a mask for each 8-connected part, in the order of topmost, then leftmost pixels."""
    labels, count = ndimage.label(mask, structure=EIGHT_CONNECTED)
    return [labels == number for number in range(1, count + 1)]


def measure_instances(masks: Sequence[Mask], *, outlined: bool) -> list[Instance]:
    """Measure objects by their masks of one size ``h w``, none of them empty."""
    if not masks:
        return []
    stack = np.stack(masks)
    # pycocotools takes h w n in Fortran order, which is n w h as C has it: one copy, one call.
    rles = coco_mask.encode(np.ascontiguousarray(stack.transpose(0, 2, 1)).view(np.uint8).T)
    # Its own area and toBbox fail from 256 and 64 masks on.
    areas, boxes = np.count_nonzero(stack, axis=(1, 2)).tolist(), _boxes_xywh(stack).tolist()
    instances = []
    for mask, rle, area_px, bbox_xywh in zip(masks, rles, areas, boxes, strict=True):
        rings = polygons_xy(mask) if outlined else []
        outer = tuple(ring for ring in rings if not ring.is_hole)
        holes = len(rings) - len(outer)
        instances.append(Instance(area_px, tuple(bbox_xywh), _plain_rle(rle), outer, holes))
    return instances


def _boxes_xywh(stack: Mask) -> NDArray[np.int64]:
    """Boxes ``n 4`` of masks ``n h w``, none of them empty."""
    columns, rows = np.asarray(stack.any(axis=1)), np.asarray(stack.any(axis=2))
    first = [occupied.argmax(axis=1) for occupied in (columns, rows)]
    after = [each.shape[1] - each[:, ::-1].argmax(axis=1) for each in (columns, rows)]
    return np.stack([*first, *np.subtract(after, first)], axis=1)
