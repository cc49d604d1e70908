"""Drawing: the one place where outlines, boxes, ellipses and run lengths become pixels.

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
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from pycocotools import mask as coco_mask

from .records import Size, broken, checked_size, numbers

MAX_PERIMETER_PX = 8e6
"""pycocotools walks the outline in steps of 0.2 px and keeps every step: some 320 MB at this."""
CROSSING_SIDE_PX = 1024  # an outline is shrunk to this before its crossings are measured
ELLIPSE_CORNERS = 180  # the polygon's area is then within 0.02 % of the ellipse's

Mask = NDArray[np.bool_]  # h w, True on the object
Ring = NDArray[np.float64]  # points 2, x right and y down
Unit = Literal["px", "percent", "fraction"]


class Canvas(NamedTuple):
    """What a shape is drawn on."""

    known_size: Size | None  # of the image, None where the export does not say
    where: str  # the record, for errors
    tally: Counter[str]  # of outlines that are clipped or cover no pixel

    @property
    def size_hw(self) -> Size:
        """Height and width of the mask."""
        if self.known_size is None:
            problem = "the export does not say how large the image is"
            raise broken(self.where, problem, "score it with masks")
        return self.known_size

    def empty(self) -> Mask:
        """Return a mask without a pixel."""
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
    """Rasterise one polygon of pixels, less its holes, as pycocotools does."""
    mask = _fill_ring(exterior, canvas)
    for ring in interiors:
        mask &= ~_fill_ring(ring, canvas)
    if not mask.any():
        canvas.tally["polygons cover no pixel"] += 1
    return mask


def _fill_ring(ring: Ring, canvas: Canvas) -> Mask:
    where, size_hw = canvas.where, canvas.size_hw
    height, width = size_hw
    polygon = inside = shapely.Polygon(ring)
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
            drawn, *holes = (_raster(r.coords[:-1], size_hw) for r in _rings(part))
            mask |= drawn & ~np.logical_or.reduce([np.zeros_like(drawn), *holes])
    return mask


def _rings(polygon: shapely.Polygon) -> list[Any]:
    return [polygon.exterior, *polygon.interiors]


def _raster(ring: ArrayLike, size_hw: Size) -> Mask:
    (rle,) = coco_mask.frPyObjects([np.ravel(ring).tolist()], *size_hw)
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

    With ``y_up`` y counts from the lower edge. ``unit`` is what coordinates count.
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
    """Drawer of a box, given by its upper left corner, width and height.

    It is turned clockwise on the screen, about its centre or else about that corner.
    """

    def draw(canvas: Canvas) -> Mask:
        (x, y, width, height), turn = _sides("box", xywh, turn_deg, unit, canvas)
        corners = np.asarray([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
        pivot = corners.mean(axis=0) if about_centre else corners[0]
        return fill_polygon((corners - pivot) @ turn + pivot, canvas)

    return draw


def ellipse(xy_radii: Sequence[Any], *, unit: Unit = "px", turn_deg: Any = 0.0) -> Drawer:
    """Drawer of an ellipse, given by its centre and half axes along x and y; turned as a box is."""

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
        problem = f"{'an' if kind == 'ellipse' else 'a'} {kind} of {scaled[2]:g} x {scaled[3]:g}"
        raise broken(canvas.where, problem, "draw it again")
    sine, cosine = np.sin(np.deg2rad(turn)), np.cos(np.deg2rad(turn))
    return scaled, np.asarray([[cosine, sine], [-sine, cosine]])


def paste(crop: Mask, origin_xy: tuple[int, int], canvas: Canvas) -> Mask:
    """Lay a cropped mask on an empty image, its upper left pixel at ``origin_xy``."""
    left, top = origin_xy
    height, width = canvas.size_hw
    y0, y1 = np.clip((top, top + crop.shape[0]), 0, height)
    x0, x1 = np.clip((left, left + crop.shape[1]), 0, width)
    inside = crop[y0 - top : y1 - top, x0 - left : x1 - left]
    if 2 * inside.size < crop.size:
        held = f"a mask of {crop.shape[1]} x {crop.shape[0]} pixels at ({left}, {top})"
        problem = f"{held} lies outside its image of {width} x {height}"
        raise broken(canvas.where, problem, "check the image and its scale")
    if inside.size < crop.size:
        canvas.tally["masks cut at the image border"] += 1
    mask = canvas.empty()
    mask[y0:y1, x0:x1] = inside
    return mask


def polygons_of(geometry: object, where: str, *, y_up: bool) -> list[Drawer]:
    """Drawers of the polygons in well-known text (``POLYGON ((x y, ...))``) or GeoJSON."""
    try:
        if isinstance(geometry, str):
            shape = shapely.from_wkt(geometry, on_invalid="fix")
        else:
            shape = shapely.geometry.shape(geometry)
        kind, parts = shape.geom_type, [p for p in shapely.get_parts(shape) if not p.is_empty]
    except Exception as error:  # shapely raises many kinds on malformed text
        raise broken(where, f"geometry {str(geometry)[:40]!r}") from error
    if kind not in ("Polygon", "MultiPolygon"):
        raise broken(where, f"a {kind}", "draw polygons or masks")
    points = [[[list(xy[:2]) for xy in ring.coords] for ring in _rings(part)] for part in parts]
    return [outline(exterior, holes, y_up=y_up) for exterior, *holes in points]


def runs_to_mask(runs: NDArray[np.int64], size_hw: Size, where: str, *, order: str) -> Mask:
    """Spread run lengths, background and object in turn, over a mask.

    ``order`` is ``F`` (COCO: down the columns) or ``C`` (CVAT: along the rows). The C decoder of
    pycocotools trusts its input, so strings of foreign files do not go there.
    """
    height, width = size_hw
    if runs.size and (runs.min() < 0 or runs.max() > height * width):
        raise broken(where, "a run length below 0 or above the image")
    total = int(runs.sum())
    if total != height * width:
        pixels = f"{height} x {width} = {height * width} pixels"
        raise broken(where, f"run lengths cover {total} of {pixels}")
    flat = np.repeat(np.arange(runs.size) % 2 == 1, runs)
    return flat.reshape((width, height)).T if order == "F" else flat.reshape((height, width))


def coco_string_runs(counts: str, where: str) -> NDArray[np.int64]:
    """Decode the compressed COCO string to run lengths.

    Six-bit groups from character 48 on: five bits of value, lowest first, and one that says more
    follow; the last group's fifth bit is the sign; from the fourth run on the value is the
    difference to the run two before.
    """
    codes = np.frombuffer(counts.encode("utf-8", "replace"), np.uint8).astype(np.int64) - 48
    if codes.size == 0 or codes.min() < 0 or codes.max() > 63 or codes[-1] & 0x20:
        raise broken(where, "the RLE string is cut or holds foreign characters")
    last = np.flatnonzero((codes & 0x20) == 0)
    first = np.concatenate(([0], last[:-1] + 1))
    lengths = last - first + 1
    if lengths.max() > 7:  # 35 bits: far above any image
        raise broken(where, "a run length above the image")
    place = np.arange(codes.size) - np.repeat(first, lengths)
    deltas = np.add.reduceat((codes & 0x1F) << (5 * place), first)
    deltas = np.where(codes[last] & 0x10, deltas - (np.int64(1) << (5 * lengths)), deltas)
    for parity in (slice(1, None, 2), slice(2, None, 2)):
        deltas[parity] = np.cumsum(deltas[parity])
    return deltas


def decode_coco_rle(rle: Mapping[str, Any], size_hw: Size | None, where: str) -> Mask:
    """Decode a COCO RLE record, compressed (string) or not (list)."""
    size, counts = rle.get("size"), rle.get("counts")
    if not isinstance(size, list) or len(size) != 2:
        raise broken(where, "an RLE with no [height, width]")
    own = checked_size(size[0], size[1], where)
    if size_hw is not None and own != size_hw:
        sides = f"{own[1]} x {own[0]} pixels on an image of {size_hw[1]} x {size_hw[0]}"
        raise broken(where, f"an RLE of {sides}")
    if isinstance(counts, str):
        runs = coco_string_runs(counts, where)
    elif not isinstance(counts, list) or not counts:
        raise broken(where, "no run lengths")
    elif any(type(run) is not int or not -1 <= run < 1 << 40 for run in counts):
        raise broken(where, "run lengths that are not whole numbers")
    else:
        runs = np.asarray(counts, np.int64)
    return runs_to_mask(runs, own, where, order="F")
