"""Drawing: the one place where outlines, boxes, ellipses and run lengths become pixels.

Refused in every format: a vertex that is not a finite number, fewer than three distinct ones;
fractions where pixels are expected; an outline that lies more than half outside its image (another
image, another scale), where one that leaves it by less is cut and counted; one that crosses itself
so that other pixels are inside, where outlines that only touch themselves (keyholes) are read. An
outline that covers no pixel centre is read as no pixels and counted.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from pycocotools import mask as coco_mask

from l4f_datagen.core.masks import Mask

from .records import Size, broken, checked_size, numbers, shown

MAX_PERIMETER_PX = 8e6
"""pycocotools walks the outline in steps of 0.2 px and keeps every step: some 320 MB at this."""
CROSSING_SIDE_PX = 1024  # an outline is shrunk to this before its crossings are measured
ELLIPSE_ANGLES = np.linspace(0, 2 * np.pi, 180, endpoint=False)
"""The polygon's area is then within 0.02 % of the ellipse's."""
SQUARE = np.asarray([[0, 0], [1, 0], [1, 1], [0, 1]])

Ring = NDArray[np.float64]  # points 2, x right and y down
Kind = Literal["area", "box", "crowd", "other", "unread"]


class Canvas(NamedTuple):
    """What a shape is drawn on."""

    known_size: Size | None  # of the image, None where the export does not say
    where: str  # the record, for errors
    tally: Counter[str]  # of outlines that are clipped or cover no pixel

    @property
    def size_hw(self) -> Size:
        """Height and width of the mask."""
        if self.known_size is None:
            raise broken(self.where, "does not say how large the image is", "score it with masks")
        return self.known_size

    def empty(self) -> Mask:
        """Return a mask without a pixel."""
        return np.zeros(self.size_hw, np.bool_)

    def scale(self, side: float | None) -> NDArray[np.float64]:
        """Pixels per x and y; ``side`` is what a side of the image counts, None: pixels."""
        height, width = self.size_hw
        return np.ones(2) if side is None else np.asarray([width, height], np.float64) / side


Drawer = Callable[[Canvas], Mask]


class Area(NamedTuple):
    """What an object covers."""

    draw: Drawer | None  # None: it has no area
    # A ``crowd`` is not scored, ``other`` (points, lines) is counted and never drawn, ``unread`` is
    # an area that the reader cannot draw: refused where its class is asked for.
    kind: Kind = "area"
    problem: str = ""  # what an unread area is


NO_AREA = Area(None, "other")
NO_AREAS = ("point", "points", "keypoints", "line", "linestrip", "polyline", "graph", "skeleton",
            "cuboid", "cuboid_3d", "multichannel_nd")  # fmt: skip


def undrawn(kind: object) -> Area:
    """What is never drawn: kinds without an area, and those that no reader knows."""
    return NO_AREA if kind in NO_AREAS else Area(None, "unread", f"an object of kind {kind!r:.40}")


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
    canvas.tally["polygons cover no pixel"] += not mask.any()
    return mask


def _fill_ring(ring: Ring, canvas: Canvas) -> Mask:
    where, size_hw = canvas.where, canvas.size_hw
    height, width = size_hw
    polygon = inside = shapely.Polygon(ring)
    if polygon.length > MAX_PERIMETER_PX:
        raise broken(where, f"an outline longer than {MAX_PERIMETER_PX:g} pixels", "draw it again")
    low, high = ring.min(axis=0), ring.max(axis=0)
    # Corners at exactly 0 and 1 are the outline of the first pixel.
    if min(size_hw) > 8 and low.min() >= 0 and high.max() <= 1 and (ring % 1 != 0).any():
        raise broken(where, f"coordinates from 0 to 1 on {shown(size_hw)}", "write pixels")
    if not polygon.is_valid and _crosses(ring):
        raise broken(where, "the polygon crosses itself", "draw it without crossings")
    if low.min() < 0 or high[0] > width or high[1] > height:
        inside = shapely.clip_by_rect(polygon, 0, 0, width, height)
        if inside.is_empty or inside.area < 0.5 * polygon.area:
            span = f"({low[0]:g}, {low[1]:g}) to ({high[0]:g}, {high[1]:g})"
            problem = f"a polygon from {span} lies outside its image of {shown(size_hw)}"
            raise broken(where, problem, "check the image and its scale")
        canvas.tally["polygons clipped at the image border"] += 1
    mask = canvas.empty()
    for part in shapely.get_parts(inside):
        if isinstance(part, shapely.Polygon):  # a clipped spike leaves a line or a point
            drawn = _raster(part.exterior.coords[:-1], size_hw)
            for hole in part.interiors:
                drawn &= ~_raster(hole.coords[:-1], size_hw)
            mask |= drawn
    return mask


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


def outline(
    points: object, holes: Sequence[object] = (), *, side: float | None = None, y_up: bool = False
) -> Area:
    """Polygon of points as `checked_ring` takes them, less its holes.

    ``side`` is that of `Canvas.scale`. With ``y_up`` y counts from the lower edge.
    """

    def draw(canvas: Canvas) -> Mask:
        scale, height = canvas.scale(side), canvas.size_hw[0]
        rings = [checked_ring(ring, canvas.where) * scale for ring in (points, *holes)]
        if y_up:
            rings = [np.stack([ring[:, 0], height - ring[:, 1]], axis=1) for ring in rings]
        return fill_polygon(rings[0], canvas, rings[1:])

    return Area(draw)


def box(
    xywh: Sequence[Any],
    *,
    side: float | None = None,
    turn_deg: Any = 0.0,
    pivot: Literal["corner", "centre", "ellipse"] = "corner",
) -> Area:
    """Box by its upper left corner, width and height; ``side`` as for `outline`.

    It is turned clockwise on the screen, about that corner or its centre, see `ellipse`.
    """
    kind = "ellipse" if pivot == "ellipse" else "box"

    def draw(canvas: Canvas) -> Mask:
        if len(xywh) != 4:
            raise broken(canvas.where, f"{kind} {xywh!r:.60}", "write x, y, width, height")
        *values, turn = numbers([*xywh, turn_deg], canvas.where, f"{kind} number")
        place, sides = np.asarray(values).reshape(2, 2) * canvas.scale(side)
        if sides.min() <= 0:
            raise broken(canvas.where, f"{kind} sides {sides[0]:g}, {sides[1]:g}", "draw it again")
        if pivot == "ellipse":
            about = place
            offsets = sides * np.stack([np.cos(ELLIPSE_ANGLES), np.sin(ELLIPSE_ANGLES)], axis=1)
        else:
            corners = place + sides * SQUARE
            about = corners.mean(axis=0) if pivot == "centre" else corners[0]
            offsets = corners - about
        sine, cosine = np.sin(np.deg2rad(turn)), np.cos(np.deg2rad(turn))
        ring = offsets @ np.asarray([[cosine, sine], [-sine, cosine]]) + about
        return fill_polygon(ring, canvas)

    return Area(draw, "area" if pivot == "ellipse" else "box")


ellipse = partial(box, pivot="ellipse")
"""Ellipse by its centre and half axes along x and y; turned as a box is."""


def paste(crop: Mask, origin_xy: tuple[int, int], canvas: Canvas) -> Mask:
    """Lay a cropped mask on an empty image, its upper left pixel at ``origin_xy``."""
    left, top = origin_xy
    height, width = canvas.size_hw
    y0, y1 = (min(max(n, 0), height) for n in (top, top + crop.shape[0]))
    x0, x1 = (min(max(n, 0), width) for n in (left, left + crop.shape[1]))
    inside = crop[y0 - top : y1 - top, x0 - left : x1 - left]
    if 2 * inside.size < crop.size:
        problem = f"a mask of {shown(crop.shape)} at ({left}, {top}) lies outside its image"
        raise broken(canvas.where, problem, "check the image and its scale")
    canvas.tally["masks cut at the image border"] += inside.size < crop.size
    mask = canvas.empty()
    mask[y0:y1, x0:x1] = inside
    return mask


def polygons_of(geometry: object, where: str, *, y_up: bool) -> list[Area]:
    """The polygons in well-known text (``POLYGON ((x y, ...))``) or GeoJSON."""
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
    rings = [[part.exterior, *part.interiors] for part in parts]
    points = [[[list(xy[:2]) for xy in ring.coords] for ring in part] for part in rings]
    return [outline(exterior, holes, y_up=y_up) for exterior, *holes in points]


def runs_to_mask(runs: NDArray[np.int64], size_hw: Size, where: str, *, order: str) -> Mask:
    """Spread run lengths, background and object in turn, over a mask.

    ``order`` is ``F`` (COCO: down the columns) or ``C`` (CVAT: along the rows). The C decoder of
    pycocotools trusts its input, so strings of foreign files do not go there.
    """
    height, width = size_hw
    if runs.size and (runs.min() < 0 or runs.max() > height * width):
        raise broken(where, "a run length below 0 or above the image")
    if runs.sum() != height * width:
        raise broken(where, f"run lengths cover {runs.sum()} of {shown(size_hw)}")
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
    if size_hw is not None and size_hw != own:
        raise broken(where, f"an RLE of {shown(own)} on an image of {shown(size_hw)}")
    if isinstance(counts, str):
        return runs_to_mask(coco_string_runs(counts, where), own, where, order="F")
    if not isinstance(counts, list) or not counts:
        raise broken(where, "no run lengths")
    if any(type(run) is not int or not -1 <= run < 1 << 40 for run in counts):
        raise broken(where, "run lengths that are not whole numbers")
    return runs_to_mask(np.asarray(counts, np.int64), own, where, order="F")
