"""Supervisely: one JSON an image, `ann/NAME.json`, with polygons and packed bitmaps."""

import zlib
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

from l4f_datagen.annotations.bundle import Bundle
from l4f_datagen.annotations.labelme import box_drawer, json_names
from l4f_datagen.annotations.mask_files import decode_base64
from l4f_datagen.annotations.pictures import decode_picture, object_pixels
from l4f_datagen.annotations.polygons import checked_ring, fill_polygon, fill_size, paste
from l4f_datagen.annotations.shapes import Drawer, ImageShapes, Shape, Size, truth_from_shapes
from l4f_datagen.annotations.truth import Mask, TruthOptions, TruthSet, checked_name, checked_size
from l4f_datagen.core.errors import AnnotationRefused

MAX_PNG_BYTES = 64 << 20  # of one unpacked bitmap


def matches(bundle: Bundle) -> bool:
    """Tell whether the first annotation file has `size` and `objects`."""
    for name in _annotation_names(bundle)[:1]:
        try:
            data = bundle.json(name)
        except AnnotationRefused:
            return b'"classTitle"' in bundle.head(name, 4096)
        return (
            isinstance(data, dict)
            and isinstance(data.get("size"), dict)
            and isinstance(data.get("objects"), list)
        )
    return False


def _annotation_names(bundle: Bundle) -> list[str]:
    names = json_names(bundle)
    inside = [name for name in names if "ann" in PurePosixPath(name).parts[:-1]]
    own = ("meta.json", "obj_class_to_machine_color.json", "key_id_map.json")
    return inside or [name for name in names if PurePosixPath(name).name not in own]


def read(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """Read every annotation file of the bundle.

    Raises:
        AnnotationRefused: a malformed file or object, or the rules of `truth_from_shapes`.
    """
    tally: Counter[str] = Counter()
    images = []
    for name in _annotation_names(bundle):
        data, subject = bundle.json(name), bundle.subject(name)
        bundle.forget(name)
        size = data.get("size") if isinstance(data, dict) else None
        if not isinstance(size, dict) or not isinstance(data.get("objects"), list):
            raise AnnotationRefused(subject, "no `size` and `objects`", "export it again")
        shapes = [
            _shape(record, f"{subject} object {n}", tally)
            for n, record in enumerate(data["objects"], 1)
        ]
        image_name = checked_name(PurePosixPath(name).stem, subject)
        size_hw = checked_size(size.get("height"), size.get("width"), subject)
        images.append(ImageShapes(image_name, subject, size_hw, [shapes]))
    return truth_from_shapes(bundle, "supervisely", images, options, tally)


def _shape(record: object, where: str, tally: Counter[str]) -> Shape:
    if not isinstance(record, dict):
        raise AnnotationRefused(where, "no record", "export the project again")
    category = record.get("classTitle")
    if not isinstance(category, str):
        raise AnnotationRefused(where, f"classTitle {category!r:.40}", "give the object a class")
    kind = record.get("geometryType")
    nested = record.get("geometry")
    geometry = nested if isinstance(nested, dict) else record  # some tools nest what others do not
    if kind == "polygon":
        return Shape(category, where, "area", _polygon_drawer(geometry.get("points"), where, tally))
    if kind in ("bitmap", "alpha_mask"):
        bitmap = geometry.get("bitmap")
        return Shape(category, where, "area", _bitmap_drawer(bitmap, where, tally))
    if kind == "rectangle":
        return Shape(category, where, "box", _box_drawer(geometry.get("points"), where, tally))
    return Shape(category, where, "other")


def _rings(points: object, where: str) -> tuple[Any, list[Any]]:
    exterior = points.get("exterior") if isinstance(points, dict) else None
    interior = (points.get("interior") or []) if isinstance(points, dict) else None
    if not isinstance(exterior, list) or not isinstance(interior, list):
        raise AnnotationRefused(where, "no `exterior` and `interior`", "export the project again")
    return exterior, interior


def _polygon_drawer(points: object, where: str, tally: Counter[str]) -> Drawer:
    def draw(size: Size | None) -> Mask:
        exterior, interior = _rings(points, where)
        holes = [checked_ring(ring, where) for ring in interior]
        outline = checked_ring(exterior, where)
        return fill_polygon(outline, fill_size(size, where), where, tally, holes)

    return draw


def _bitmap_drawer(bitmap: object, where: str, tally: Counter[str]) -> Drawer:
    def draw(size: Size | None) -> Mask:
        record = bitmap if isinstance(bitmap, dict) else {}
        origin = record.get("origin")
        if (
            not isinstance(origin, list)
            or len(origin) != 2
            or any(type(number) is not int for number in origin)
        ):
            raise AnnotationRefused(where, f"origin {origin!r:.40}", "write [x, y]")
        png = inflate(decode_base64(record.get("data"), where), where)
        crop = object_pixels(decode_picture(png, where))
        return paste(crop, (origin[0], origin[1]), fill_size(size, where), where, tally)

    return draw


def inflate(data: bytes, where: str, limit: int = MAX_PNG_BYTES) -> bytes:
    """Unpack zlib bytes up to a limit.

    Raises:
        AnnotationRefused: not zlib, cut, or more than ``limit`` bytes.
    """
    machine = zlib.decompressobj()
    try:
        unpacked = machine.decompress(data, limit)
    except zlib.error as error:
        raise AnnotationRefused(where, "a bitmap that is not zlib", "export it again") from error
    if machine.unconsumed_tail:
        raise AnnotationRefused(
            where, f"a bitmap of more than {limit >> 20} MiB", "a zip bomb is not read"
        )
    return unpacked


def _box_drawer(points: object, where: str, tally: Counter[str]) -> Drawer:
    def draw(size: Size | None) -> Mask:
        corners, _ = _rings(points, where)
        return box_drawer(corners, where, tally)(size)

    return draw
