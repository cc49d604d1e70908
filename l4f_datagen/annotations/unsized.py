"""Formats that do not state the size of an image: VIA, YOLO and CreateML.

The size is that of the image file beside the annotations, where there is one, or of the prediction.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from l4f_datagen.core.errors import AnnotationRefused, InputRefused
from l4f_datagen.io.photo import SUFFIXES, upright_size_hw
from l4f_datagen.io.untrusted import plain_yaml

from .bundle import Bundle, parse_json
from .drawing import box, ellipse, outline
from .records import Record, broken, checked_name, composed, numbers
from .shapes import ImageShapes, Label, Shape, truth_from_shapes, unread
from .truth import TruthOptions, TruthSet

YOLO_LINE = re.compile(rb"^(?:\xef\xbb\xbf)?\s*\d+(?:\s+-?\d*[.,]?\d+(?:[eE][+-]?\d+)?){4,}\s*$")
YOLO_OTHERS = (
    *("classes.txt", "train.txt", "val.txt", "test.txt"),
    *("readme.txt", "README.txt", "labelmap.txt"),
)
VIA_COLUMNS = ("filename", "region_shape_attributes", "region_attributes")
VIA_CLASS_KEYS = ("label", "class", "name", "category", "type", "object")


class _Images:
    """Lists images, with the size of the file beside the annotations that has their name."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.by_stem: dict[str, list[str]] = {}
        for name in bundle.names:
            if name.lower().endswith(SUFFIXES):
                self.by_stem.setdefault(composed(PurePosixPath(name).stem), []).append(name)

    def files(self, name: str) -> list[str]:
        """Image files with the stem of a name; those of its own folder, where there are some."""
        found = self.by_stem.get(composed(PurePosixPath(name).stem), [])
        return [file for file in found if _place(file) == _place(name)] or found

    def listed(self, name: object, where: str, *labels: Label) -> ImageShapes:
        """One image with its labels."""
        image = ImageShapes(checked_name(name, where), where, None, list(labels))
        files = self.files(image.name)
        try:
            sizes = {
                upright_size_hw(self.bundle.read(file), self.bundle.subject(file)) for file in files
            }
        except InputRefused as error:
            raise AnnotationRefused(error.subject, error.problem, error.remedy) from error
        if len(sizes) > 1:
            problem = f"{len(files)} images of this name differ in size: {', '.join(files[:3])}"
            raise broken(where, problem, "keep the annotated one")
        image.size_hw = next(iter(sizes), None)
        return image


def _place(name: str) -> list[str]:
    """Folders of a file but for those that tell images from labels."""
    kinds = ("images", "labels")
    return [part for part in PurePosixPath(name).parts[:-1] if part.lower() not in kinds]


def find_via(bundle: Bundle) -> list[tuple[str, Any]] | None:
    """Records of a VIA project, JSON export or CSV export, None where it is none of them."""
    head = bundle.head(bundle.names[0]).split(b"\n")[0].decode("utf-8", "replace")
    if bundle.kind == "file" and all(key in head for key in VIA_COLUMNS) and head[0] != "{":
        return [(where, _via_row(row, where)) for where, row in bundle.csv_rows(bundle.names[0])]
    data = bundle.peek()
    data = data.get("_via_img_metadata", data) if isinstance(data, dict) else None
    first = next(iter(data.values()), None) if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(first, dict):
        return None
    if not {"filename", "regions"} <= first.keys():
        return None
    return [(f"{bundle.source} {key[:60]}", value) for key, value in data.items()]


def read_via(bundle: Bundle, found: Sequence[tuple[str, Any]], options: TruthOptions) -> TruthSet:
    """Read a VIA 1 or 2 export; an image without a region counts as not annotated."""
    files = _Images(bundle)
    images: dict[tuple[str, str], ImageShapes] = {}
    for where, data in found:
        record = Record.of(data, where)
        regions = record.get("regions")
        listed = list(regions.values()) if isinstance(regions, dict) else regions
        shapes = [
            _via_shape(r) for r in Record({"regions": listed}, where).records("regions", "region")
        ]
        named = checked_name(record.get("filename"), where)
        one = named, str(record.get("size"))  # VIA tells files of one name apart by their bytes
        image = images[one] = images.get(one) or files.listed(named, where)
        if shapes and image.labels:
            image.labels[0].shapes.extend(shapes)  # a CSV has one row a region
        elif shapes:
            image.labels.append(Label(shapes))
    return truth_from_shapes(bundle, "via", list(images.values()), options, Counter())


def _via_row(row: dict[str, Any], where: str) -> dict[str, Any]:
    """Record of one CSV row."""
    row = {str(key).lstrip("#"): value for key, value in row.items()}
    shape, attributes = (parse_json(row.get(key) or "{}", where) for key in VIA_COLUMNS[1:])
    region = {"shape_attributes": shape, "region_attributes": attributes}
    regions = [region] if shape else []
    return {"filename": row.get("filename"), "size": row.get("file_size"), "regions": regions}


def _via_shape(region: Record) -> Shape:
    where, shape = region.where, region.part("shape_attributes")
    names = _via_names(region.part("region_attributes").fields)
    if not isinstance(region.get("shape_attributes"), dict):
        raise broken(where, "no `shape_attributes`")
    kind = shape.get("name")
    if kind == "polygon":
        x, y = shape.many("all_points_x", "all_points_y")
        if not isinstance(x, list) or not isinstance(y, list) or len(x) != len(y):
            raise broken(where, "all_points_x and all_points_y")
        return Shape(names, where, outline([list(point) for point in zip(x, y, strict=True)]))
    if kind in ("circle", "ellipse"):
        turn = shape.fields.get("theta", 0)  # radians
        turn = math.degrees(turn) if isinstance(turn, int | float) else turn
        sides = ("cx", "cy", "r", "r") if kind == "circle" else ("cx", "cy", "rx", "ry")
        return Shape(names, where, ellipse(shape.many(*sides), turn_deg=turn))
    if kind == "rect":
        return Shape(names, where, box(shape.many("x", "y", "width", "height")), "box")
    if kind in ("point", "polyline"):
        return Shape(names, where, None, "other")
    return unread(names, where, f"a region of shape {kind!r:.30}")


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
    return inside or [name for name in texts if PurePosixPath(name).name not in YOLO_OTHERS]


def find_yolo(bundle: Bundle) -> list[str]:
    """The label files, where the first one with a line has five numbers or more in it."""
    labels = _yolo_labels(bundle)
    for name in labels[:200]:
        lines = [line for line in bundle.head(name, 1 << 16).split(b"\n") if line.strip()]
        if lines:
            return labels if YOLO_LINE.match(lines[0]) else []
    return []


def read_yolo(bundle: Bundle, labels: list[str], options: TruthOptions) -> TruthSet:
    """Read YOLO labels (outlines or boxes); an empty file is an image without object.

    Classes are named by ``data.yaml`` or ``classes.txt``, else by their numbers. An image without
    a label file counts as not annotated.
    """
    names, files = _yolo_names(bundle), _Images(bundle)
    images = []
    for label in labels:
        where = bundle.subject(label)
        lines = bundle.text(label).splitlines() if bundle.head(label, 1) else []
        shapes = [
            _yolo_shape(line, names, f"{where} line {n}")
            for n, line in enumerate(lines, 1)
            if line.strip()
        ]
        image = files.listed(label, where, Label(shapes))
        image.name = next(iter(files.files(label)), image.name)
        images.append(image)
    return truth_from_shapes(bundle, "yolo", images, options, Counter())


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
                raise broken(bundle.subject(name), str(error), "write it again") from error
            listed = data.get("names") if isinstance(data, dict) else None
            if isinstance(data, dict) and data.get("kpt_shape"):
                problem = "a data set of key points (kpt_shape)"
                raise broken(bundle.subject(name), problem, "export outlines")
            if isinstance(listed, list):
                return {number: str(one) for number, one in enumerate(listed)}
            if isinstance(listed, dict):
                return {int(key): str(one) for key, one in listed.items() if str(key).isdecimal()}
    return {}


def _yolo_shape(line: str, names: dict[int, str], where: str) -> Shape:
    try:
        number, *values = line.split()
        category = (names.get(int(number), str(int(number))),)
        sides = [float(value) for value in values]
    except ValueError as error:
        raise broken(where, f"{line[:40]!r}", "write class x y x y ...") from error
    if any(not -0.01 <= value <= 1.01 for value in sides):  # some tools round beyond the border
        problem = f"coordinates outside 0 to 1 in {line[:40]!r}"
        raise broken(where, problem, "divide x by the width and y by the height")
    if len(sides) == 4:
        return Shape(category, where, box(_corner_sides(*sides), unit="fraction"), "box")
    if len(sides) < 6 or len(sides) % 2:
        raise broken(where, f"{len(sides)} coordinates", "write x y of at least three points")
    points = [list(pair) for pair in zip(sides[::2], sides[1::2], strict=True)]
    return Shape(category, where, outline(points, unit="fraction"))


def _corner_sides(x: float, y: float, width: float, height: float) -> tuple[float, ...]:
    """A box given by its centre as one given by its upper left corner."""
    return x - width / 2, y - height / 2, width, height


def find_createml(bundle: Bundle) -> str | None:
    """The document, where it lists records with `image` and `annotations` of coordinates."""
    data = bundle.peek()
    rows = data if isinstance(data, list) else []
    first = [record for record in rows if isinstance(record, dict) and record.get("annotations")]
    shapes = first[0]["annotations"] if first and "image" in first[0] else None
    shape = shapes[0] if isinstance(shapes, list) else None
    return bundle.document() if isinstance(shape, dict) and "coordinates" in shape else None


def read_createml(bundle: Bundle, name: str, options: TruthOptions) -> TruthSet:
    """Read CreateML's boxes (centre and extent); an image without one counts as not annotated."""
    files, images = _Images(bundle), []
    for where, data in bundle.rows(name):
        record, shapes = Record.of(data, where), []
        for one in record.records("annotations", "box"):
            sides = one.part("coordinates").many("x", "y", "width", "height")
            corner = _corner_sides(*numbers(sides, one.where, "coordinate"))
            shapes.append(Shape((one.text("label"),), one.where, box(corner), "box"))
        labels = [Label(shapes)] if shapes else []
        images.append(files.listed(record.get("image"), where, *labels))
    return truth_from_shapes(bundle, "createml", images, options, Counter())
