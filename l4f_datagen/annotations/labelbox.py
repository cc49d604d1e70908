"""Labelbox export v2: NDJSON, or the JSON list its interface and SDK write.

A row is one image; each of its labels is one annotator, over all projects of the row. Polygons are
read as they are; masks are images found through `l4f_datagen.annotations.mask_files`, and objects
of a composite mask are the pixels of their colour in it.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from l4f_datagen.annotations.bundle import Bundle
from l4f_datagen.annotations.mask_files import MaskFiles
from l4f_datagen.annotations.mask_rule import object_pixels
from l4f_datagen.annotations.polygons import Drawer, box, outline, polygons_of
from l4f_datagen.annotations.rle import decode_coco_rle
from l4f_datagen.annotations.shapes import ImageShapes, Label, Shape, Status, truth_from_shapes
from l4f_datagen.annotations.truth import (
    Mask,
    Size,
    TruthOptions,
    TruthSet,
    checked_name,
    checked_size,
    mask_image,
    sample_key_in,
)
from l4f_datagen.core.errors import AnnotationRefused

OTHERS = ("point", "line", "location", "frames", "page", "data", "message_id")
SIDES = ("left", "top", "width", "height")


def matches(bundle: Bundle) -> bool:
    """Tell whether the rows hold `data_row` and `projects`."""
    name = bundle.document()
    if name is None:
        return False
    try:
        rows = bundle.rows(name)
    except AnnotationRefused:
        # A later line may be broken: the first one tells the format.
        return b'"data_row"' in bundle.head(name, 4096)
    return bool(rows) and isinstance(rows[0][1], dict) and "data_row" in rows[0][1]


def read(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """Read an export."""
    name = bundle.needed("Labelbox export")
    tally: Counter[str] = Counter()
    files = MaskFiles(options.masks_dir, options.download)
    images = []
    for subject, row in bundle.rows(name):
        if not isinstance(row, dict) or not isinstance(row.get("data_row"), dict):
            raise AnnotationRefused(subject, "no `data_row`", "export the labels again")
        images.append(_image(row, subject, files, tally))
    return truth_from_shapes(bundle, "labelbox", images, options, tally)


def _image(row: dict[str, Any], subject: str, files: MaskFiles, tally: Counter[str]) -> ImageShapes:
    data_row, media = row["data_row"], row.get("media_attributes")
    fields = [data_row.get(key) for key in ("external_id", "global_key", "row_data", "id")]
    image = ImageShapes(image_name(fields, subject), subject, media_size(media, subject))
    projects = row.get("projects") if row.get("projects") is not None else {}
    if not isinstance(projects, dict):
        raise AnnotationRefused(subject, "`projects` is not an object", "export the labels again")
    on_map = any(word in str(media).lower() for word in ("epsg", "tile", "tms", "geo"))
    for project in projects.values():
        labels = project.get("labels", []) if isinstance(project, dict) else None
        if not isinstance(labels, list):
            raise AnnotationRefused(subject, "`labels` is not a list", "export the labels again")
        details = project.get("project_details")
        rework = isinstance(details, dict) and details.get("workflow_status") == "IN_REWORK"
        references = [_details(label).get("benchmark_reference_label") for label in labels]
        for label in labels:
            status = _status(label, references)
            if status == "plain" and rework:
                status = "rejected"
            shapes = [] if status == "skipped" else _shapes(label, subject, files, tally, on_map)
            image.labels.append(Label(shapes, status))
    return image


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
    if review_rejects(details.get("reviews")):
        return "rejected"
    own_id = details.get("id")
    if details.get("is_benchmark_reference") is True or (own_id and own_id in references):
        return "reference"
    return "plain"


def review_rejects(reviews: object) -> bool:
    """Whether the last review of a label is a rejection; Labelbox scores it below zero."""
    last = reviews[-1] if isinstance(reviews, list) and reviews else None
    if not isinstance(last, dict):
        return False
    score = last.get("score")
    return (isinstance(score, int | float) and score < 0) or last.get("accepted") is False


def media_size(media: object, subject: str) -> Size | None:
    """Height and width that the media attributes declare, if they do."""
    if isinstance(media, dict) and (media.get("width") or media.get("height")):
        return checked_size(media.get("height"), media.get("width"), subject)
    return None


def image_name(fields: list[Any], subject: str, last: object = None) -> str:
    """Name of the image: the first field that holds a sample key, else the first that is set."""
    given = [field for field in fields if isinstance(field, str) and field.strip()]
    keyed: list[Any] = [field for field in given if sample_key_in(field)]
    return checked_name((keyed or given or [last])[0], subject)


def _shapes(
    label: object, subject: str, files: MaskFiles, tally: Counter[str], on_map: bool
) -> list[Shape]:
    annotations = label.get("annotations") if isinstance(label, dict) else None
    if not isinstance(annotations, dict):
        raise AnnotationRefused(subject, "a label without `annotations`", "export it again")
    if "frames" in annotations or "segments" in annotations:
        raise AnnotationRefused(subject, "a label of a video", "export image labels")
    objects = labelled_objects(annotations, subject, id_key="feature_id", name_key="name")
    return [shape for found in objects for shape in _object_shapes(found, files, tally, on_map)]


class LabelledObject(NamedTuple):
    """One object of a label: its record, Labelbox's id for it, its place for errors, its class."""

    record: dict[str, Any]
    feature_id: str | None
    where: str
    category: str

    def shape(self, draw: Drawer, *, is_box: bool = False) -> Shape:
        """The object as a shape."""
        return Shape((self.category,), self.where, "box" if is_box else "area", draw)

    def undrawn(self, *others: str) -> Shape:
        """A shape that is never drawn; unless a key of ``others`` says so, it might be an area."""
        if any(key in self.record for key in others) or not self.record.keys() - KEYS:
            return Shape((self.category,), self.where, "other")
        kind = self.record.get("annotation_kind") or sorted(self.record.keys() - KEYS)[0]
        return Shape(
            (self.category,), self.where, "unread", problem=f"an object of kind {kind!r:.40}"
        )


KEYS = {
    *("feature_id", "feature_schema_id", "name", "value", "classifications", "annotation_kind"),
    *("featureId", "schemaId", "title", "color", "instanceURI", "keyframe", "confidence"),
}


def labelled_objects(
    label: dict[str, Any], subject: str, *, id_key: str, name_key: str
) -> Iterator[LabelledObject]:
    """Yield the objects of a label; both export versions list them, under other keys.

    Raises:
        AnnotationRefused: no list, no record, or an object without a class.
    """
    objects = label.get("objects", [])
    if not isinstance(objects, list):
        raise AnnotationRefused(subject, "`objects` is not a list", "export the labels again")
    for number, record in enumerate(objects, 1):
        if not isinstance(record, dict):
            raise AnnotationRefused(f"{subject} object {number}", "no record", "export it again")
        feature_id = record.get(id_key)
        feature_id = feature_id if isinstance(feature_id, str) else None
        where = f"{subject} object {(feature_id or str(number))[:60]}"
        category = record.get(name_key, record.get("value"))
        if not isinstance(category, str):
            raise AnnotationRefused(where, f"{name_key} {category!r:.40}", "give the class a name")
        yield LabelledObject(record, feature_id, where, category)


def _object_shapes(
    found: LabelledObject, files: MaskFiles, tally: Counter[str], on_map: bool
) -> list[Shape]:
    record, where = found.record, found.where
    if record.get("polygon") is not None:
        return [found.shape(outline(record["polygon"], where, tally))]
    if record.get("composite_mask") is not None:
        return [found.shape(_composite_drawer(record["composite_mask"], where, files))]
    if record.get("mask") is not None:
        return [found.shape(_mask_drawer(record["mask"], found.feature_id, where, files))]
    if record.get("bounding_box") is not None:
        sides = record["bounding_box"] if isinstance(record["bounding_box"], dict) else {}
        drawer = box([sides.get(key) for key in SIDES], where, tally)
        return [found.shape(drawer, is_box=True)]
    geometry = record.get("geojson")
    if isinstance(geometry, dict) and geometry.get("type") in ("Polygon", "MultiPolygon"):
        if on_map:
            raise AnnotationRefused(where, "an outline in map coordinates", "export image labels")
        return [found.shape(d) for d in polygons_of(geometry, where, tally, y_up=False)]
    if isinstance(geometry, dict):
        return [found.undrawn("geojson")]
    return [found.undrawn(*OTHERS)]


def _mask_drawer(mask: object, feature_id: str | None, where: str, files: MaskFiles) -> Drawer:
    record = mask if isinstance(mask, dict) else {}
    url = record.get("url")

    def draw(size: Size | None) -> Mask:
        if "counts" in record:
            return decode_coco_rle(record, size, where)
        data = files.fetch(feature_id, url if isinstance(url, str) else None, where)
        return object_pixels(mask_image(data, where))

    return draw


def _composite_drawer(composite: object, where: str, files: MaskFiles) -> Drawer:
    record = composite if isinstance(composite, dict) else {}
    url, colour = record.get("url"), record.get("color_rgb")

    def draw(_: Size | None) -> Mask:
        if (
            not isinstance(colour, list)
            or len(colour) != 3
            or any(type(level) is not int or not 0 <= level <= 255 for level in colour)
        ):
            raise AnnotationRefused(where, f"color_rgb {colour!r:.40}", "export it again")
        data = files.fetch(None, url if isinstance(url, str) else None, where)
        drawn = (mask_image(data, where).colours() == np.asarray(colour, np.uint8)).all(axis=2)
        if not drawn.any():
            problem = f"no pixel of its colour {colour} in the composite mask"
            raise AnnotationRefused(
                where, problem, "export the labels and download the masks again"
            )
        return np.asarray(drawn)

    return draw
