"""Polygons to masks: the one place where an outline becomes pixels.

Rules, the same for every format:

- a vertex that is no finite number, or fewer than three distinct vertices, is refused;
- an outline that lies more than half outside its image is refused (another image, another scale);
  one that leaves it by less is cut at the border, and the caller counts it;
- an outline that crosses itself is refused where the crossing changes which pixels are inside by
  more than rasterising does; outlines that only touch themselves (keyholes) are read;
- one that covers no pixel centre is read as no pixels, and the caller counts it.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from l4f_datagen.annotations.rle import coco_string_runs, runs_to_mask
from l4f_datagen.annotations.truth import Mask
from l4f_datagen.core.errors import AnnotationRefused

MAX_PERIMETER_PX = 8e6  # pycocotools walks the outline in steps of 0.2 px and keeps every step

Ring = NDArray[np.float64]


def checked_ring(points: object, subject: str) -> Ring:
    """Return vertices as float64 ``points 2`` (x right, y down, pixels).

    Args:
        points: a sequence of ``[x, y]`` pairs.
        subject: the record, for the error.

    Raises:
        AnnotationRefused: not pairs of finite numbers, or fewer than three distinct ones.
    """
    if not isinstance(points, Sequence) or isinstance(points, str | bytes):
        raise AnnotationRefused(subject, "a polygon that is no list of points", "draw it again")
    for point in points:
        if not isinstance(point, list | tuple) or len(point) != 2:
            raise AnnotationRefused(subject, f"polygon point {point!r:.40}", "write [x, y] pairs")
        for value in point:
            if type(value) not in (int, float) or not abs(value) < 1e9:  # also false for NaN
                raise AnnotationRefused(
                    subject, f"polygon coordinate {value!r:.40}", "write finite pixel numbers"
                )
    ring = np.asarray(points, np.float64).reshape(-1, 2)
    distinct = np.unique(ring, axis=0)
    if len(distinct) < 3:
        raise AnnotationRefused(
            subject, f"a polygon of {len(distinct)} distinct points", "draw at least three"
        )
    return ring


def area_px(ring: Ring) -> float:
    """Area of a ring by the shoelace formula, in px², never negative."""
    x, y = ring[:, 0], ring[:, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def clip_ring(ring: Ring, size_hw: tuple[int, int]) -> Ring:
    """Cut a ring at the image border (Sutherland and Hodgman 1974); may come back empty.

    Parts outside become edges along the border, which enclose nothing.
    """
    height, width = size_hw
    for axis, limit, sign in ((0, 0.0, 1), (0, float(width), -1), (1, 0.0, 1), (1, height, -1)):
        if not len(ring):
            break
        depth = sign * (ring[:, axis] - limit)  # >= 0 inside
        if depth.min() >= 0:
            continue
        following = np.roll(ring, -1, axis=0)
        depth_following = np.roll(depth, -1)
        inside = depth >= 0
        crosses = inside != (depth_following >= 0)
        span = np.where(crosses, depth - depth_following, 1.0)
        cut = ring + (depth / span)[:, None] * (following - ring)
        cut[:, axis] = limit
        both = np.stack([ring, cut], axis=1).reshape(-1, 2)
        ring = both[np.stack([inside, crosses], axis=1).reshape(-1)]
    return ring


def fill_polygon(
    exterior: Ring,
    size_hw: tuple[int, int],
    subject: str,
    tally: Counter[str],
    interiors: Sequence[Ring] = (),
) -> Mask:
    """Rasterise one polygon.

    Args:
        exterior: float64 ``points 2``, from `checked_ring`.
        size_hw: height and width of the mask.
        subject: the record, for the error.
        tally: counts outlines that were clipped or cover no pixel.
        interiors: rings of holes.

    Returns:
        bool ``h w``.

    Raises:
        AnnotationRefused: outside the image, crossing itself, or absurdly long.
    """
    mask = _fill_ring(exterior, size_hw, subject, tally)
    for ring in interiors:
        mask &= ~_fill_ring(ring, size_hw, subject, tally)
    if not mask.any():
        tally["polygons cover no pixel"] += 1
    return mask


def fill_box_xywh(
    bbox_xywh: object,
    size_hw: tuple[int, int],
    subject: str,
    tally: Counter[str],
    rotation_deg: object = 0.0,
    pivot_xy: tuple[float, float] | None = None,
) -> Mask:
    """Fill ``[x, y, width, height]`` (px) as if it were an outline; bool ``h w``.

    Args:
        bbox_xywh: the box.
        size_hw: height and width of the mask.
        subject: the record, for the error.
        tally: as in `fill_polygon`.
        rotation_deg: clockwise on the screen.
        pivot_xy: what it turns about; None is the upper left corner.

    Raises:
        AnnotationRefused: not finite numbers, no extent, or outside the image.
    """
    box = bbox_xywh if isinstance(bbox_xywh, list) else []
    turned = rotation_deg if isinstance(rotation_deg, int | float) else float("nan")
    if len(box) != 4 or any(
        type(value) not in (int, float) or not abs(value) < 1e9 for value in (*box, turned)
    ):
        raise AnnotationRefused(
            subject, f"box {bbox_xywh!r:.60}", "write finite x, y, width, height"
        )
    x, y, width, height = box
    if width <= 0 or height <= 0:
        raise AnnotationRefused(subject, f"a box of {width:g} x {height:g}", "draw it again")
    corners = np.asarray([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
    angle = np.deg2rad(turned)
    pivot = np.asarray(pivot_xy if pivot_xy is not None else (x, y))
    turn = np.asarray([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    ring = (corners - pivot) @ turn + pivot
    return fill_polygon(checked_ring(ring.tolist(), subject), size_hw, subject, tally)


def paste(
    crop: Mask,
    origin_xy: tuple[int, int],
    size_hw: tuple[int, int],
    subject: str,
    tally: Counter[str],
) -> Mask:
    """Lay a cropped mask on an empty image.

    Args:
        crop: bool ``h w``.
        origin_xy: where its upper left pixel goes.
        size_hw: height and width of the mask to return.
        subject: the record, for the error.
        tally: counts crops that are cut at the border.

    Raises:
        AnnotationRefused: more than half of the crop's pixels lie outside.
    """
    left, top = origin_xy
    height, width = size_hw
    mask = np.zeros(size_hw, np.bool_)
    rows = slice(max(top, 0), max(min(top + crop.shape[0], height), 0))
    columns = slice(max(left, 0), max(min(left + crop.shape[1], width), 0))
    inside = crop[
        rows.start - top : max(rows.stop - top, 0),
        columns.start - left : max(columns.stop - left, 0),
    ]
    if 2 * inside.size < crop.size:
        raise AnnotationRefused(
            subject,
            f"a mask of {crop.shape[1]} x {crop.shape[0]} pixels at ({left}, {top}) lies outside "
            f"its image of {width} x {height}",
            "check the image and its scale",
        )
    if inside.size < crop.size:
        tally["masks cut at the image border"] += 1
    mask[rows, columns] = inside
    return mask


def fill_ellipse(
    centre_xy: tuple[float, float],
    radii_xy: tuple[float, float],
    size_hw: tuple[int, int],
    subject: str,
    tally: Counter[str],
    rotation_deg: float = 0.0,
) -> Mask:
    """Rasterise an ellipse as a polygon of 180 corners; bool ``h w``.

    Args:
        centre_xy: centre in pixels.
        radii_xy: half axes in pixels, before the rotation.
        size_hw: height and width of the mask.
        subject: the record, for the error.
        tally: as in `fill_polygon`.
        rotation_deg: clockwise on the screen (y points down), about the centre.

    Raises:
        AnnotationRefused: as `fill_polygon`.
    """
    numbers = (*centre_xy, *radii_xy, rotation_deg)
    if any(type(number) not in (int, float) or not abs(number) < 1e9 for number in numbers):
        raise AnnotationRefused(subject, f"ellipse {numbers!r:.60}", "write finite numbers")
    turn = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    x, y = radii_xy[0] * np.cos(turn), radii_xy[1] * np.sin(turn)
    angle = np.deg2rad(rotation_deg)
    ring = np.stack(
        [
            centre_xy[0] + x * np.cos(angle) - y * np.sin(angle),
            centre_xy[1] + x * np.sin(angle) + y * np.cos(angle),
        ],
        axis=1,
    )
    return fill_polygon(checked_ring(ring.tolist(), subject), size_hw, subject, tally)


def fill_size(size_hw: tuple[int, int] | None, subject: str) -> tuple[int, int]:
    """Return the size to draw on.

    Raises:
        AnnotationRefused: neither the export nor the caller knows it.
    """
    if size_hw is None:
        raise AnnotationRefused(
            subject, "the export does not say how large the image is", "score it with masks"
        )
    return size_hw


def _fill_ring(ring: Ring, size_hw: tuple[int, int], subject: str, tally: Counter[str]) -> Mask:
    height, width = size_hw
    clipped = clip_ring(ring, size_hw)
    area, area_inside = area_px(ring), area_px(clipped) if len(clipped) else 0.0
    if not len(clipped) or area_inside < 0.5 * area:
        low, high = ring.min(axis=0), ring.max(axis=0)
        raise AnnotationRefused(
            subject,
            f"a polygon from ({low[0]:g}, {low[1]:g}) to ({high[0]:g}, {high[1]:g}) lies outside "
            f"its image of {width} x {height} pixels",
            "check the image and its scale",
        )
    if clipped is not ring:
        tally["polygons clipped at the image border"] += 1
    if len(clipped) < 3:
        return np.zeros(size_hw, np.bool_)
    steps = np.abs(clipped - np.roll(clipped, -1, axis=0))
    if float(steps.max(axis=1).sum()) > MAX_PERIMETER_PX:
        raise AnnotationRefused(
            subject, f"an outline longer than {MAX_PERIMETER_PX:g} pixels", "draw it again"
        )
    (rle,) = coco_mask.frPyObjects([clipped.reshape(-1).tolist()], height, width)
    runs = coco_string_runs(rle["counts"].decode("ascii"), subject)
    mask = runs_to_mask(runs, size_hw, subject, order="F")
    # A simple ring fills its shoelace area. A crossing one does not: its loops cancel (figure of
    # eight) or count twice (overlap). Rasterising alone moves up to half a pixel of the outline.
    perimeter = float(np.hypot(steps[:, 0], steps[:, 1]).sum())
    filled = int(mask.sum())
    if abs(filled - area_inside) > 2 + 0.5 * perimeter + 0.02 * filled:
        raise AnnotationRefused(
            subject,
            f"the polygon crosses itself (it encloses {area_inside:.0f} px² but fills {filled})",
            "draw it without crossings",
        )
    return mask
