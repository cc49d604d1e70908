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
from typing import Any, Literal, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from l4f_datagen.annotations.records import Size, broken, numbers
from l4f_datagen.annotations.rle import Mask, coco_string_runs, runs_to_mask
from l4f_datagen.core.errors import AnnotationRefused

MAX_PERIMETER_PX = 8e6
"""pycocotools walks the outline in steps of 0.2 px and keeps every step: some 320 MB at this."""
CROSSING_SIDE_PX = 1024  # an outline is shrunk to this before its crossings are measured
ELLIPSE_CORNERS = 180  # the polygon's area is then within 0.02 % of the ellipse's

Ring = NDArray[np.float64]  # points 2, x right and y down
Unit = Literal["px", "percent", "fraction"]


class Canvas(NamedTuple):
    """What a shape is drawn on.

    Attributes:
        known_size: height and width of the image, None where the export does not say.
        where: the record, for errors.
        tally: counts outlines that are clipped or cover no pixel.
    """

    known_size: Size | None
    where: str
    tally: Counter[str]

    @property
    def size_hw(self) -> Size:
        """Height and width of the mask."""
        if self.known_size is None:
            problem = "the export does not say how large the image is"
            raise broken(self.where, problem, "score it with masks")
        return self.known_size

    def empty(self) -> Mask:
        """Mask without a pixel."""
        return np.zeros(self.size_hw, np.bool_)


Drawer = Callable[[Canvas], Mask]


def checked_ring(points: object, where: str) -> Ring:
    """Vertices of ``[x, y]`` pairs or ``{"x": x, "y": y}`` records, three distinct at least."""
    if not isinstance(points, Sequence) or isinstance(points, str | bytes):
        raise broken(where, "a polygon that is not a list of points", "draw it again")
    pairs: list[tuple[float, ...]] = []
    for point in points:
        pair = [point.get("x"), point.get("y")] if isinstance(point, dict) else point
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise broken(where, f"polygon point {point!r:.40}", "write [x, y] pairs")
        pairs.append(numbers(pair, where, "polygon coordinate"))
    ring = np.asarray(pairs, np.float64).reshape(-1, 2)
    distinct = len(np.unique(ring, axis=0))
    if distinct < 3:
        raise broken(where, f"a polygon of {distinct} distinct points", "draw at least three")
    return ring


def fill_polygon(exterior: Ring, canvas: Canvas, interiors: Sequence[Ring] = ()) -> Mask:
    """Rasterise one polygon of pixels, less its holes, as pycocotools does; bool ``h w``."""
    mask = _fill_ring(exterior, canvas)
    for ring in interiors:
        mask &= ~_fill_ring(ring, canvas)
    if not mask.any():
        canvas.tally["polygons cover no pixel"] += 1
    return mask


def _fill_ring(ring: Ring, canvas: Canvas) -> Mask:
    where, size_hw = canvas.where, canvas.size_hw
    height, width = size_hw
    polygon = shapely.Polygon(ring)
    if polygon.length > MAX_PERIMETER_PX:
        problem = f"an outline longer than {MAX_PERIMETER_PX:g} pixels"
        raise broken(where, problem, "draw it again")
    low, high = ring.min(axis=0), ring.max(axis=0)
    # Corners at exactly 0 and 1 are the outline of the first pixel.
    if min(size_hw) > 8 and low.min() >= 0 and high.max() <= 1 and (ring % 1 != 0).any():
        problem = f"coordinates from 0 to 1 on an image of {width} x {height} pixels"
        raise broken(where, problem, "write pixels")
    if not polygon.is_valid and _crosses(ring):
        raise broken(where, "the polygon crosses itself", "draw it without crossings")
    inside = polygon
    if low.min() < 0 or high[0] > width or high[1] > height:
        inside = shapely.clip_by_rect(polygon, 0, 0, width, height)
        if inside.is_empty or inside.area < 0.5 * polygon.area:
            span = f"({low[0]:g}, {low[1]:g}) to ({high[0]:g}, {high[1]:g})"
            problem = f"a polygon from {span} lies outside its image of {width} x {height} pixels"
            raise broken(where, problem, "check the image and its scale")
        canvas.tally["polygons clipped at the image border"] += 1
    mask = canvas.empty()
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


def _scale(unit: Unit, size_hw: Size) -> NDArray[np.float64]:
    """Factor of x and y that turns the unit into pixels."""
    if unit == "px":
        return np.ones(2)
    return np.asarray(size_hw[::-1], np.float64) / (100 if unit == "percent" else 1)


def outline(
    points: object, holes: Sequence[object] = (), *, unit: Unit = "px", y_up: bool = False
) -> Drawer:
    """Drawer of a polygon of points as `checked_ring` takes them, less its holes.

    With ``y_up`` y counts from the lower edge. ``unit`` is what the coordinates count, here and
    below.
    """

    def draw(canvas: Canvas) -> Mask:
        scale = _scale(unit, canvas.size_hw)
        rings = [checked_ring(ring, canvas.where) * scale for ring in (points, *holes)]
        if y_up:
            height = canvas.size_hw[0]
            rings = [np.stack([ring[:, 0], height - ring[:, 1]], axis=1) for ring in rings]
        return fill_polygon(rings[0], canvas, rings[1:])

    return draw


def box(
    xywh: Sequence[Any], *, unit: Unit = "px", turn_deg: Any = 0.0, about_centre: bool = False
) -> Drawer:
    """Drawer of a filled box, given by its upper left corner, width and height.

    It is turned clockwise on the screen, about its centre or else about its upper left corner.
    """

    def draw(canvas: Canvas) -> Mask:
        (x, y, width, height), turn = _sides("box", xywh, turn_deg, unit, canvas)
        corners = np.asarray([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
        pivot = corners.mean(axis=0) if about_centre else corners[0]
        return fill_polygon((corners - pivot) @ turn + pivot, canvas)

    return draw


def ellipse(xy_radii: Sequence[Any], *, unit: Unit = "px", turn_deg: Any = 0.0) -> Drawer:
    """Drawer of a filled ellipse, given by its centre and its half axes along x and y.

    It is turned clockwise on the screen, about its centre.
    """

    def draw(canvas: Canvas) -> Mask:
        (x, y, rx, ry), turn = _sides("ellipse", xy_radii, turn_deg, unit, canvas)
        angle = np.linspace(0, 2 * np.pi, ELLIPSE_CORNERS, endpoint=False)
        ring = np.stack([rx * np.cos(angle), ry * np.sin(angle)], axis=1) @ turn + (x, y)
        return fill_polygon(ring, canvas)

    return draw


def _sides(
    kind: str, values: Sequence[Any], turn_deg: Any, unit: Unit, canvas: Canvas
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Place and sides in pixels, and the matrix that turns row vectors, y down, clockwise."""
    if len(values) != 4:
        raise broken(canvas.where, f"{kind} {values!r:.60}", "write x, y, width, height")
    *sides, turn = numbers([*values, turn_deg], canvas.where, f"{kind} number")
    scaled = np.asarray(sides) * np.tile(_scale(unit, canvas.size_hw), 2)
    if scaled[2:].min() <= 0:
        article = "an" if kind == "ellipse" else "a"
        problem = f"{article} {kind} of {scaled[2]:g} x {scaled[3]:g}"
        raise broken(canvas.where, problem, "draw it again")
    sine, cosine = np.sin(np.deg2rad(turn)), np.cos(np.deg2rad(turn))
    return scaled, np.asarray([[cosine, sine], [-sine, cosine]])


def paste(crop: Mask, origin_xy: tuple[int, int], canvas: Canvas) -> Mask:
    """Lay a cropped mask on an empty image, its upper left pixel at ``origin_xy``."""
    left, top = origin_xy
    height, width = canvas.size_hw
    rows = slice(max(top, 0), max(min(top + crop.shape[0], height), 0))
    columns = slice(max(left, 0), max(min(left + crop.shape[1], width), 0))
    inside = crop[
        rows.start - top : max(rows.stop - top, 0),
        columns.start - left : max(columns.stop - left, 0),
    ]
    if 2 * inside.size < crop.size:
        sides = f"{crop.shape[1]} x {crop.shape[0]} pixels at ({left}, {top})"
        problem = f"a mask of {sides} lies outside its image of {width} x {height}"
        raise broken(canvas.where, problem, "check the image and its scale")
    if inside.size < crop.size:
        canvas.tally["masks cut at the image border"] += 1
    mask = canvas.empty()
    mask[rows, columns] = inside
    return mask


def polygons_of(geometry: object, where: str, *, y_up: bool) -> list[Drawer]:
    """Drawers of the polygons in well-known text (``POLYGON ((x y, ...))``) or GeoJSON."""
    try:
        if isinstance(geometry, str):
            shape = shapely.from_wkt(geometry, on_invalid="fix")
        else:
            shape = shapely.geometry.shape(geometry)
        if shape.geom_type not in ("Polygon", "MultiPolygon"):
            raise broken(where, f"a {shape.geom_type}", "draw polygons or masks")
        rings = [
            [[list(point[:2]) for point in ring.coords] for ring in (p.exterior, *p.interiors)]
            for p in shapely.get_parts(shape)
            if not p.is_empty
        ]
    except AnnotationRefused:
        raise
    except Exception as error:  # shapely raises many kinds on malformed text
        raise broken(where, f"geometry {str(geometry)[:40]!r}") from error
    return [outline(exterior, holes, y_up=y_up) for exterior, *holes in rings]
