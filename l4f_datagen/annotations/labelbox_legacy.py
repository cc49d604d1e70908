"""Labelbox exports before v2: JSON rows, and the CSV that holds the same JSON in a column.

Forms of `Label` that occur: an object with `objects` (polygons in pixels, or masks by
`instanceURI`), `{}` or `"Skip"` for images nobody labelled, and the form before 2020, classes with
rings or WKT in which y counts from the lower edge, as Labelbox's own converters took it.
"""

import json
from collections import Counter
from typing import Any

from l4f_datagen.annotations.bundle import Bundle, parse_json
from l4f_datagen.annotations.labelbox import (
    SIDES,
    LabelledObject,
    image_name,
    labelled_objects,
    media_size,
    review_rejects,
)
from l4f_datagen.annotations.mask_files import MaskFiles
from l4f_datagen.annotations.mask_rule import object_pixels
from l4f_datagen.annotations.polygons import Drawer, box, outline, polygons_of
from l4f_datagen.annotations.shapes import ImageShapes, Label, Shape, Status, truth_from_shapes
from l4f_datagen.annotations.truth import TruthOptions, TruthSet, mask_image
from l4f_datagen.core.errors import AnnotationRefused

SKIPPED = ("", "skip", "skipped", "none", "null")
TRUE = (True, "true", "True", "TRUE")
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
    """Read an export; several rows of one image are several annotators."""
    if bundle.kind == "file" and _is_csv(bundle):
        rows = bundle.csv_rows(bundle.names[0])
    else:
        rows = bundle.rows(bundle.needed("Labelbox export"))
    references = {row.get("Benchmark ID") for _, row in rows if isinstance(row, dict)}
    tally: Counter[str] = Counter()
    files = MaskFiles(options.masks_dir, options.download)
    images: dict[str, ImageShapes] = {}
    for subject, row in rows:
        if not isinstance(row, dict):
            raise AnnotationRefused(subject, "no record", "export the labels again")
        shapes = _shapes(row, subject, files, tally)
        name = _name(row, subject)
        size = media_size(row.get("Media Attributes"), subject)
        image = images.setdefault(name, ImageShapes(name, subject, size))
        if shapes is not None:
            image.labels.append(Label(shapes, _status(row, references)))
    return truth_from_shapes(bundle, "labelbox-legacy", list(images.values()), options, tally)


def _name(row: dict[str, Any], subject: str) -> str:
    fields = [row.get(key) for key in ("External ID", "Global Key", "Labeled Data", "DataRow ID")]
    return image_name(fields, subject, last=row.get("ID"))


def _status(row: dict[str, Any], references: set[Any]) -> Status:
    if row.get("Skipped") in TRUE:
        return "skipped"
    reviews = row.get("Reviews")
    if isinstance(reviews, str) and reviews.lstrip().startswith("["):  # of the CSV
        reviews = parse_json(reviews, "Reviews")
    if review_rejects(reviews):
        return "rejected"
    is_reference = row.get("Is Benchmark Reference") in TRUE
    return "reference" if is_reference or (row.get("ID") and row["ID"] in references) else "plain"


def _shapes(
    row: dict[str, Any], subject: str, files: MaskFiles, tally: Counter[str]
) -> list[Shape] | None:
    """Shapes of one row, None where nobody labelled it."""
    label = row.get("Label")
    if row.get("Skipped") in TRUE:
        return []
    if isinstance(label, str) and label.strip().lower() not in SKIPPED:
        label = parse_json(label, f"{subject} Label")
    if not label or isinstance(label, str):
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
    record, where = found.record, found.where
    others = ("point", "line", "geometry", "page", "data")  # the last two of documents and text
    if "page" in record or "data" in record:
        return found.undrawn(*others)
    if record.get("polygon") is not None:
        return found.shape(outline(record["polygon"], where, tally))
    if record.get("bbox") is not None:
        sides = record["bbox"] if isinstance(record["bbox"], dict) else {}
        return found.shape(box([sides.get(key) for key in SIDES], where, tally), is_box=True)
    url = record.get("instanceURI")
    if isinstance(url, str) and not any(key in record for key in others):
        return found.shape(
            lambda _: object_pixels(mask_image(files.fetch(found.feature_id, url, where), where))
        )
    return found.undrawn(*others)


def _old_shapes(label: dict[str, Any], subject: str, tally: Counter[str]) -> list[Shape]:
    """Shapes of ``{class: rings or WKT}``; other values (answers to questions) are counted."""
    shapes = []
    for category, value in label.items():
        where = f"{subject} class {json.dumps(category, ensure_ascii=False)[:40]}"
        for record in value if isinstance(value, list) else [value]:
            geometry = record.get("geometry") if isinstance(record, dict) else record
            drawers: list[Drawer]
            if _is_wkt(geometry):
                drawers = polygons_of(geometry, where, tally, y_up=True)
            elif isinstance(geometry, list) and geometry and isinstance(geometry[0], dict):
                drawers = [outline(geometry, where, tally, y_up=True)]
            else:
                shapes.append(Shape((category,), where, "other"))
                continue
            shapes.extend(Shape((category,), where, "area", drawer) for drawer in drawers)
            tally[FROM_BELOW] += len(drawers)
    return shapes


def _is_wkt(value: object) -> bool:
    return isinstance(value, str) and value.lstrip().upper().startswith(("POLYGON", "MULTIPOLYGON"))
