"""Labelbox: export v2 (NDJSON, or the JSON list of its interface and SDK) and those before it.

A row of v2 is one image; each of its labels is one annotator, over all projects of the row.
Objects of a composite mask are the pixels of their colour in it.

Exports before v2 are JSON rows, or a CSV that holds the same JSON in a column. Forms of `Label`
that occur: an object with `objects` (polygons in pixels, or masks by `instanceURI`), `{}` or
`"Skip"` for images nobody labelled, and the form before 2020, classes with rings or WKT in which y
counts from the lower edge, as Labelbox's own converters took it.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from .bundle import Bundle, parse_json
from .coco import rle_area
from .drawing import NO_AREA, Area, box, outline, polygons_of, undrawn
from .mask_files import MaskFiles
from .records import Record, Size, broken, checked_name, sample_key_in
from .shapes import ImageShapes, Label, Shape, Status

# Keys that say that an object has no area, by the key of its id, which tells the version; the last
# ones are of documents, text and video.
OTHERS = {
    "feature_id": {"point", "line", "location", "frames", "page", "data", "message_id"},
    "featureId": {"point", "line", "geometry", "page", "data"},
}
NO_AREAS = ("Point", "MultiPoint", "LineString", "MultiLineString")  # of GeoJSON
# Keys of an object that say nothing of its kind.
KEYS = {
    *("feature_id", "feature_schema_id", "name", "value", "classifications", "annotation_kind"),
    *("featureId", "schemaId", "title", "color", "instanceURI", "keyframe", "confidence"),
}
SKIPPED = ("", "skip", "skipped", "none", "null")
TRUE = (True, "true", "True", "TRUE")


def find(bundle: Bundle) -> str | None:
    """The document, where its rows hold `data_row`."""
    return bundle.document() if "data_row" in bundle.first_row() else None


def read(bundle: Bundle, name: str) -> Iterator[ImageShapes]:
    """Read an export of version 2."""
    files = MaskFiles(bundle.options)
    for row in bundle.rows(name):
        where = row.where
        if not isinstance(row.get("data_row"), dict):
            raise broken(where, "no `data_row`")
        fields = row.part("data_row").many("external_id", "global_key", "row_data", "id")
        image = ImageShapes(_name(fields, where), where, _size(row.part("media_attributes")))
        projects = row.get("projects")
        if projects is not None and not isinstance(projects, dict):
            raise broken(where, "`projects` is not an object")
        text = str(row.get("media_attributes")).lower()
        on_map = any(word in text for word in ("epsg", "tile", "tms", "geo"))
        for key, content in (projects or {}).items():
            image.labels += _labels(Record.of(content, where), str(key), files, on_map)
        yield image


def _labels(project: Record, key: str, files: MaskFiles, on_map: bool) -> Iterator[Label]:
    rework = project.part("project_details").get("workflow_status") == "IN_REWORK"
    labels = list(project.records("labels", "label", may_miss=True))
    parts = [(n.part("performance_details"), n.part("label_details"), n) for n in labels]
    # Exports nest the details of a label at will.
    details = [first.fields | second.fields | own.fields for first, second, own in parts]
    references = [str(one.get("benchmark_reference_label")) for one in details]
    for label, one in zip(labels, details, strict=True):
        status = _status(one, references)
        if status == "skipped":
            yield Label([], status, key)
            continue
        annotations = label.get("annotations")
        if not isinstance(annotations, dict):
            raise broken(label.where, "a label without `annotations`")
        if "frames" in annotations or "segments" in annotations:
            raise broken(label.where, "a label of a video", "export image labels")
        held = Record(annotations, label.where)
        shapes = _objects(held, "feature_id", files, on_map=on_map)
        yield Label(shapes, "rejected" if rework and status == "plain" else status, key)


def _name(fields: list[Any], where: str) -> str:
    """Name of the image: the first field that holds a sample key, else the first that is set."""
    given = [field for field in fields if isinstance(field, str) and field.strip()]
    keyed = [field for field in given if sample_key_in(field)]
    return checked_name(next(iter(keyed or given or fields[-1:])), where)


def _size(media: Record) -> Size | None:
    """Height and width that the media attributes declare, if they do."""
    return media.size() if media.get("width") or media.get("height") else None


def _status(details: dict[str, Any], references: list[str]) -> Status:
    reviews = details.get("reviews")
    last = reviews[-1] if isinstance(reviews, list) and reviews else None
    score, accepted = Record(last if isinstance(last, dict) else {}, "").many("score", "accepted")
    if details.get("skipped") in TRUE or str(details.get("label_kind")).lower() == "skip":
        return "skipped"
    # A rejection in review is a score below zero.
    if (isinstance(score, int | float) and score < 0) or accepted is False:
        return "rejected"
    is_own = details.get("id") and str(details["id"]) in references
    return "reference" if is_own or details.get("is_benchmark_reference") in TRUE else "plain"


def _objects(label: Record, id_key: str, files: MaskFiles, *, on_map: bool = False) -> list[Shape]:
    """Shapes of the objects of a label; both export versions list them, under other keys."""
    shapes = []
    for one in label.records("objects", "object", id_key=id_key, may_miss=True):
        category = one.text(next((key for key in ("name", "title") if key in one.fields), "value"))
        areas = _areas(one, id_key, files, on_map)
        shapes += [Shape((category,), one.where, *area) for area in areas]
    return shapes


def _areas(one: Record, id_key: str, files: MaskFiles, on_map: bool) -> list[Area]:
    fields, geometry = one.fields, one.get("geojson")
    if isinstance(geometry, dict) and geometry.get("type") == "Feature":
        geometry = geometry.get("geometry")
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    others = fields.keys() & OTHERS[id_key]
    if {"page", "data"} & others or kind in NO_AREAS:
        return [NO_AREA]
    if one.get("polygon") is not None:
        return [outline(fields["polygon"])]
    if one.get("composite_mask") is not None:
        return [files.colour_area(one.part("composite_mask"))]
    if one.get("mask") is not None:
        mask = one.part("mask").fields
        by_url = files.area(one.get(id_key), mask.get("url"))
        return [rle_area(mask) if "counts" in mask else by_url]
    for key in ("bounding_box", "bbox"):
        if one.get(key) is not None:
            return [box(one.part(key).many("left", "top", "width", "height"))]
    if kind in ("Polygon", "MultiPolygon"):
        if on_map:
            raise broken(one.where, "an outline in map coordinates", "export image labels")
        return polygons_of(geometry, one.where, y_up=False)
    if isinstance(one.get("instanceURI"), str) and not others:
        return [files.area(one.get(id_key), fields["instanceURI"])]
    kinds = sorted(fields.keys() - KEYS)
    if not kinds or others:
        return [NO_AREA]
    unknown = one.get("annotation_kind") or kinds[0]  # it might be an area
    return [undrawn(unknown)]


def find_legacy(bundle: Bundle) -> str | None:
    """The document or CSV, where its rows or its header hold `Labeled Data` and `Label`."""
    head = bundle.head(bundle.names[0], 4096) if bundle.kind == "file" else b""
    first = head.partition(b"\n")[0]
    if b"Labeled Data" in first and b"Label" in first and not head.startswith((b"{", b"[")):
        return bundle.names[0]
    return bundle.document() if {"Labeled Data", "Label"} <= bundle.first_row().keys() else None


def read_legacy(bundle: Bundle, name: str) -> Iterable[ImageShapes]:
    """Read an export before version 2; several rows of one image are several annotators."""
    rows = bundle.rows(name)
    references = [str(row.get("Benchmark ID")) for row in rows]
    files = MaskFiles(bundle.options)
    images: dict[tuple[str, str], ImageShapes] = {}
    for row in rows:
        details = {str(key).lower().replace(" ", "_"): value for key, value in row.fields.items()}
        reviews = details.get("reviews")
        if isinstance(reviews, str) and reviews.lstrip().startswith("["):  # of the CSV
            details["reviews"] = parse_json(reviews, f"{row.where} Reviews")
        status = _status(details, references)
        shapes = [] if status == "skipped" else _legacy_shapes(row, files, bundle)
        keys = ("External ID", "Global Key", "Labeled Data", "DataRow ID", "ID")
        name = _name(row.many(*keys), row.where)
        made = ImageShapes(name, row.where, _size(row.part("Media Attributes")))
        # Two data rows of one name are two images.
        image = images.setdefault((name, str(row.get("DataRow ID") or "")), made)
        if shapes is not None:
            image.labels.append(Label(shapes, status))
    return images.values()


def _legacy_shapes(row: Record, files: MaskFiles, bundle: Bundle) -> list[Shape] | None:
    """Shapes of one row, None where nobody labelled it."""
    where, label, address = row.where, row.get("Label"), row.get("Labeled Data")
    if isinstance(label, str) and label.strip().lower() not in SKIPPED:
        label = parse_json(label, f"{where} Label")
    if not label or isinstance(label, str):
        return None
    if isinstance(label, list):
        raise broken(where, "a label of a video", "export image labels")
    if not isinstance(label, dict):
        raise broken(where, f"Label {label!r:.40}")
    if isinstance(address, str) and "tileLayerUrl" in address:
        raise broken(where, "a label of map tiles", "export image labels")
    if "objects" not in label and "classifications" not in label:
        return _old_shapes(label, where, bundle)
    return _objects(Record(label, where), "featureId", files)


def _old_shapes(label: dict[str, Any], where: str, bundle: Bundle) -> list[Shape]:
    """Shapes of ``{class: rings or WKT}``; other values (answers to questions) are counted."""
    shapes = []
    for category, value in label.items():
        place = f"{where} class {json.dumps(category, ensure_ascii=False)[:40]}"
        for record in value if isinstance(value, list) else [value]:
            geometry = record.get("geometry") if isinstance(record, dict) else record
            text = geometry.lstrip().upper() if isinstance(geometry, str) else ""
            areas = [NO_AREA]
            if text.startswith(("POLYGON", "MULTIPOLYGON")):
                areas = polygons_of(geometry, place, y_up=True)
            elif isinstance(geometry, list) and geometry and isinstance(geometry[0], dict):
                areas = [outline(geometry, y_up=True)]
            shapes += [Shape((category,), place, *area) for area in areas]
            below = "outlines of the form before 2020 read with y from the lower edge"
            bundle.tally[below] += sum(area is not NO_AREA for area in areas)
    return shapes
