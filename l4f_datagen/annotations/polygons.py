"""Outlines to masks: the one place where polygons, boxes and ellipses become pixels.

Rules, the same for every format:

- a vertex that is not a finite number, or fewer than three distinct vertices, is refused;
- an outline that lies more than half outside its image is refused (another image, another scale);
  one that leaves it by less is cut at the border and counted;
- fractions from 0 to 1 where pixels are expected are refused;
- an outline that crosses itself is refused where the crossing changes which pixels are inside by
  more than rasterising does; outlines that only touch themselves (keyholes) are read;
- an outline that covers no pixel centre is read as no pixels and counted.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from l4f_datagen.annotations.rle import coco_string_runs, runs_to_mask
from l4f_datagen.annotations.truth import Mask, Size, numbers
from l4f_datagen.core.errors import AnnotationRefused

MAX_PERIMETER_PX = 8e6
"""pycocotools walks the outline in steps of 0.2 px and keeps every step: some 320 MB at this."""
CROSSING_SIDE_PX = 1024  # an outline is shrunk to this before its crossings are measured
ELLIPSE_CORNERS = 180  # the polygon's area is then within 0.02 % of the ellipse's

Ring = NDArray[np.float64]
Unit = Literal["px", "percent", "fraction"]
Drawer = Callable[[Size | None], Mask]  # size of the image, where known, to a mask


def checked_ring(points: object, subject: str) -> Ring:
    """Return vertices as float64 ``points 2`` (x right, y down).

    Points are ``[x, y]`` pairs or ``{"x": x, "y": y}`` records.

    Raises:
        AnnotationRefused: not pairs of finite numbers, or fewer than three distinct ones.
    """
    if not isinstance(points, Sequence) or isinstance(points, str | bytes):
        raise AnnotationRefused(subject, "a polygon that is not a list of points", "draw it again")
    pairs: list[tuple[float, ...]] = []
    for point in points:
        pair = [point.get("x"), point.get("y")] if isinstance(point, dict) else point
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise AnnotationRefused(subject, f"polygon point {point!r:.40}", "write [x, y] pairs")
        pairs.append(numbers(pair, subject, "polygon coordinate"))
    ring = np.asarray(pairs, np.float64).reshape(-1, 2)
    distinct = len(np.unique(ring, axis=0))
    if distinct < 3:
        raise AnnotationRefused(
            subject, f"a polygon of {distinct} distinct points", "draw at least three"
        )
    return ring


def fill_polygon(
    exterior: Ring,
    size_hw: Size,
    subject: str,
    tally: Counter[str],
    interiors: Sequence[Ring] = (),
) -> Mask:
    """Rasterise one polygon as pycocotools does.

    Args:
        exterior: float64 ``points 2`` in pixels, from `checked_ring`.
        size_hw: height and width of the mask.
        subject: the record, for the error.
        tally: counts outlines that were clipped or cover no pixel.
        interiors: rings of holes.

    Returns:
        bool ``h w``.

    Raises:
        AnnotationRefused: outside the image, crossing itself, fractions, or absurdly long.
    """
    mask = _fill_ring(exterior, size_hw, subject, tally)
    for ring in interiors:
        mask &= ~_fill_ring(ring, size_hw, subject, tally)
    if not mask.any():
        tally["polygons cover no pixel"] += 1
    return mask


def _fill_ring(ring: Ring, size_hw: Size, subject: str, tally: Counter[str]) -> Mask:
    height, width = size_hw
    polygon = shapely.Polygon(ring)
    if polygon.length > MAX_PERIMETER_PX:
        raise AnnotationRefused(
            subject, f"an outline longer than {MAX_PERIMETER_PX:g} pixels", "draw it again"
        )
    low, high = ring.min(axis=0), ring.max(axis=0)
    # Corners at exactly 0 and 1 are the outline of the first pixel.
    if min(size_hw) > 8 and low.min() >= 0 and high.max() <= 1 and (ring % 1 != 0).any():
        problem = f"coordinates from 0 to 1 on an image of {width} x {height} pixels"
        raise AnnotationRefused(subject, problem, "write pixels")
    if not polygon.is_valid and _crosses(ring):
        raise AnnotationRefused(subject, "the polygon crosses itself", "draw it without crossings")
    inside = polygon
    if low.min() < 0 or high[0] > width or high[1] > height:
        inside = shapely.clip_by_rect(polygon, 0, 0, width, height)
        if inside.is_empty or inside.area < 0.5 * polygon.area:
            raise AnnotationRefused(
                subject,
                f"a polygon from ({low[0]:g}, {low[1]:g}) to ({high[0]:g}, {high[1]:g}) lies "
                f"outside its image of {width} x {height} pixels",
                "check the image and its scale",
            )
        tally["polygons clipped at the image border"] += 1
    mask = np.zeros(size_hw, np.bool_)
    for part in shapely.get_parts(inside):
        if isinstance(part, shapely.Polygon):  # a clipped spike leaves a line or a point
            drawn = _raster(np.asarray(part.exterior.coords)[:-1], size_hw)
            for hole in part.interiors:
                drawn &= ~_raster(np.asarray(hole.coords)[:-1], size_hw)
            mask |= drawn
    return mask


def _raster(ring: Ring, size_hw: Size) -> Mask:
    (rle,) = coco_mask.frPyObjects([ring.reshape(-1).tolist()], *size_hw)
    runs = coco_string_runs(rle["counts"].decode("ascii"), "polygon")
    return runs_to_mask(runs, size_hw, "polygon", order="F")


def _crosses(ring: Ring) -> bool:
    """Whether a ring encloses another area than it fills.

    Where a ring only touches itself both agree. Where it crosses, its loops cancel (figure of
    eight) or count twice (overlap). Rasterising alone moves up to half a pixel of the outline.
    """
    ring = ring - ring.min(axis=0)
    ring = ring * min(1.0, CROSSING_SIDE_PX / max(float(ring.max()), 1e-9))
    polygon = shapely.Polygon(ring)
    width, height = (int(side) for side in np.ceil(ring.max(axis=0)) + 1)
    filled = int(_raster(ring, (height, width)).sum())
    return bool(abs(filled - polygon.area) > 2 + 0.5 * polygon.length + 0.02 * filled)


def known_size(size_hw: Size | None, subject: str) -> Size:
    """Return the size to draw on.

    Raises:
        AnnotationRefused: neither the export nor the caller knows it.
    """
    if size_hw is None:
        raise AnnotationRefused(
            subject, "the export does not say how large the image is", "score it with masks"
        )
    return size_hw


def _scale(unit: Unit, size_hw: Size) -> NDArray[np.float64]:
    """Factor of x and y that turns the unit into pixels."""
    if unit == "px":
        return np.ones(2)
    return np.asarray(size_hw[::-1], np.float64) / (100 if unit == "percent" else 1)


def outline(
    points: object,
    where: str,
    tally: Counter[str],
    *,
    holes: Sequence[object] = (),
    unit: Unit = "px",
    y_up: bool = False,
) -> Drawer:
    """Drawer of a polygon of points as `checked_ring` takes them, less its holes.

    With ``y_up`` y counts from the lower edge. ``unit`` is what the coordinates count, ``where``
    names the record in errors, and ``tally`` is that of `fill_polygon`, here and below.
    """

    def draw(size: Size | None) -> Mask:
        size_hw = known_size(size, where)
        rings = [checked_ring(ring, where) * _scale(unit, size_hw) for ring in (points, *holes)]
        if y_up:
            rings = [np.stack([ring[:, 0], size_hw[0] - ring[:, 1]], axis=1) for ring in rings]
        return fill_polygon(rings[0], size_hw, where, tally, rings[1:])

    return draw


def box(
    xywh: Sequence[Any],
    where: str,
    tally: Counter[str],
    *,
    unit: Unit = "px",
    rotation_deg: Any = 0.0,
    about_centre: bool = False,
) -> Drawer:
    """Drawer of a filled box, given by its upper left corner, width and height.

    It is turned clockwise on the screen, about its centre or else about its upper left corner.
    """

    def draw(size: Size | None) -> Mask:
        size_hw = known_size(size, where)
        if len(xywh) != 4:
            raise AnnotationRefused(where, f"box {xywh!r:.60}", "write x, y, width, height")
        *sides, turn = numbers([*xywh, rotation_deg], where, "box number")
        x, y, width, height = np.asarray(sides) * np.tile(_scale(unit, size_hw), 2)
        if width <= 0 or height <= 0:
            raise AnnotationRefused(where, f"a box of {width:g} x {height:g}", "draw it again")
        corners = np.asarray([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
        pivot = corners.mean(axis=0) if about_centre else corners[0]
        return fill_polygon((corners - pivot) @ _turn(turn) + pivot, size_hw, where, tally)

    return draw


def ellipse(
    centre_radii: Sequence[Any],
    where: str,
    tally: Counter[str],
    *,
    unit: Unit = "px",
    rotation_deg: Any = 0.0,
) -> Drawer:
    """Drawer of a filled ellipse, given by its centre and its half axes along x and y.

    It is turned clockwise on the screen, about its centre.
    """

    def draw(size: Size | None) -> Mask:
        size_hw = known_size(size, where)
        *values, turn = numbers([*centre_radii, rotation_deg], where, "ellipse number")
        x, y, rx, ry = np.asarray(values) * np.tile(_scale(unit, size_hw), 2)
        if rx <= 0 or ry <= 0:
            raise AnnotationRefused(where, f"an ellipse of {rx:g} x {ry:g}", "draw it again")
        angle = np.linspace(0, 2 * np.pi, ELLIPSE_CORNERS, endpoint=False)
        ring = np.stack([rx * np.cos(angle), ry * np.sin(angle)], axis=1) @ _turn(turn) + (x, y)
        return fill_polygon(ring, size_hw, where, tally)

    return draw


def _turn(degrees: float) -> NDArray[np.float64]:
    """Matrix that turns row vectors clockwise on the screen, where y points down."""
    angle = np.deg2rad(degrees)
    return np.asarray([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def paste(
    crop: Mask, origin_xy: tuple[int, int], size_hw: Size, subject: str, tally: Counter[str]
) -> Mask:
    """Lay a cropped mask on an empty image, its upper left pixel at ``origin_xy``.

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


def polygons_of(text: object, subject: str, tally: Counter[str], *, y_up: bool) -> list[Drawer]:
    """Drawers of the polygons in well-known text (``POLYGON ((x y, ...))``) or GeoJSON.

    Raises:
        AnnotationRefused: malformed, or another kind of geometry.
    """
    try:
        if isinstance(text, str):
            shape = shapely.from_wkt(text, on_invalid="fix")
        else:
            shape = shapely.geometry.shape(text)
        parts = list(shapely.get_parts(shape))
        if shape.geom_type not in ("Polygon", "MultiPolygon"):
            raise AnnotationRefused(subject, f"a {shape.geom_type}", "draw polygons or masks")
        rings = [(part.exterior, *part.interiors) for part in parts if not part.is_empty]
        points = [[[list(point[:2]) for point in ring.coords] for ring in part] for part in rings]
    except AnnotationRefused:
        raise
    except Exception as error:  # shapely raises many kinds on malformed text
        problem = f"geometry {str(text)[:40]!r}"
        raise AnnotationRefused(subject, problem, "export the labels again") from error
    return [outline(part[0], subject, tally, holes=part[1:], y_up=y_up) for part in points]
