"""Formats of one annotation file an image: LabelMe, Cityscapes, Supervisely, LabelMe 3.0 and VOC.

In all of them but the last two a later shape covers those below it, as in the masks that their own
tools draw.
"""

import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element

from l4f_datagen.annotations.bundle import Bundle
from l4f_datagen.annotations.cvat import parse_xml
from l4f_datagen.annotations.mask_files import decode_base64
from l4f_datagen.annotations.mask_rule import object_pixels
from l4f_datagen.annotations.polygons import Drawer, box, ellipse, known_size, outline, paste
from l4f_datagen.annotations.shapes import ImageShapes, Label, Shape, truth_from_shapes
from l4f_datagen.annotations.truth import (
    Mask,
    Size,
    TruthOptions,
    TruthSet,
    checked_name,
    checked_size,
    mask_image,
    numbers,
)
from l4f_datagen.core.errors import AnnotationRefused

MAX_PNG_BYTES = 64 << 20  # of one unpacked bitmap
POLYGONS = ("polygon", "oriented_rectangle", "", None)
GROUP = "group"  # of Cityscapes: `cargroup` is one area of several cars

Reading = Callable[[Any, str, str, Counter[str]], ImageShapes]  # data, file name, subject, tally


def json_names(bundle: Bundle) -> list[str]:
    """The JSON files of a bundle; a single file counts whatever its name."""
    if bundle.kind == "file":
        return [name for name in bundle.names if bundle.document()]
    return [name for name in bundle.names if name.lower().endswith(".json")]


def _first_has(bundle: Bundle, names: list[str], *keys: str) -> bool:
    """Whether the first JSON file is an object with these keys, or broken but with the last."""
    if not names:
        return False
    try:
        data = bundle.json(names[0])
    except AnnotationRefused:
        return f'"{keys[-1]}"'.encode() in bundle.head(names[0], 4096)
    return isinstance(data, dict) and all(key in data for key in keys)


def _read_each(
    bundle: Bundle, format_name: str, names: list[str], reading: Reading, options: TruthOptions
) -> TruthSet:
    tally: Counter[str] = Counter()
    images = []
    for name in names:
        data, subject = bundle.json(name), bundle.subject(name)
        bundle.forget(name)
        images.append(reading(data if isinstance(data, dict) else {}, name, subject, tally))
    return truth_from_shapes(bundle, format_name, images, options, tally, layered=True)


def matches_labelme(bundle: Bundle) -> bool:
    """Tell whether the first JSON has `imagePath` and `shapes`."""
    return _first_has(bundle, json_names(bundle), "imagePath", "shapes")


def read_labelme(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """Read every LabelMe JSON of the bundle; a file without shapes is an empty truth."""
    return _read_each(bundle, "labelme", json_names(bundle), _labelme, options)


def _labelme(data: dict[str, Any], name: str, subject: str, tally: Counter[str]) -> ImageShapes:
    if not isinstance(data.get("shapes"), list):
        raise AnnotationRefused(subject, "`shapes` is not a list", "save it with LabelMe again")
    shapes = [
        _labelme_shape(record, f"{subject} shape {n}", tally)
        for n, record in enumerate(data["shapes"], 1)
    ]
    flags = data.get("flags")
    skipped = isinstance(flags, dict) and flags.get("__ignore__") is True
    raw = data.get("imagePath") or f"{PurePosixPath(name).stem}.png"
    size: Size | None = None
    if data.get("imageHeight") is not None or data.get("imageWidth") is not None:
        size = checked_size(data.get("imageHeight"), data.get("imageWidth"), subject)
    elif data.get("imageData"):
        size = mask_image(decode_base64(data["imageData"], subject), subject).size_hw
    label = Label(shapes, "skipped" if skipped else "plain")
    # LabelMe writes paths that climb out of their folder.
    return ImageShapes(checked_name(raw, subject, parents=True), subject, size, [label])


def _labelme_shape(record: object, where: str, tally: Counter[str]) -> Shape:
    if not isinstance(record, dict):
        raise AnnotationRefused(where, "no record", "save it with LabelMe again")
    category, kind, points = record.get("label"), record.get("shape_type"), record.get("points")
    if not isinstance(category, str):
        raise AnnotationRefused(where, f"label {category!r:.40}", "give the shape a label")
    if kind in POLYGONS:
        return Shape((category,), where, "area", outline(points, where, tally))
    if kind == "mask":
        return Shape((category,), where, "area", _mask_drawer(record, where, tally))
    if kind == "circle":  # its centre and a point on it
        x0, y0, x1, y1 = _two_points(points, where)
        radius = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        return Shape((category,), where, "area", ellipse((x0, y0, radius, radius), where, tally))
    if kind == "rectangle":
        return Shape((category,), where, "box", _corners(points, where, tally))
    if kind in ("point", "points", "line", "linestrip"):
        return Shape((category,), where, "other")
    return Shape((category,), where, "unread", problem=f"a shape of type {kind!r:.30}")


def _two_points(points: object, where: str) -> tuple[float, ...]:
    pairs = points if isinstance(points, list) else []
    if len(pairs) != 2 or any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
        raise AnnotationRefused(where, f"points {points!r:.40}", "write two [x, y] points")
    return numbers([*pairs[0], *pairs[1]], where, "points")


def _corners(points: object, where: str, tally: Counter[str]) -> Drawer:
    """Drawer of a box given by two corners that face each other, or by all four."""
    if isinstance(points, list) and len(points) == 4:
        return outline(points, where, tally)
    x0, y0, x1, y1 = _two_points(points, where)
    return box((min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0)), where, tally)


def _mask_drawer(record: dict[str, Any], where: str, tally: Counter[str]) -> Drawer:
    """Drawer of a crop whose two points are its first and last pixel, both inside."""

    def draw(size: Size | None) -> Mask:
        x0, y0, x1, y1 = (int(number) for number in _two_points(record.get("points"), where))
        crop = object_pixels(mask_image(decode_base64(record.get("mask"), where), where))
        if crop.shape != (y1 - y0 + 1, x1 - x0 + 1):
            raise AnnotationRefused(
                where,
                f"a mask of {crop.shape[1]} x {crop.shape[0]} pixels for points "
                f"({x0}, {y0}) to ({x1}, {y1})",
                "save it with LabelMe again",
            )
        return paste(crop, (x0, y0), known_size(size, where), where, tally)

    return draw


def matches_cityscapes(bundle: Bundle) -> bool:
    """Tell whether the first JSON has `imgHeight` and `objects`."""
    return _first_has(bundle, json_names(bundle), "imgHeight", "objects")


def read_cityscapes(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """Read every ``NAME_gtFine_polygons.json``; a group counts as its class, as in their masks."""
    return _read_each(bundle, "cityscapes", json_names(bundle), _cityscapes, options)


def _cityscapes(data: dict[str, Any], name: str, subject: str, tally: Counter[str]) -> ImageShapes:
    objects = data.get("objects")
    if not isinstance(objects, list):
        raise AnnotationRefused(subject, "`objects` is not a list", "copy the file again")
    shapes = []
    for number, record in enumerate(objects, 1):
        where = f"{subject} object {number}"
        category = record.get("label") if isinstance(record, dict) else None
        if not isinstance(category, str):
            raise AnnotationRefused(where, f"label {category!r:.40}", "give the object a label")
        if record.get("deleted"):
            tally["deleted objects left out"] += 1
            continue
        category = category.removesuffix(GROUP) or category
        shapes.append(
            Shape((category,), where, "area", outline(record.get("polygon"), where, tally))
        )
    size = checked_size(data.get("imgHeight"), data.get("imgWidth"), subject)
    return ImageShapes(checked_name(name, subject), subject, size, [Label(shapes)])


def matches_supervisely(bundle: Bundle) -> bool:
    """Tell whether the first annotation file has `size` and `objects`."""
    names = _supervisely_names(bundle)
    if not _first_has(bundle, names, "size", "objects"):
        return any(b'"classTitle"' in bundle.head(name, 4096) for name in names[:1])
    return True


def _supervisely_names(bundle: Bundle) -> list[str]:
    names = json_names(bundle)
    inside = [name for name in names if "ann" in PurePosixPath(name).parts[:-1]]
    own = ("meta.json", "obj_class_to_machine_color.json", "key_id_map.json")
    return inside or [name for name in names if PurePosixPath(name).name not in own]


def read_supervisely(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """Read every annotation file; one without objects and tags counts as not annotated."""
    names = _supervisely_names(bundle)
    return _read_each(bundle, "supervisely", names, _supervisely, options)


def _supervisely(data: dict[str, Any], name: str, subject: str, tally: Counter[str]) -> ImageShapes:
    size, objects = data.get("size"), data.get("objects")
    if not isinstance(size, dict) or not isinstance(objects, list):
        raise AnnotationRefused(subject, "no `size` and `objects`", "export it again")
    shapes = [
        _supervisely_shape(record, f"{subject} object {n}", tally)
        for n, record in enumerate(objects, 1)
    ]
    size_hw = checked_size(size.get("height"), size.get("width"), subject)
    labels = [Label(shapes)] if shapes or data.get("tags") else []
    return ImageShapes(checked_name(PurePosixPath(name).stem, subject), subject, size_hw, labels)


def _supervisely_shape(record: object, where: str, tally: Counter[str]) -> Shape:
    if not isinstance(record, dict):
        raise AnnotationRefused(where, "no record", "export the project again")
    category, kind = record.get("classTitle"), record.get("geometryType")
    if not isinstance(category, str):
        raise AnnotationRefused(where, f"classTitle {category!r:.40}", "give the object a class")
    nested = record.get("geometry")
    geometry = nested if isinstance(nested, dict) else record  # some tools nest what others do not
    if kind in ("bitmap", "alpha_mask"):
        drawer = _bitmap_drawer(geometry.get("bitmap"), where, tally)
        return Shape((category,), where, "area", drawer)
    if kind in ("polygon", "rectangle"):
        exterior, holes = _rings(geometry.get("points"), where)
        if kind == "rectangle":
            return Shape((category,), where, "box", _corners(exterior, where, tally))
        return Shape((category,), where, "area", outline(exterior, where, tally, holes=holes))
    if kind in ("point", "line", "graph", "cuboid", "cuboid_3d", "multichannel_nd"):
        return Shape((category,), where, "other")
    return Shape((category,), where, "unread", problem=f"a geometry of type {kind!r:.30}")


def _rings(points: object, where: str) -> tuple[Any, list[Any]]:
    exterior = points.get("exterior") if isinstance(points, dict) else None
    interior = (points.get("interior") or []) if isinstance(points, dict) else None
    if not isinstance(exterior, list) or not isinstance(interior, list):
        raise AnnotationRefused(where, "no `exterior` and `interior`", "export the project again")
    return exterior, interior


def _bitmap_drawer(bitmap: object, where: str, tally: Counter[str]) -> Drawer:
    record = bitmap if isinstance(bitmap, dict) else {}

    def draw(size: Size | None) -> Mask:
        origin = record.get("origin")
        if (
            not isinstance(origin, list)
            or len(origin) != 2
            or any(type(number) is not int for number in origin)
        ):
            raise AnnotationRefused(where, f"origin {origin!r:.40}", "write [x, y]")
        data = decode_base64(record.get("data"), where)
        png = data if data.startswith(b"\x89PNG") else inflate(data, where)
        crop = object_pixels(mask_image(png, where))
        return paste(crop, (origin[0], origin[1]), known_size(size, where), where, tally)

    return draw


def inflate(data: bytes, where: str, limit: int = MAX_PNG_BYTES) -> bytes:
    """Unpack zlib bytes up to a limit.

    Raises:
        AnnotationRefused: not zlib, cut, or more than ``limit`` bytes.
    """
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, limit)
    except zlib.error as error:
        problem = "a bitmap that is neither zlib nor PNG"
        raise AnnotationRefused(where, problem, "export it again") from error
    if unpacker.unconsumed_tail:
        problem = f"a bitmap of more than {limit >> 20} MiB"
        raise AnnotationRefused(where, problem, "a zip bomb is not read")
    return unpacked


def _xml_names(bundle: Bundle) -> list[str]:
    names = [n for n in bundle.names if n.lower().endswith(".xml") or bundle.kind == "file"]
    return names if names and b"<annotation>" in bundle.head(names[0], 4096) else []


def matches_xml(bundle: Bundle) -> bool:
    """Tell whether the first XML file is an `annotation`."""
    return bool(_xml_names(bundle))


def read_xml(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """Read LabelMe 3.0 XML (polygons) and Pascal VOC XML (boxes), one file an image."""
    tally: Counter[str] = Counter()
    images = []
    names = _xml_names(bundle)
    if not names:
        raise AnnotationRefused(bundle.source, "no XML of LabelMe or VOC", "name its folder")
    for name in names:
        subject = bundle.subject(name)
        root = parse_xml(bundle.text(name), subject)
        raw = root.findtext("filename", "").strip() or f"{PurePosixPath(name).stem}.jpg"
        shapes = []
        for number, element in enumerate(root.iterfind("object"), 1):
            if element.findtext("deleted", "0").strip() == "1":
                tally["deleted objects left out"] += 1
                continue
            shapes.append(_xml_shape(element, f"{subject} object {number}", tally))
        height = _xml_side(root, "imagesize/nrows", "size/height")
        width = _xml_side(root, "imagesize/ncols", "size/width")
        size = checked_size(height, width, subject) if height and width else None
        images.append(ImageShapes(checked_name(raw, subject), subject, size, [Label(shapes)]))
    return truth_from_shapes(bundle, "labelme-xml", images, options, tally)


def _xml_side(root: Element, *paths: str) -> int | None:
    texts = [root.findtext(path, "").strip() for path in paths]
    return next(
        (int(text) for text in texts if text.isascii() and text.isdigit() and len(text) < 9), None
    )


def _xml_shape(element: Element, where: str, tally: Counter[str]) -> Shape:
    category = element.findtext("name", "").strip()
    if not category:
        raise AnnotationRefused(where, "no name", "give the object a name")
    try:
        points = [
            [float(point.findtext(axis, "")) for axis in "xy"]
            for point in element.iterfind("polygon/pt")
        ]
        corners = [
            float(element.findtext(f"bndbox/{key}", "nan"))
            for key in ("xmin", "ymin", "xmax", "ymax")
        ]
    except ValueError as error:
        raise AnnotationRefused(
            where, "a coordinate that is not a number", "export it again"
        ) from error
    if points:
        return Shape((category,), where, "area", outline(points, where, tally))
    if element.find("bndbox") is not None:
        x0, y0, x1, y1 = corners
        return Shape((category,), where, "box", box((x0, y0, x1 - x0, y1 - y0), where, tally))
    return Shape((category,), where, "unread", problem="an object without polygon and box")
