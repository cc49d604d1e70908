"""Formats of one JSON file an image: LabelMe, Cityscapes and Supervisely.

A later shape covers those below it, as in the masks that their own tools draw.
"""

import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath

from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.core.masks import Mask

from .bundle import Bundle, parse_json
from .drawing import Area, Canvas, box, ellipse, outline, paste, undrawn
from .mask_rule import mask_image, object_mask
from .records import Record, broken, checked_name, decode_base64, numbers, shown
from .shapes import ImageShapes, Label, Shape

MAX_PNG_BYTES = 64 << 20  # of one unpacked bitmap: as many as the pixels that are read
GROUP = "group"  # of Cityscapes: `cargroup` is one area of several cars
SUPERVISELY = ("size", "objects")
SUPERVISELY_OWN = ("meta.json", "obj_class_to_machine_color.json", "key_id_map.json")


def _find(bundle: Bundle, keys: tuple[str, str]) -> list[str]:
    """The JSON files, if the first is an object with these keys, or broken but with the last.

    A single file counts whatever its name. Supervisely's files lie in folders ``ann``, beside
    others of its own.
    """
    document = bundle.document() if bundle.kind == "file" else None
    names = [document] if document else bundle.ending(".json")
    if keys == SUPERVISELY:
        inside = [name for name in names if "ann" in PurePosixPath(name).parts[:-1]]
        names = inside or [n for n in names if PurePosixPath(n).name not in SUPERVISELY_OWN]
    try:
        data = bundle.json(names[0]) if names else None
        is_own = isinstance(data, dict) and data.keys() >= set(keys)
    except AnnotationRefused:
        is_own = f'"{keys[-1]}"'.encode() in bundle.head(names[0], 4096)
    return names if is_own else []


find_labelme = partial(_find, keys=("imagePath", "shapes"))
find_cityscapes = partial(_find, keys=("imgHeight", "objects"))
find_supervisely = partial(_find, keys=SUPERVISELY)


def _records(bundle: Bundle, names: list[str]) -> Iterator[tuple[str, Record]]:
    for name in names:
        where = bundle.subject(name)
        yield name, Record.of(parse_json(bundle.text(name), where), where)


def read_labelme(bundle: Bundle, names: list[str]) -> Iterator[ImageShapes]:
    """Read LabelMe's files; one without shapes is an empty truth."""
    for file, data in _records(bundle, names):
        shapes = [
            Shape((record.text("label"),), record.where, *_labelme_area(record))
            for record in data.records("shapes", "shape")
        ]
        skipped = data.part("flags").get("__ignore__") is True
        # LabelMe writes paths that climb out of their folder.
        raw = data.get("imagePath") or f"{PurePosixPath(file).stem}.png"
        image = ImageShapes(checked_name(raw, data.where, parents=True), data.where)
        if data.many("imageHeight", "imageWidth") != [None, None]:
            image.size_hw = data.size("imageHeight", "imageWidth")
        elif data.get("imageData"):
            picture = decode_base64(data.get("imageData"), data.where)
            image.size_hw = mask_image(picture, data.where).size_hw
        image.labels.append(Label(shapes, "skipped" if skipped else "plain"))
        yield image


def _labelme_area(record: Record) -> Area:
    points, kind = record.many("points", "shape_type")
    if kind in ("polygon", "oriented_rectangle", "", None):
        return outline(points)
    if kind == "mask":
        return Area(partial(_draw_crop, record))
    if kind == "rectangle":
        return _corners(points, record.where)
    if kind == "circle":  # its centre and a point on it
        x0, y0, x1, y1 = _two_points(points, record.where)
        radius = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        return ellipse((x0, y0, radius, radius))
    return undrawn(kind)


def _two_points(points: object, where: str) -> tuple[float, ...]:
    pairs = points if isinstance(points, list) else []
    if len(pairs) != 2 or any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
        raise broken(where, f"points {points!r:.40}", "write two [x, y] points")
    return numbers([*pairs[0], *pairs[1]], where, "points")


def _corners(points: object, where: str) -> Area:
    """A box given by two corners that face each other, or by all four."""
    if isinstance(points, list) and len(points) == 4:
        return outline(points)._replace(kind="box")
    x0, y0, x1, y1 = _two_points(points, where)
    return box((min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0)))


def _draw_crop(record: Record, canvas: Canvas) -> Mask:
    """Draw a crop whose two points are its first and last pixel, both inside."""
    where = record.where
    x0, y0, x1, y1 = map(int, _two_points(record.get("points"), where))
    crop = object_mask(decode_base64(record.get("mask"), where), where)
    if crop.shape != (y1 - y0 + 1, x1 - x0 + 1):
        raise broken(where, f"{shown(crop.shape)} for points ({x0}, {y0}) to ({x1}, {y1})")
    return paste(crop, (x0, y0), canvas)


def read_cityscapes(bundle: Bundle, names: list[str]) -> Iterator[ImageShapes]:
    """Read every ``NAME_gtFine_polygons.json``; a group counts as its class, as in their masks."""
    for file, data in _records(bundle, names):
        shapes = []
        for record in data.records("objects", "object"):
            category = record.text("label")
            if record.get("deleted"):
                bundle.tally["deleted objects left out"] += 1
                continue
            category = category.removesuffix(GROUP) or category
            shapes.append(Shape((category,), record.where, *outline(record.get("polygon"))))
        size_hw = data.size("imgHeight", "imgWidth")
        yield ImageShapes(checked_name(file, data.where), data.where, size_hw, [Label(shapes)])


def read_supervisely(bundle: Bundle, names: list[str]) -> Iterator[ImageShapes]:
    """Read Supervisely's files; one without objects and tags counts as not annotated."""
    for file, data in _records(bundle, names):
        shapes = [
            Shape((record.text("classTitle"),), record.where, *_supervisely_area(record))
            for record in data.records("objects", "object")
        ]
        labels = [Label(shapes)] if shapes or data.get("tags") else []
        name = checked_name(PurePosixPath(file).stem, data.where)
        yield ImageShapes(name, data.where, data.part("size").size(), labels)


def _supervisely_area(record: Record) -> Area:
    kind = record.get("geometryType")
    # Some tools nest what others do not.
    geometry = record.part("geometry") if isinstance(record.get("geometry"), dict) else record
    if kind in ("bitmap", "alpha_mask"):
        return Area(partial(_draw_bitmap, geometry.part("bitmap")))
    if kind not in ("polygon", "rectangle"):
        return undrawn(kind)
    exterior, interior = geometry.part("points").many("exterior", "interior")
    if not isinstance(exterior, list) or not isinstance(interior or [], list):
        raise broken(record.where, "no `exterior` and `interior`")
    if kind == "rectangle":
        return _corners(exterior, record.where)
    return outline(exterior, interior or ())


def _draw_bitmap(bitmap: Record, canvas: Canvas) -> Mask:
    where, origin = bitmap.where, bitmap.get("origin")
    pair = origin if isinstance(origin, list) else []
    if len(pair) != 2 or any(type(number) is not int for number in pair):
        raise broken(where, f"origin {origin!r:.40}", "write [x, y]")
    data = decode_base64(bitmap.get("data"), where)
    png = data if data.startswith(b"\x89PNG") else inflate(data, where)
    return paste(object_mask(png, where), (pair[0], pair[1]), canvas)


def inflate(data: bytes, where: str, limit: int = MAX_PNG_BYTES) -> bytes:
    """Unpack zlib bytes up to a limit."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, limit)
    except zlib.error as error:
        raise broken(where, "a bitmap that is neither zlib nor PNG") from error
    if unpacker.unconsumed_tail:
        raise broken(where, f"a bitmap of more than {limit >> 20} MiB", "a zip bomb is not read")
    return unpacked
