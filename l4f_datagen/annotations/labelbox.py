"""Labelbox: export v2 (NDJSON, or the JSON list of its interface and SDK) and those before it.

A row of v2 is one image; each of its labels is one annotator, over all projects of the row.
Polygons are read as they are; masks are images found through `l4f_datagen.annotations.mask_files`,
and objects of a composite mask are the pixels of their colour in it.

Exports before v2 are JSON rows, or a CSV that holds the same JSON in a column. Forms of `Label`
that occur: an object with `objects` (polygons in pixels, or masks by `instanceURI`), `{}` or
`"Skip"` for images nobody labelled, and the form before 2020, classes with rings or WKT in which y
counts from the lower edge, as Labelbox's own converters took it.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from .bundle import Bundle, parse_json
from .coco import rle_drawer
from .drawing import Drawer, box, outline, polygons_of
from .mask_files import MaskFiles
from .records import Record, Size, broken, checked_name, sample_key_in
from .shapes import ImageShapes, Label, Shape, Status, truth_from_shapes, unread
from .truth import TruthOptions, TruthSet

# Keys that say that an object has no area; the last ones are of documents, text and video.
OTHERS = ("point", "line", "location", "frames", "page", "data", "message_id")
LEGACY_OTHERS = ("point", "line", "geometry", "page", "data")
NO_AREAS = ("Point", "MultiPoint", "LineString", "MultiLineString")  # of GeoJSON
# Keys of an object that say nothing of its kind.
KEYS = {
    *("feature_id", "feature_schema_id", "name", "value", "classifications", "annotation_kind"),
    *("featureId", "schemaId", "title", "color", "instanceURI", "keyframe", "confidence"),
}
SKIPPED = ("", "skip", "skipped", "none", "null")
TRUE = (True, "true", "True", "TRUE")
WKT = ("POLYGON", "MULTIPOLYGON")
FROM_BELOW = "outlines of the form before 2020 read with y from the lower edge"


def find(bundle: Bundle) -> str | None:
    """The document, where its rows hold `data_row`."""
    return bundle.document() if "data_row" in bundle.first_row() else None


def read(bundle: Bundle, name: str, options: TruthOptions) -> TruthSet:
    """Read an export of version 2."""
    files = MaskFiles(options.masks_dir, options.download)
    images = []
    for where, data in bundle.rows(name):
        row = Record.of(data, where)
        if not isinstance(row.get("data_row"), dict):
            raise broken(where, "no `data_row`")
        images.append(_image(row, files))
    return truth_from_shapes(bundle, "labelbox", images, options, Counter())


def _image(row: Record, files: MaskFiles) -> ImageShapes:
    where, media, projects = row.where, row.part("media_attributes"), row.get("projects")
    fields = row.part("data_row").many("external_id", "global_key", "row_data", "id")
    image = ImageShapes(_name(fields, where), where, _size(media))
    if projects is not None and not isinstance(projects, dict):
        raise broken(where, "`projects` is not an object")
    text = str(row.get("media_attributes")).lower()
    on_map = any(word in text for word in ("epsg", "tile", "tms", "geo"))
    for key, data in (projects or {}).items():
        project = Record.of(data, where)
        labels = project.items("labels", may_miss=True)
        rework = project.part("project_details").get("workflow_status") == "IN_REWORK"
        references = [_details(label).get("benchmark_reference_label") for label in labels]
        for label in labels:
            status = _status(label, references)
            if status == "plain" and rework:
                status = "rejected"
            shapes = [] if status == "skipped" else _shapes(label, where, files, on_map)
            image.labels.append(Label(shapes, status, str(key)))
    return image


def _name(fields: list[Any], where: str) -> str:
    """Name of the image: the first field that holds a sample key, else the first that is set."""
    given = [field for field in fields if isinstance(field, str) and field.strip()]
    keyed = [field for field in given if sample_key_in(field)]
    return checked_name(next(iter(keyed or given or fields[-1:])), where)


def _size(media: Record) -> Size | None:
    """Height and width that the media attributes declare, if they do."""
    return media.size() if media.get("width") or media.get("height") else None


def _details(label: object) -> dict[str, Any]:
    """Fields of a label and of its details, which exports nest at will."""
    fields: dict[str, Any] = {}
    if isinstance(label, dict):
        for part in (label.get("performance_details"), label.get("label_details"), label):
            fields |= part if isinstance(part, dict) else {}
    return fields


def _status(label: object, references: list[Any]) -> Status:
    details = _details(label)
    if details.get("skipped") is True or str(details.get("label_kind")).lower() == "skip":
        return "skipped"
    if _is_rejected(details.get("reviews")):
        return "rejected"
    own_id = details.get("id")
    if details.get("is_benchmark_reference") is True or (own_id and own_id in references):
        return "reference"
    return "plain"


def _is_rejected(reviews: object) -> bool:
    """Whether the last review of a label is a rejection; Labelbox scores it below zero."""
    last = reviews[-1] if isinstance(reviews, list) and reviews else None
    if not isinstance(last, dict):
        return False
    score = last.get("score")
    return (isinstance(score, int | float) and score < 0) or last.get("accepted") is False


def _shapes(label: object, where: str, files: MaskFiles, on_map: bool) -> list[Shape]:
    annotations = label.get("annotations") if isinstance(label, dict) else None
    if not isinstance(annotations, dict):
        raise broken(where, "a label without `annotations`")
    if "frames" in annotations or "segments" in annotations:
        raise broken(where, "a label of a video", "export image labels")
    objects = _objects(annotations, where, "feature_id", "name")
    return [shape for one in objects for shape in _object_shapes(one, files, on_map)]


class Object(NamedTuple):
    """One object of a label: its record, its class, and Labelbox's id for it."""

    record: Record
    names: tuple[str]
    own_id: str | None

    def undrawn(self, others: tuple[str, ...]) -> Shape:
        """A shape that is never drawn; unless a key of ``others`` says so, it might be an area."""
        fields, where = self.record
        kinds = sorted(fields.keys() - KEYS)
        if not kinds or any(key in fields for key in others):
            return Shape(self.names, where, None, "other")
        kind = fields.get("annotation_kind") or kinds[0]
        return unread(self.names, where, f"an object of kind {kind!r:.40}")

    def drawn(self, *drawers: Drawer) -> list[Shape]:
        """The object as shapes with an area."""
        return [Shape(self.names, self.record.where, drawer) for drawer in drawers]

    def boxed(self, key: str) -> Shape:
        """The object as the box in a field."""
        sides = self.record.part(key).many("left", "top", "width", "height")
        return Shape(self.names, self.record.where, box(sides), "box")


def _objects(label: dict[str, Any], where: str, id_key: str, name_key: str) -> Iterator[Object]:
    """Objects of a label; both export versions list them, under other keys."""
    for number, data in enumerate(Record(label, where).items("objects", may_miss=True), 1):
        own_id = data.get(id_key) if isinstance(data, dict) else None
        own_id = own_id if isinstance(own_id, str) else None
        record = Record.of(data, f"{where} object {(own_id or str(number))[:60]}")
        category = record.text(name_key if name_key in record.fields else "value")
        yield Object(record, (category,), own_id)


def _object_shapes(one: Object, files: MaskFiles, on_map: bool) -> list[Shape]:
    record = one.record
    geometry = record.get("geojson")
    if isinstance(geometry, dict) and geometry.get("type") == "Feature":
        geometry = geometry.get("geometry")
    if record.get("polygon") is not None:
        return one.drawn(outline(record.get("polygon")))
    if record.get("composite_mask") is not None:
        return one.drawn(files.colour_drawer(record.part("composite_mask")))
    if record.get("mask") is not None:
        mask = record.part("mask")
        if "counts" in mask.fields:
            return one.drawn(rle_drawer(mask.fields))
        return one.drawn(files.drawer(one.own_id, mask.get("url")))
    if record.get("bounding_box") is not None:
        return [one.boxed("bounding_box")]
    if isinstance(geometry, dict) and geometry.get("type") in ("Polygon", "MultiPolygon"):
        if on_map:
            raise broken(record.where, "an outline in map coordinates", "export image labels")
        return one.drawn(*polygons_of(geometry, record.where, y_up=False))
    is_line = isinstance(geometry, dict) and geometry.get("type") in NO_AREAS
    return [one.undrawn(("geojson",) if is_line else OTHERS)]


def find_legacy(bundle: Bundle) -> str | None:
    """The document or CSV, where its rows or its header hold `Labeled Data` and `Label`."""
    if _is_csv(bundle):
        return bundle.names[0]
    return bundle.document() if {"Labeled Data", "Label"} <= bundle.first_row().keys() else None


def _is_csv(bundle: Bundle) -> bool:
    head = bundle.head(bundle.names[0], 4096) if bundle.kind == "file" else b""
    first = head.decode("utf-8-sig", "replace").partition("\n")[0]
    is_json = first.lstrip().startswith(("{", "["))
    return "Labeled Data" in first and "Label" in first and not is_json


def read_legacy(bundle: Bundle, name: str, options: TruthOptions) -> TruthSet:
    """Read an export before version 2; several rows of one image are several annotators."""
    rows = bundle.csv_rows(name) if _is_csv(bundle) else bundle.rows(name)
    references = {str(row.get("Benchmark ID")) for _, row in rows if isinstance(row, dict)}
    tally: Counter[str] = Counter()
    files = MaskFiles(options.masks_dir, options.download)
    images: dict[tuple[str, str], ImageShapes] = {}
    for where, data in rows:
        row = Record.of(data, where)
        shapes = _legacy_shapes(row, files, tally)
        keys = ("External ID", "Global Key", "Labeled Data", "DataRow ID", "ID")
        name = _name(row.many(*keys), where)
        size_hw = _size(row.part("Media Attributes"))
        # Two data rows of one name are two images.
        one = name, str(row.get("DataRow ID") or "")
        image = images.setdefault(one, ImageShapes(name, where, size_hw))
        if shapes is not None:
            image.labels.append(Label(shapes, _legacy_status(row, references)))
    return truth_from_shapes(bundle, "labelbox-legacy", list(images.values()), options, tally)


def _legacy_status(row: Record, references: set[str]) -> Status:
    own_id, reviews = row.get("ID"), row.get("Reviews")
    if row.get("Skipped") in TRUE:
        return "skipped"
    if isinstance(reviews, str) and reviews.lstrip().startswith("["):  # of the CSV
        reviews = parse_json(reviews, "Reviews")
    if _is_rejected(reviews):
        return "rejected"
    named = own_id and str(own_id) in references
    return "reference" if named or row.get("Is Benchmark Reference") in TRUE else "plain"


def _legacy_shapes(row: Record, files: MaskFiles, tally: Counter[str]) -> list[Shape] | None:
    """Shapes of one row, None where nobody labelled it."""
    where, label, address = row.where, row.get("Label"), row.get("Labeled Data")
    if row.get("Skipped") in TRUE:
        return []
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
        return _old_shapes(label, where, tally)
    return [_legacy_shape(one, files) for one in _objects(label, where, "featureId", "title")]


def _legacy_shape(one: Object, files: MaskFiles) -> Shape:
    record, url = one.record, one.record.get("instanceURI")
    if not {"page", "data"} & record.fields.keys():
        if record.get("polygon") is not None:
            return one.drawn(outline(record.get("polygon")))[0]
        if record.get("bbox") is not None:
            return one.boxed("bbox")
        if isinstance(url, str) and not record.fields.keys() & LEGACY_OTHERS:
            return one.drawn(files.drawer(one.own_id, url))[0]
    return one.undrawn(LEGACY_OTHERS)


def _old_shapes(label: dict[str, Any], where: str, tally: Counter[str]) -> list[Shape]:
    """Shapes of ``{class: rings or WKT}``; other values (answers to questions) are counted."""
    shapes = []
    for category, value in label.items():
        place = f"{where} class {json.dumps(category, ensure_ascii=False)[:40]}"
        for record in value if isinstance(value, list) else [value]:
            geometry = record.get("geometry") if isinstance(record, dict) else record
            if isinstance(geometry, str) and geometry.lstrip().upper().startswith(WKT):
                drawers = polygons_of(geometry, place, y_up=True)
            elif isinstance(geometry, list) and geometry and isinstance(geometry[0], dict):
                drawers = [outline(geometry, y_up=True)]
            else:
                shapes.append(Shape((category,), place, None, "other"))
                continue
            shapes.extend(Shape((category,), place, drawer) for drawer in drawers)
            tally[FROM_BELOW] += len(drawers)
    return shapes
