"""Formats that do not state the size of an image: VIA, YOLO and CreateML.

The size is that of the image file beside the annotations, where there is one, or of the prediction.
"""

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from l4f_datagen.core.errors import AnnotationRefused, InputRefused
from l4f_datagen.io.photo import upright_size_hw
from l4f_datagen.io.untrusted import plain_yaml

from .bundle import Bundle, parse_json
from .drawing import Area, box, ellipse, outline, undrawn
from .records import Record, broken, checked_name, composed, numbers
from .shapes import ImageShapes, Label, Shape

YOLO_LINE = re.compile(rb"^\d+(?:\s+-?\d*[.,]?\d+(?:[eE][+-]?\d+)?){4,}\s*$")
YOLO_OTHERS = ("classes.txt", "train.txt", "val.txt", "test.txt", "readme.txt", "labelmap.txt")
VIA_COLUMNS = ("filename", "region_shape_attributes", "region_attributes")
VIA_CLASS_KEYS = ("label", "class", "name", "category", "type", "object")


def _listed(
    bundle: Bundle, name: object, where: str, *labels: Label, as_file: bool = False
) -> ImageShapes:
    """One image with the size, and where asked for the name, of the file that has its stem."""
    checked = checked_name(name, where)
    found = bundle.images.get(composed(PurePosixPath(checked).stem), [])
    files = [file for file in found if _place(file) == _place(checked)] or found
    try:
        sizes = {upright_size_hw(bundle.read(file), bundle.subject(file)) for file in files}
    except InputRefused as error:
        raise AnnotationRefused(error.subject, error.problem, error.remedy) from error
    if len(sizes) > 1:
        problem = f"{len(files)} images of this name differ in size: {', '.join(files[:3])}"
        raise broken(where, problem, "keep the annotated one")
    named = files[0] if files and as_file else checked
    return ImageShapes(named, where, next(iter(sizes), None), list(labels))


def _place(name: str) -> list[str]:
    """Folders of a file but for those that tell images from labels."""
    parts = PurePosixPath(name).parts[:-1]
    return [part for part in parts if part.lower() not in ("images", "labels")]


def find_via(bundle: Bundle) -> list[Record]:
    """Records of a VIA project, JSON export or CSV export, none where it is none of them."""
    head = bundle.head(bundle.names[0]).split(b"\n")[0].decode("utf-8", "replace")
    if bundle.kind == "file" and all(key in head for key in VIA_COLUMNS) and head[0] != "{":
        return list(map(_via_row, bundle.rows(bundle.names[0])))
    data = bundle.peek()
    data = data.get("_via_img_metadata", data) if isinstance(data, dict) else None
    rows = data if isinstance(data, dict) else {}
    first = next(iter(rows.values()), None)
    if not isinstance(first, dict) or not {"filename", "regions"} <= first.keys():
        return []
    return [Record.of(value, f"{bundle.source} {key[:60]}") for key, value in rows.items()]


def _via_row(row: Record) -> Record:
    """Record of one CSV row."""
    fields = {str(key).lstrip("#"): value for key, value in row.fields.items()}
    texts = [fields.get(key) or "{}" for key in VIA_COLUMNS[1:]]
    shape, attributes = (parse_json(text, row.where) for text in texts)
    region = {"shape_attributes": shape, "region_attributes": attributes}
    more = {"size": fields.get("file_size"), "regions": [region] if shape else []}
    return Record(fields | more, row.where)


def read_via(bundle: Bundle, found: list[Record]) -> Iterable[ImageShapes]:
    """Read a VIA 1 or 2 export; an image without a region counts as not annotated."""
    images: dict[tuple[str, str], ImageShapes] = {}
    for record in found:
        where, regions = record.where, record.get("regions")
        listed = list(regions.values()) if isinstance(regions, dict) else regions
        shapes = []
        for region in Record({"regions": listed}, where).records("regions", "region"):
            names = _via_names(region.part("region_attributes").fields)
            shapes.append(Shape(names, region.where, *_via_area(region)))
        named = checked_name(record.get("filename"), where)
        one = named, str(record.get("size"))  # VIA tells files of one name apart by their bytes
        image = images[one] = images.get(one) or _listed(bundle, named, where)
        if shapes and not image.labels:
            image.labels.append(Label([]))
        for label in image.labels:  # a CSV has one row a region
            label.shapes.extend(shapes)
    return images.values()


def _via_area(region: Record) -> Area:
    where, shape = region.where, region.part("shape_attributes")
    if not isinstance(region.get("shape_attributes"), dict):
        raise broken(where, "no `shape_attributes`")
    kind = shape.get("name")
    if kind == "polygon":
        x, y = shape.many("all_points_x", "all_points_y")
        if not isinstance(x, list) or not isinstance(y, list) or len(x) != len(y):
            raise broken(where, "all_points_x and all_points_y")
        return outline([list(point) for point in zip(x, y, strict=True)])
    if kind in ("circle", "ellipse"):
        turn = shape.fields.get("theta", 0)  # radians
        turn = math.degrees(turn) if isinstance(turn, int | float) else turn
        sides = ("cx", "cy", "r", "r") if kind == "circle" else ("cx", "cy", "rx", "ry")
        return ellipse(shape.many(*sides), turn_deg=turn)
    if kind == "rect":
        return box(shape.many("x", "y", "width", "height"))
    return undrawn(kind)


def _via_names(attributes: dict[str, Any]) -> tuple[str, ...]:
    """Class names of a region: of the attribute that is called so, or of the only one."""
    keys = [key for key in attributes if key.strip().lower() in VIA_CLASS_KEYS]
    keys = keys or (list(attributes) if len(attributes) == 1 else [])
    value = attributes[keys[0]] if keys else None
    if isinstance(value, dict):  # checkboxes
        return tuple(name for name, is_set in value.items() if is_set) or ("region",)
    return (value.strip(),) if isinstance(value, str) and value.strip() else ("region",)


def find_yolo(bundle: Bundle) -> list[str]:
    """The label files, where the first one with a line has five numbers or more in it.

    Text files of a folder ``labels``, or all that are not called classes, train and the like.
    """
    texts = bundle.ending(".txt")
    inside = [name for name in texts if "labels" in PurePosixPath(name).parts[:-1]]
    labels = inside or [
        name for name in texts if PurePosixPath(name).name.lower() not in YOLO_OTHERS
    ]
    heads = (bundle.head(name, 1 << 16) for name in labels[:200])
    first = next(filter(None, heads), b"").split(b"\n")[0]
    return labels if YOLO_LINE.match(first) else []


def read_yolo(bundle: Bundle, labels: list[str]) -> Iterator[ImageShapes]:
    """Read YOLO labels (outlines or boxes); an empty file is an image without object.

    Classes are named by ``data.yaml`` or ``classes.txt``, else by their numbers. An image without
    a label file counts as not annotated.
    """
    names = _yolo_names(bundle)
    for label in labels:
        where = bundle.subject(label)
        lines = bundle.text(label).splitlines() if bundle.head(label, 1 << 16) else []
        shapes = [
            _yolo_shape(line, names, f"{where} line {n}")
            for n, line in enumerate(lines, 1)
            if line.strip()
        ]
        yield _listed(bundle, label, where, Label(shapes), as_file=True)


def _yolo_names(bundle: Bundle) -> dict[int, str]:
    """Class names by number, of the YAML or the list of classes."""
    for name in bundle.ending("classes.txt", ".yaml", ".yml"):
        if PurePosixPath(name).name == "classes.txt":
            return dict(enumerate(line.strip() for line in bundle.text(name).splitlines()))
        try:
            data = plain_yaml(bundle.text(name))
        except ValueError as error:
            raise broken(bundle.subject(name), str(error), "write it again") from error
        record = Record(data if isinstance(data, dict) else {}, bundle.subject(name))
        if record.get("kpt_shape"):
            raise broken(record.where, "a data set of key points (kpt_shape)", "export outlines")
        listed = record.get("names")
        if isinstance(listed, list):
            listed = dict(enumerate(listed))
        if isinstance(listed, dict):
            return {int(key): str(one) for key, one in listed.items() if str(key).isdecimal()}
    return {}


def _yolo_shape(line: str, names: dict[int, str], where: str) -> Shape:
    try:
        number, *values = line.split()
        category = names.get(int(number), str(int(number)))
        sides = [float(value) for value in values]
    except ValueError as error:
        raise broken(where, f"{line[:40]!r}", "write class x y x y ...") from error
    if any(not -0.01 <= value <= 1.01 for value in sides):  # some tools round beyond the border
        remedy = "divide x by the width and y by the height"
        raise broken(where, f"coordinates outside 0 to 1 in {line[:40]!r}", remedy)
    if len(sides) == 4:
        return Shape((category,), where, *box(_corner_sides(*sides), side=1))
    if len(sides) < 6 or len(sides) % 2:
        raise broken(where, f"{len(sides)} coordinates", "write x y of at least three points")
    points = [list(pair) for pair in zip(sides[::2], sides[1::2], strict=True)]
    return Shape((category,), where, *outline(points, side=1))


def _corner_sides(x: float, y: float, width: float, height: float) -> tuple[float, ...]:
    """A box given by its centre as one given by its upper left corner."""
    return x - width / 2, y - height / 2, width, height


def find_createml(bundle: Bundle) -> str | None:
    """The document, where it lists records with `image` and `annotations` of coordinates."""
    rows = bundle.peek() if isinstance(bundle.peek(), list) else []
    first = next((row for row in rows if isinstance(row, dict) and row.get("annotations")), {})
    boxes = first.get("annotations") if "image" in first else None
    is_own = isinstance(boxes, list) and isinstance(boxes[0], dict) and "coordinates" in boxes[0]
    return bundle.document() if is_own else None


def read_createml(bundle: Bundle, name: str) -> Iterator[ImageShapes]:
    """Read CreateML's boxes (centre and extent); an image without one counts as not annotated."""
    for record in bundle.rows(name):
        shapes = []
        for one in record.records("annotations", "box"):
            sides = one.part("coordinates").many("x", "y", "width", "height")
            corner = _corner_sides(*numbers(sides, one.where, "coordinate"))
            shapes.append(Shape((one.text("label"),), one.where, *box(corner)))
        labels = [Label(shapes)] if shapes else []
        yield _listed(bundle, record.get("image"), record.where, *labels)
