"""Labelbox exports before v2: JSON rows, and the CSV that holds the same JSON in a column.

Forms of `Label` that occur: an object with `objects` (polygons in pixels, or masks by
`instanceURI`), `{}` or `"Skip"` for images nobody labelled, and the form before 2020, classes with
rings or WKT in which y counts from the lower edge, as Labelbox's own converters took it.
"""

import csv
import io
import json
from collections import Counter
from typing import Any

from l4f_datagen.annotations.bundle import Bundle, parse_json
from l4f_datagen.annotations.labelbox import (
    LabelledObject,
    box_drawer,
    image_name,
    labelled_objects,
    media_size,
    polygon_drawer,
)
from l4f_datagen.annotations.mask_files import MaskFiles
from l4f_datagen.annotations.pictures import decode_picture, object_pixels
from l4f_datagen.annotations.polygons import checked_ring, fill_polygon, fill_size
from l4f_datagen.annotations.shapes import Drawer, ImageShapes, Shape, Size, truth_from_shapes
from l4f_datagen.annotations.truth import Mask, TruthOptions, TruthSet
from l4f_datagen.annotations.wkt import polygons_of_wkt
from l4f_datagen.core.errors import AnnotationRefused

SKIPPED = ("", "skip", "skipped", "none", "null")
UNLABELLED = "rows without a label left out"
FROM_BELOW = "outlines of the form before 2020 read with y from the lower edge"


def matches(bundle: Bundle) -> bool:
    """Tell whether the rows (or the CSV's header) hold `Labeled Data` and `Label`."""
    if bundle.kind == "file" and _is_csv(bundle):
        return True
    name = bundle.document()
    if name is None:
        return False
    try:
        rows = bundle.rows(name)
    except AnnotationRefused:
        return False
    first = rows[0][1] if rows else None
    return isinstance(first, dict) and "Labeled Data" in first and "Label" in first


def _is_csv(bundle: Bundle) -> bool:
    head = bundle.head(bundle.names[0], 4096).decode("utf-8-sig", "replace")
    first = head.splitlines()[0] if head else ""
    return (
        "Labeled Data" in first and "Label" in first and not first.lstrip().startswith(("{", "["))
    )


def read(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """Read an export; several rows of one image are several annotators.

    Raises:
        AnnotationRefused: a malformed row, an export of video or map tiles, or the rules of
            `truth_from_shapes`.
    """
    if bundle.kind == "file" and _is_csv(bundle):
        rows = _csv_rows(bundle)
    else:
        name = bundle.document()
        if name is None:
            raise AnnotationRefused(bundle.source, "no Labelbox export", "name the JSON file")
        rows = bundle.rows(name)
    tally: Counter[str] = Counter()
    files = MaskFiles(options.masks_dir, options.download)
    images: dict[str, ImageShapes] = {}
    for subject, row in rows:
        if not isinstance(row, dict):
            raise AnnotationRefused(subject, "no record", "export the labels again")
        shapes = _shapes(row, subject, files, tally)
        if shapes is None:
            tally[UNLABELLED] += 1
            continue
        name = _name(row, subject)
        size = media_size(row.get("Media Attributes"), subject)
        image = images.setdefault(name, ImageShapes(name, subject, size))
        image.annotators.append(shapes)
    return truth_from_shapes(bundle, "labelbox-legacy", list(images.values()), options, tally)


def _csv_rows(bundle: Bundle) -> list[tuple[str, Any]]:
    subject = bundle.source
    limit = csv.field_size_limit(1 << 28)  # a label with masks is longer than the default 128 KiB
    try:
        return [
            (f"{subject} row {n}", dict(row))
            for n, row in enumerate(csv.DictReader(io.StringIO(bundle.text(bundle.names[0]))), 1)
        ]
    except csv.Error as error:
        raise AnnotationRefused(subject, f"broken CSV ({error})", "export it again") from error
    finally:
        csv.field_size_limit(limit)


def _name(row: dict[str, Any], subject: str) -> str:
    fields = [row.get(key) for key in ("External ID", "Global Key", "Labeled Data", "DataRow ID")]
    return image_name(fields, subject, last=row.get("ID"))


def _shapes(
    row: dict[str, Any], subject: str, files: MaskFiles, tally: Counter[str]
) -> list[Shape] | None:
    """Shapes of one row, None where nobody labelled it."""
    label = row.get("Label")
    if isinstance(label, str) and label.strip().lower() not in SKIPPED:
        label = parse_json(label, f"{subject} Label")
    if row.get("Skipped") in (True, "true", "True", "TRUE") or not label or isinstance(label, str):
        return None
    if isinstance(label, list):
        raise AnnotationRefused(subject, "a label of a video", "export image labels")
    if not isinstance(label, dict):
        raise AnnotationRefused(subject, f"Label {label!r:.40}", "export the labels again")
    if isinstance(row.get("Labeled Data"), str) and "tileLayerUrl" in row["Labeled Data"]:
        raise AnnotationRefused(subject, "a label of map tiles", "export image labels")
    if "objects" not in label and "classifications" not in label:
        return _old_shapes(label, subject, tally)
    objects = labelled_objects(label, subject, id_key="featureId", name_key="title")
    return [_shape(found, files, tally) for found in objects]


def _shape(found: LabelledObject, files: MaskFiles, tally: Counter[str]) -> Shape:
    record, where, category = found.record, found.where, found.category
    on_page = "page" in record or "data" in record  # documents and text
    if record.get("polygon") is not None and not on_page:
        return Shape(category, where, "area", polygon_drawer(record["polygon"], where, tally))
    if record.get("bbox") is not None and not on_page:
        return Shape(category, where, "box", box_drawer(record["bbox"], where, tally))
    has_outline = any(key in record for key in ("point", "line", "geometry"))
    if isinstance(record.get("instanceURI"), str) and not has_outline and not on_page:
        url = record["instanceURI"]
        return Shape(category, where, "area", _instance_drawer(found.feature_id, url, where, files))
    return Shape(category, where, "other")


def _instance_drawer(feature_id: str | None, url: str, where: str, files: MaskFiles) -> Drawer:
    def draw(_: Size | None) -> Mask:
        return object_pixels(decode_picture(files.fetch(feature_id, url, where), where))

    return draw


def _old_shapes(label: dict[str, Any], subject: str, tally: Counter[str]) -> list[Shape]:
    """Shapes of ``{class: rings or WKT}``; other values (answers to questions) are counted."""
    shapes = []
    for category, value in label.items():
        where = f"{subject} class {json.dumps(category, ensure_ascii=False)[:40]}"
        records = value if isinstance(value, list) else [value]
        for record in records:
            geometry = record.get("geometry") if isinstance(record, dict) else record
            rings: list[Any]
            if _is_wkt(geometry):
                rings = polygons_of_wkt(geometry, where)
            elif isinstance(geometry, list) and geometry and isinstance(geometry[0], dict):
                rings = [[[[point.get("x"), point.get("y")] for point in _points(geometry, where)]]]
            else:
                shapes.append(Shape(category, where, "other"))
                continue
            shapes.extend(
                Shape(category, where, "area", _from_below(polygon, where, tally))
                for polygon in rings
            )
            tally[FROM_BELOW] += len(rings)
    return shapes


def _is_wkt(value: object) -> bool:
    return isinstance(value, str) and value.lstrip().upper().startswith(("POLYGON", "MULTIPOLYGON"))


def _points(geometry: list[Any], where: str) -> list[dict[str, Any]]:
    if any(not isinstance(point, dict) for point in geometry):
        raise AnnotationRefused(where, "a ring that mixes points", "export the labels again")
    return geometry


def _from_below(polygon: list[Any], where: str, tally: Counter[str]) -> Drawer:
    def draw(size: Size | None) -> Mask:
        size_hw = fill_size(size, where)
        rings = [checked_ring(ring, where) for ring in polygon]
        for ring in rings:
            ring[:, 1] = size_hw[0] - ring[:, 1]
        return fill_polygon(rings[0], size_hw, where, tally, rings[1:])

    return draw
