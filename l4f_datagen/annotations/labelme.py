"""LabelMe: one JSON an image, alone or in a folder beside its images."""

from collections import Counter
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from l4f_datagen.annotations.bundle import Bundle
from l4f_datagen.annotations.mask_files import decode_base64
from l4f_datagen.annotations.pictures import decode_picture, object_pixels
from l4f_datagen.annotations.polygons import (
    checked_ring,
    fill_box_xywh,
    fill_ellipse,
    fill_polygon,
    fill_size,
    paste,
)
from l4f_datagen.annotations.shapes import Drawer, ImageShapes, Shape, Size, truth_from_shapes
from l4f_datagen.annotations.truth import Mask, TruthOptions, TruthSet, checked_name, checked_size
from l4f_datagen.core.errors import AnnotationRefused

POLYGONS = ("polygon", "oriented_rectangle", "", None)


def matches(bundle: Bundle) -> bool:
    """Tell whether the first JSON has `shapes` and `imagePath`."""
    for name in json_names(bundle)[:1]:
        try:
            data = bundle.json(name)
        except AnnotationRefused:
            return b'"shapes"' in bundle.head(name, 4096)
        return isinstance(data, dict) and "shapes" in data and "imagePath" in data
    return False


def json_names(bundle: Bundle) -> list[str]:
    """The JSON files of a bundle; a single file counts whatever its name."""
    if bundle.kind == "file":
        return [name for name in bundle.names if bundle.document()]
    return [name for name in bundle.names if name.lower().endswith(".json")]


def read(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """Read every JSON of the bundle.

    Raises:
        AnnotationRefused: a malformed file or shape, or the rules of `truth_from_shapes`.
    """
    tally: Counter[str] = Counter()
    images = []
    for name in json_names(bundle):
        data, subject = bundle.json(name), bundle.subject(name)
        bundle.forget(name)
        if not isinstance(data, dict) or not isinstance(data.get("shapes"), list):
            raise AnnotationRefused(subject, "`shapes` is no list", "save it with LabelMe again")
        shapes = [
            _shape(record, f"{subject} shape {n}", tally)
            for n, record in enumerate(data["shapes"], 1)
        ]
        images.append(
            ImageShapes(_name(data, name, subject), subject, _size(data, subject), [shapes])
        )
    return truth_from_shapes(bundle, "labelme", images, options, tally)


def _name(data: dict[str, Any], name: str, subject: str) -> str:
    """The image a file describes; LabelMe writes paths that climb out of their folder."""
    raw = data.get("imagePath") or f"{PurePosixPath(name).stem}.png"
    return checked_name(raw, subject, parents=True)


def _size(data: dict[str, Any], subject: str) -> Size | None:
    if data.get("imageHeight") is not None or data.get("imageWidth") is not None:
        return checked_size(data.get("imageHeight"), data.get("imageWidth"), subject)
    if data.get("imageData"):
        return decode_picture(decode_base64(data["imageData"], subject), subject).size_hw
    return None


def _shape(record: object, where: str, tally: Counter[str]) -> Shape:
    if not isinstance(record, dict):
        raise AnnotationRefused(where, "no record", "save it with LabelMe again")
    category = record.get("label")
    if not isinstance(category, str):
        raise AnnotationRefused(where, f"label {category!r:.40}", "give the shape a label")
    kind, points = record.get("shape_type"), record.get("points")
    if kind in POLYGONS:
        return Shape(category, where, "area", _polygon_drawer(points, where, tally))
    if kind == "mask":
        return Shape(category, where, "area", _mask_drawer(record, where, tally))
    if kind == "circle":
        return Shape(category, where, "area", _circle_drawer(points, where, tally))
    if kind == "rectangle":
        return Shape(category, where, "box", box_drawer(points, where, tally))
    return Shape(category, where, "other")


def _polygon_drawer(points: object, where: str, tally: Counter[str]) -> Drawer:
    def draw(size: Size | None) -> Mask:
        return fill_polygon(checked_ring(points, where), fill_size(size, where), where, tally)

    return draw


def _two_points(points: object, where: str) -> tuple[float, float, float, float]:
    pairs = points if isinstance(points, list) else []
    if len(pairs) != 2 or any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
        raise AnnotationRefused(where, f"points {points!r:.40}", "write two [x, y] points")
    numbers = [number for pair in pairs for number in pair]
    if any(type(n) not in (int, float) or not abs(n) < 1e9 for n in numbers):
        raise AnnotationRefused(where, f"points {points!r:.40}", "write finite pixel numbers")
    x0, y0, x1, y1 = numbers
    return x0, y0, x1, y1


def _mask_drawer(record: dict[str, Any], where: str, tally: Counter[str]) -> Drawer:
    """Drawer of a crop whose two points are its first and last pixel, both inside."""

    def draw(size: Size | None) -> Mask:
        x0, y0, x1, y1 = (int(number) for number in _two_points(record.get("points"), where))
        crop = object_pixels(decode_picture(decode_base64(record.get("mask"), where), where))
        if crop.shape != (y1 - y0 + 1, x1 - x0 + 1):
            raise AnnotationRefused(
                where,
                f"a mask of {crop.shape[1]} x {crop.shape[0]} pixels for points "
                f"({x0}, {y0}) to ({x1}, {y1})",
                "save it with LabelMe again",
            )
        return paste(crop, (x0, y0), fill_size(size, where), where, tally)

    return draw


def _circle_drawer(points: object, where: str, tally: Counter[str]) -> Drawer:
    """Drawer of a circle given by its centre and a point on it."""

    def draw(size: Size | None) -> Mask:
        x0, y0, x1, y1 = _two_points(points, where)
        radius = float(np.hypot(x1 - x0, y1 - y0))
        return fill_ellipse((x0, y0), (radius, radius), fill_size(size, where), where, tally)

    return draw


def box_drawer(points: object, where: str, tally: Counter[str]) -> Drawer:
    """Drawer of a box given by two corners that face each other (pixels)."""

    def draw(size: Size | None) -> Mask:
        x0, y0, x1, y1 = _two_points(points, where)
        box = [min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0)]
        return fill_box_xywh(box, fill_size(size, where), where, tally)

    return draw
