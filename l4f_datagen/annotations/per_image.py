"""Formats of one JSON file an image: LabelMe, Cityscapes and Supervisely.

A later shape covers those below it, as in the masks that their own tools draw.
"""

import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import PurePosixPath

from l4f_datagen.core.errors import AnnotationRefused

from .bundle import Bundle
from .drawing import Canvas, Drawer, Mask, box, ellipse, outline, paste
from .mask_rule import mask_image, object_mask
from .records import Record, broken, checked_name, decode_base64, numbers
from .shapes import ImageShapes, Label, Shape, truth_from_shapes, unread
from .truth import TruthOptions, TruthSet

MAX_PNG_BYTES = 64 << 20  # of one unpacked bitmap: as many as the pixels that are read
POLYGONS = ("polygon", "oriented_rectangle", "", None)
GROUP = "group"  # of Cityscapes: `cargroup` is one area of several cars
SUPERVISELY_OWN = ("meta.json", "obj_class_to_machine_color.json", "key_id_map.json")

Reading = Callable[[Record, str, Counter[str]], ImageShapes]  # content, file name, tally


def _json_names(bundle: Bundle) -> list[str]:
    """The JSON files of a bundle; a single file counts whatever its name."""
    if bundle.kind == "file":
        return [name for name in bundle.names if bundle.document()]
    return [name for name in bundle.names if name.lower().endswith(".json")]


def _found(bundle: Bundle, names: list[str], *keys: str) -> list[str]:
    """The files, if the first is an object with these keys, or broken but with the last."""
    if not names:
        return []
    try:
        data = bundle.json(names[0])
    except AnnotationRefused:
        return names if f'"{keys[-1]}"'.encode() in bundle.head(names[0], 4096) else []
    return names if isinstance(data, dict) and data.keys() >= set(keys) else []


def _read_each(
    bundle: Bundle, format_name: str, names: list[str], reading: Reading, options: TruthOptions
) -> TruthSet:
    tally: Counter[str] = Counter()
    images = []
    for name in names:
        data = bundle.json(name)
        bundle.forget(name)
        record = Record(data if isinstance(data, dict) else {}, bundle.subject(name))
        images.append(reading(record, name, tally))
    return truth_from_shapes(bundle, format_name, images, options, tally, layered=True)


def find_labelme(bundle: Bundle) -> list[str]:
    """The JSON files, where the first has `imagePath` and `shapes`."""
    return _found(bundle, _json_names(bundle), "imagePath", "shapes")


def read_labelme(bundle: Bundle, names: list[str], options: TruthOptions) -> TruthSet:
    """Read LabelMe's files; one without shapes is an empty truth."""
    return _read_each(bundle, "labelme", names, _labelme, options)


def _labelme(data: Record, file: str, _: Counter[str]) -> ImageShapes:
    shapes = [_labelme_shape(record) for record in data.records("shapes", "shape")]
    skipped = data.part("flags").get("__ignore__") is True
    # LabelMe writes paths that climb out of their folder.
    raw = data.get("imagePath") or f"{PurePosixPath(file).stem}.png"
    image = ImageShapes(checked_name(raw, data.where, parents=True), data.where)
    if data.get("imageHeight") is not None or data.get("imageWidth") is not None:
        image.size_hw = data.size("imageHeight", "imageWidth")
    elif data.get("imageData"):
        picture = decode_base64(data.get("imageData"), data.where)
        image.size_hw = mask_image(picture, data.where).size_hw
    image.labels.append(Label(shapes, "skipped" if skipped else "plain"))
    return image


def _labelme_shape(record: Record) -> Shape:
    where, points, kind = record.where, record.get("points"), record.get("shape_type")
    names = (record.text("label"),)
    if kind in POLYGONS:
        return Shape(names, where, outline(points))
    if kind == "mask":
        return Shape(names, where, _crop_drawer(record))
    if kind == "circle":  # its centre and a point on it
        x0, y0, x1, y1 = _two_points(points, where)
        radius = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        return Shape(names, where, ellipse((x0, y0, radius, radius)))
    if kind == "rectangle":
        return Shape(names, where, _corners(points, where), "box")
    if kind in ("point", "points", "line", "linestrip"):
        return Shape(names, where, None, "other")
    return unread(names, where, f"a shape of type {kind!r:.30}")


def _two_points(points: object, where: str) -> tuple[float, ...]:
    pairs = points if isinstance(points, list) else []
    if len(pairs) != 2 or any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
        raise broken(where, f"points {points!r:.40}", "write two [x, y] points")
    return numbers([*pairs[0], *pairs[1]], where, "points")


def _corners(points: object, where: str) -> Drawer:
    """Drawer of a box given by two corners that face each other, or by all four."""
    if isinstance(points, list) and len(points) == 4:
        return outline(points)
    x0, y0, x1, y1 = _two_points(points, where)
    return box((min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0)))


def _crop_drawer(record: Record) -> Drawer:
    """Drawer of a crop whose two points are its first and last pixel, both inside."""
    where = record.where

    def draw(canvas: Canvas) -> Mask:
        x0, y0, x1, y1 = (int(number) for number in _two_points(record.get("points"), where))
        crop = object_mask(decode_base64(record.get("mask"), where), where)
        if crop.shape != (y1 - y0 + 1, x1 - x0 + 1):
            held = f"a mask of {crop.shape[1]} x {crop.shape[0]} pixels"
            raise broken(where, f"{held} for points ({x0}, {y0}) to ({x1}, {y1})")
        return paste(crop, (x0, y0), canvas)

    return draw


def find_cityscapes(bundle: Bundle) -> list[str]:
    """The JSON files, where the first has `imgHeight` and `objects`."""
    return _found(bundle, _json_names(bundle), "imgHeight", "objects")


def read_cityscapes(bundle: Bundle, names: list[str], options: TruthOptions) -> TruthSet:
    """Read every ``NAME_gtFine_polygons.json``; a group counts as its class, as in their masks."""
    return _read_each(bundle, "cityscapes", names, _cityscapes, options)


def _cityscapes(data: Record, file: str, tally: Counter[str]) -> ImageShapes:
    shapes = []
    for record in data.records("objects", "object"):
        category = record.text("label")
        if record.get("deleted"):
            tally["deleted objects left out"] += 1
            continue
        names = (category.removesuffix(GROUP) or category,)
        shapes.append(Shape(names, record.where, outline(record.get("polygon"))))
    size_hw = data.size("imgHeight", "imgWidth")
    return ImageShapes(checked_name(file, data.where), data.where, size_hw, [Label(shapes)])


def find_supervisely(bundle: Bundle) -> list[str]:
    """The annotation files, where the first has `size` and `objects`."""
    files = _json_names(bundle)
    inside = [name for name in files if "ann" in PurePosixPath(name).parts[:-1]]
    names = inside or [n for n in files if PurePosixPath(n).name not in SUPERVISELY_OWN]
    is_own = any(b'"classTitle"' in bundle.head(name, 4096) for name in names[:1])
    return names if is_own else _found(bundle, names, "size", "objects")


def read_supervisely(bundle: Bundle, names: list[str], options: TruthOptions) -> TruthSet:
    """Read Supervisely's files; one without objects and tags counts as not annotated."""
    return _read_each(bundle, "supervisely", names, _supervisely, options)


def _supervisely(data: Record, file: str, _: Counter[str]) -> ImageShapes:
    if not isinstance(data.get("size"), dict) or not isinstance(data.get("objects"), list):
        raise broken(data.where, "no `size` and `objects`")
    shapes = [_supervisely_shape(record) for record in data.records("objects", "object")]
    labels = [Label(shapes)] if shapes or data.get("tags") else []
    name = checked_name(PurePosixPath(file).stem, data.where)
    return ImageShapes(name, data.where, data.part("size").size(), labels)


def _supervisely_shape(record: Record) -> Shape:
    names, where, kind = (record.text("classTitle"),), record.where, record.get("geometryType")
    # Some tools nest what others do not.
    geometry = record.part("geometry") if isinstance(record.get("geometry"), dict) else record
    if kind in ("bitmap", "alpha_mask"):
        return Shape(names, where, _bitmap_drawer(geometry.part("bitmap")))
    if kind in ("polygon", "rectangle"):
        points = geometry.part("points")
        exterior, interior = points.get("exterior"), points.get("interior") or []
        if not isinstance(exterior, list) or not isinstance(interior, list):
            raise broken(where, "no `exterior` and `interior`")
        if kind == "rectangle":
            return Shape(names, where, _corners(exterior, where), "box")
        return Shape(names, where, outline(exterior, interior))
    if kind in ("point", "line", "graph", "cuboid", "cuboid_3d", "multichannel_nd"):
        return Shape(names, where, None, "other")
    return unread(names, where, f"a geometry of type {kind!r:.30}")


def _bitmap_drawer(bitmap: Record) -> Drawer:
    where = bitmap.where

    def draw(canvas: Canvas) -> Mask:
        origin = bitmap.get("origin")
        pair = origin if isinstance(origin, list) else []
        if len(pair) != 2 or any(type(number) is not int for number in pair):
            raise broken(where, f"origin {origin!r:.40}", "write [x, y]")
        data = decode_base64(bitmap.get("data"), where)
        png = data if data.startswith(b"\x89PNG") else inflate(data, where)
        return paste(object_mask(png, where), (pair[0], pair[1]), canvas)

    return draw


def inflate(data: bytes, where: str, limit: int = MAX_PNG_BYTES) -> bytes:
    """Unpack zlib bytes up to a limit."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, limit)
    except zlib.error as error:
        raise broken(where, "a bitmap that is neither zlib nor PNG") from error
    if unpacker.unconsumed_tail:
        problem = f"a bitmap of more than {limit >> 20} MiB"
        raise broken(where, problem, "a zip bomb is not read")
    return unpacked
