"""Formats that do not state the size of an image: VIA, YOLO and CreateML.

The size is that of the image file beside the annotations, where there is one, or of the prediction.
"""

import re
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

from l4f_datagen.annotations.bundle import Bundle, parse_json
from l4f_datagen.annotations.polygons import box, ellipse, outline
from l4f_datagen.annotations.shapes import ImageShapes, Label, Shape, truth_from_shapes
from l4f_datagen.annotations.truth import (
    Size,
    TruthOptions,
    TruthSet,
    checked_name,
    composed,
    numbers,
)
from l4f_datagen.core.errors import AnnotationRefused, InputRefused
from l4f_datagen.io.photo import SUFFIXES, upright_size_hw
from l4f_datagen.io.plain_yaml import plain_yaml

YOLO_LINE = re.compile(rb"^\s*\d+(?:\s+-?\d*\.?\d+(?:[eE][+-]?\d+)?){4,}\s*$")
VIA_COLUMNS = ("filename", "region_shape_attributes", "region_attributes")
VIA_CLASS_KEYS = ("label", "class", "name", "category", "type", "object")


def _image_sizes(bundle: Bundle) -> dict[str, str]:
    """Image files of the bundle by their stem."""
    images = [name for name in bundle.names if name.lower().endswith(SUFFIXES)]
    return {composed(PurePosixPath(name).stem): name for name in images}


def _size_of(bundle: Bundle, images: dict[str, str], name: str) -> Size | None:
    file = images.get(composed(PurePosixPath(name).stem))
    if file is None:
        return None
    try:
        return upright_size_hw(bundle.read(file), bundle.subject(file))
    except InputRefused as error:
        raise AnnotationRefused(error.subject, error.problem, error.remedy) from error


def _via_metadata(bundle: Bundle) -> dict[str, Any] | list[tuple[str, Any]] | None:
    """Image records of a VIA project, JSON export or CSV export, None where it is none of them."""
    head = bundle.head(bundle.names[0]).split(b"\n")[0].decode("utf-8", "replace")
    if bundle.kind == "file" and all(key in head for key in VIA_COLUMNS) and head[0] != "{":
        return bundle.csv_rows(bundle.names[0])
    data = bundle.peek()
    data = data.get("_via_img_metadata", data) if isinstance(data, dict) else None
    first = next(iter(data.values()), None) if isinstance(data, dict) else None
    return data if isinstance(first, dict) and {"filename", "regions"} <= first.keys() else None


def matches_via(bundle: Bundle) -> bool:
    """Tell whether the document holds records with `filename` and `regions`."""
    return _via_metadata(bundle) is not None


def read_via(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """Read a VIA 1 or 2 export; an image without a region counts as not annotated."""
    data = _via_metadata(bundle)
    if data is None:
        raise AnnotationRefused(bundle.source, "no VIA export", "export JSON or CSV from VIA 2")
    if isinstance(data, dict):
        records = [(f"{bundle.source} {key[:60]}", value) for key, value in data.items()]
    else:
        records = [(where, _via_row(row, where)) for where, row in data]
    tally: Counter[str] = Counter()
    files = _image_sizes(bundle)
    images: dict[str, ImageShapes] = {}
    for subject, record in records:
        if not isinstance(record, dict):
            raise AnnotationRefused(subject, "no record", "export it again")
        regions = record.get("regions")
        regions = list(regions.values()) if isinstance(regions, dict) else regions
        if not isinstance(regions, list):
            raise AnnotationRefused(subject, "`regions` is not a list", "export it again")
        name = checked_name(record.get("filename"), subject)
        image = images.setdefault(name, ImageShapes(name, subject, _size_of(bundle, files, name)))
        shapes = [
            _via_shape(region, f"{subject} region {n}", tally)
            for n, region in enumerate(regions, 1)
        ]
        if shapes and image.labels:
            image.labels[0].shapes.extend(shapes)  # a CSV has one row a region
        elif shapes:
            image.labels.append(Label(shapes))
    return truth_from_shapes(bundle, "via", list(images.values()), options, tally)


def _via_row(row: dict[str, Any], where: str) -> dict[str, Any]:
    """Record of one CSV row."""
    row = {str(key).lstrip("#"): value for key, value in row.items()}
    shape, attributes = (parse_json(row.get(key) or "{}", where) for key in VIA_COLUMNS[1:])
    region = {"shape_attributes": shape, "region_attributes": attributes}
    return {"filename": row.get("filename"), "regions": [region] if shape else []}


def _via_shape(region: object, where: str, tally: Counter[str]) -> Shape:
    shape = region.get("shape_attributes") if isinstance(region, dict) else None
    attributes = region.get("region_attributes") if isinstance(region, dict) else None
    if not isinstance(shape, dict):
        raise AnnotationRefused(where, "no `shape_attributes`", "export it again")
    names = _via_names(attributes if isinstance(attributes, dict) else {})
    kind = shape.get("name")
    if kind == "polygon":
        x, y = shape.get("all_points_x"), shape.get("all_points_y")
        if not isinstance(x, list) or not isinstance(y, list) or len(x) != len(y):
            raise AnnotationRefused(where, "all_points_x and all_points_y", "export it again")
        points = [list(point) for point in zip(x, y, strict=True)]
        return Shape(names, where, "area", outline(points, where, tally))
    if kind in ("circle", "ellipse"):
        keys = ("cx", "cy", "r", "r") if kind == "circle" else ("cx", "cy", "rx", "ry")
        sides = [shape.get(key) for key in keys]
        turn = shape.get("theta", 0)
        turn = turn * 57.29577951308232 if isinstance(turn, int | float) else turn  # of radians
        return Shape(names, where, "area", ellipse(sides, where, tally, rotation_deg=turn))
    if kind == "rect":
        sides = [shape.get(key) for key in ("x", "y", "width", "height")]
        return Shape(names, where, "box", box(sides, where, tally))
    if kind in ("point", "polyline"):
        return Shape(names, where, "other")
    return Shape(names, where, "unread", problem=f"a region of shape {kind!r:.30}")


def _via_names(attributes: dict[str, Any]) -> tuple[str, ...]:
    """Class names of a region: of the attribute that is called so, or of the only one."""
    keys = [key for key in attributes if key.strip().lower() in VIA_CLASS_KEYS]
    keys = keys or (list(attributes) if len(attributes) == 1 else [])
    value = attributes[keys[0]] if keys else None
    if isinstance(value, dict):  # checkboxes
        return tuple(name for name, is_set in value.items() if is_set) or ("region",)
    return (value.strip(),) if isinstance(value, str) and value.strip() else ("region",)


def _yolo_labels(bundle: Bundle) -> list[str]:
    """Label files: text files of numbers; those called classes, train and the like are none."""
    texts = [name for name in bundle.names if name.lower().endswith(".txt")]
    inside = [name for name in texts if "labels" in PurePosixPath(name).parts[:-1]]
    return inside or [n for n in texts if PurePosixPath(n).name not in ("classes.txt", "train.txt",
        "val.txt", "test.txt", "readme.txt", "README.txt", "labelmap.txt")]  # fmt: skip


def matches_yolo(bundle: Bundle) -> bool:
    """Tell whether the first text file with a line has five numbers or more in it."""
    for name in _yolo_labels(bundle)[:200]:
        lines = [line for line in bundle.head(name, 1 << 16).split(b"\n") if line.strip()]
        if lines:
            return bool(YOLO_LINE.match(lines[0]))
    return False


def read_yolo(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """Read YOLO labels (outlines or boxes); an empty file is an image without object.

    Classes are named by ``data.yaml`` or ``classes.txt``, else by their numbers. An image without
    a label file counts as not annotated.
    """
    tally: Counter[str] = Counter()
    names, files = _yolo_names(bundle), _image_sizes(bundle)
    images = []
    for label in _yolo_labels(bundle):
        subject, stem = bundle.subject(label), composed(PurePosixPath(label).stem)
        text = bundle.text(label) if bundle.head(label, 1) else ""
        shapes = [
            _yolo_shape(line, names, f"{subject} line {n}", tally)
            for n, line in enumerate(text.splitlines(), 1)
            if line.strip()
        ]
        name = checked_name(files.get(stem, label), subject)
        images.append(ImageShapes(name, subject, _size_of(bundle, files, label), [Label(shapes)]))
    return truth_from_shapes(bundle, "yolo", images, options, tally)


def _yolo_names(bundle: Bundle) -> dict[int, str]:
    """Class names by number, of the YAML or the list of classes."""
    for name in bundle.names:
        path = PurePosixPath(name)
        if path.name == "classes.txt":
            return dict(enumerate(line.strip() for line in bundle.text(name).splitlines()))
        if path.suffix.lower() in (".yaml", ".yml"):
            try:
                data = plain_yaml(bundle.text(name))
            except ValueError as error:
                raise AnnotationRefused(
                    bundle.subject(name), str(error), "write it again"
                ) from error
            listed = data.get("names") if isinstance(data, dict) else None
            if isinstance(listed, list):
                return {number: str(one) for number, one in enumerate(listed)}
            if isinstance(listed, dict):
                return {int(key): str(one) for key, one in listed.items() if str(key).isdecimal()}
    return {}


def _yolo_shape(line: str, names: dict[int, str], where: str, tally: Counter[str]) -> Shape:
    try:
        number, *values = line.split()
        category = names.get(int(number), str(int(number)))
        sides = [float(value) for value in values]
    except ValueError as error:
        raise AnnotationRefused(where, f"{line[:40]!r}", "write class x y x y ...") from error
    if any(not -0.01 <= value <= 1.01 for value in sides):  # some tools round beyond the border
        problem = f"coordinates outside 0 to 1 in {line[:40]!r}"
        raise AnnotationRefused(where, problem, "divide x by the width and y by the height")
    if len(sides) == 4:
        x, y, width, height = sides
        corner = (x - width / 2, y - height / 2, width, height)
        return Shape((category,), where, "box", box(corner, where, tally, unit="fraction"))
    if len(sides) < 6 or len(sides) % 2:
        raise AnnotationRefused(
            where, f"{len(sides)} coordinates", "write x y of at least three points"
        )
    points = [list(pair) for pair in zip(sides[::2], sides[1::2], strict=True)]
    return Shape((category,), where, "area", outline(points, where, tally, unit="fraction"))


def matches_createml(bundle: Bundle) -> bool:
    """Tell whether the document lists records with `image` and `annotations` of coordinates."""
    data = bundle.peek()
    if not isinstance(data, list):
        return False
    first = [record for record in data if isinstance(record, dict) and record.get("annotations")]
    shapes = first[0]["annotations"] if first and "image" in first[0] else None
    return isinstance(shapes, list) and isinstance(shapes[0], dict) and "coordinates" in shapes[0]


def read_createml(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """Read CreateML's boxes (centre and extent); an image without one counts as not annotated."""
    name = bundle.needed("CreateML file")
    tally: Counter[str] = Counter()
    files, images = _image_sizes(bundle), []
    for subject, record in bundle.rows(name):
        records = record.get("annotations") if isinstance(record, dict) else None
        if not isinstance(records, list):
            raise AnnotationRefused(subject, "`annotations` is not a list", "export it again")
        shapes = []
        for number, one in enumerate(records, 1):
            where = f"{subject} box {number}"
            sides = one.get("coordinates") if isinstance(one, dict) else None
            if not isinstance(sides, dict) or not isinstance(one.get("label"), str):
                raise AnnotationRefused(where, "no `label` and `coordinates`", "export it again")
            keys = ("x", "y", "width", "height")
            x, y, width, height = numbers([sides.get(key) for key in keys], where, "coordinate")
            corner = (x - width / 2, y - height / 2, width, height)
            shapes.append(Shape((one["label"],), where, "box", box(corner, where, tally)))
        image = checked_name(record.get("image"), subject)
        labels = [Label(shapes)] if shapes else []
        images.append(ImageShapes(image, subject, _size_of(bundle, files, image), labels))
    return truth_from_shapes(bundle, "createml", images, options, tally)
