"""Labelbox export v2: NDJSON, or the JSON list its interface and SDK hand out.

A row is one image; each of its labels is one annotator, over all projects of the row. Polygons are
read as they are; masks are pictures found through `l4f_datagen.annotations.mask_files`, and objects
of a composite mask are the pixels of their colour in it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from l4f_datagen.annotations.bundle import Bundle
from l4f_datagen.annotations.mask_files import MaskFiles
from l4f_datagen.annotations.pictures import decode_picture, object_pixels
from l4f_datagen.annotations.polygons import checked_ring, fill_box_xywh, fill_polygon, fill_size
from l4f_datagen.annotations.rle import decode_coco_rle
from l4f_datagen.annotations.shapes import Drawer, ImageShapes, Shape, Size, truth_from_shapes
from l4f_datagen.annotations.truth import (
    Mask,
    TruthOptions,
    TruthSet,
    checked_name,
    checked_size,
    sample_key_in,
)
from l4f_datagen.core.errors import AnnotationRefused


def matches(bundle: Bundle) -> bool:
    """Tell whether the rows hold `data_row` and `projects`."""
    name = bundle.document()
    if name is None:
        return False
    try:
        rows = bundle.rows(name)
    except AnnotationRefused:
        # A later line may be broken: the first one says what the file means to be.
        return b'"data_row"' in bundle.head(name, 4096)
    return bool(rows) and isinstance(rows[0][1], dict) and "data_row" in rows[0][1]


def read(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """Read an export; rows without a label are counted and left out.

    Raises:
        AnnotationRefused: a malformed row, video, or the rules of `truth_from_shapes`.
    """
    name = bundle.document()
    if name is None:
        raise AnnotationRefused(bundle.source, "no Labelbox export", "name the NDJSON file")
    tally: Counter[str] = Counter()
    files = MaskFiles(options.masks_dir, options.download)
    images = []
    for subject, row in bundle.rows(name):
        if not isinstance(row, dict) or not isinstance(row.get("data_row"), dict):
            raise AnnotationRefused(subject, "no `data_row`", "export the labels again")
        image = _image(row, subject, files, tally)
        if image.annotators:
            images.append(image)
        else:
            tally["rows without a label left out"] += 1
    return truth_from_shapes(bundle, "labelbox", images, options, tally)


def _image(row: dict[str, Any], subject: str, files: MaskFiles, tally: Counter[str]) -> ImageShapes:
    data_row, size = row["data_row"], media_size(row.get("media_attributes"), subject)
    fields = [data_row.get(key) for key in ("external_id", "global_key", "row_data", "id")]
    image = ImageShapes(image_name(fields, subject), subject, size)
    projects = row.get("projects")
    if projects is None:
        projects = {}
    if not isinstance(projects, dict):
        raise AnnotationRefused(subject, "`projects` is no object", "export the labels again")
    for project in projects.values():
        labels = project.get("labels", []) if isinstance(project, dict) else None
        if not isinstance(labels, list):
            raise AnnotationRefused(subject, "`labels` is no list", "export the labels again")
        for label in labels:
            image.annotators.append(_label(label, subject, files, tally))
    return image


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


def _label(label: object, subject: str, files: MaskFiles, tally: Counter[str]) -> list[Shape]:
    annotations = label.get("annotations") if isinstance(label, dict) else None
    if not isinstance(annotations, dict):
        raise AnnotationRefused(subject, "a label without `annotations`", "export it again")
    if "frames" in annotations or "segments" in annotations:
        raise AnnotationRefused(subject, "a label of a video", "export image labels")
    objects = labelled_objects(annotations, subject, id_key="feature_id", name_key="name")
    return [_shape(found, files, tally) for found in objects]


@dataclass(frozen=True)
class LabelledObject:
    """One object of a label.

    Attributes:
        record: as the export holds it.
        feature_id: Labelbox's name for it, which mask files may carry; or None.
        where: file and record, for errors.
        category: its class.
    """

    record: dict[str, Any]
    feature_id: str | None
    where: str
    category: str


def labelled_objects(
    label: dict[str, Any], subject: str, *, id_key: str, name_key: str
) -> Iterator[LabelledObject]:
    """Yield the objects of a label; both export versions list them, under other keys.

    Raises:
        AnnotationRefused: no list, no record, or an object without a class.
    """
    objects = label.get("objects", [])
    if not isinstance(objects, list):
        raise AnnotationRefused(subject, "`objects` is no list", "export the labels again")
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


def _shape(found: LabelledObject, files: MaskFiles, tally: Counter[str]) -> Shape:
    record, where, category = found.record, found.where, found.category
    if record.get("polygon") is not None:
        return Shape(category, where, "area", polygon_drawer(record["polygon"], where, tally))
    if record.get("composite_mask") is not None:
        composite = record["composite_mask"]
        return Shape(category, where, "area", _composite_drawer(composite, where, files, tally))
    if record.get("mask") is not None:
        drawer = _mask_drawer(record["mask"], found.feature_id, where, files)
        return Shape(category, where, "area", drawer)
    if record.get("bounding_box") is not None:
        return Shape(category, where, "box", box_drawer(record["bounding_box"], where, tally))
    return Shape(category, where, "other")


def polygon_drawer(points: object, where: str, tally: Counter[str]) -> Drawer:
    """Drawer of a ring of ``{"x": ..., "y": ...}`` points (pixels)."""

    def draw(size: Size | None) -> Mask:
        if not isinstance(points, list):
            raise AnnotationRefused(where, "a polygon that is no list", "export it again")
        pairs = [
            [point.get("x"), point.get("y")] if isinstance(point, dict) else point
            for point in points
        ]
        return fill_polygon(checked_ring(pairs, where), fill_size(size, where), where, tally)

    return draw


def box_drawer(box: object, where: str, tally: Counter[str]) -> Drawer:
    """Drawer of a ``{"top", "left", "height", "width"}`` box (pixels)."""

    def draw(size: Size | None) -> Mask:
        sides = box if isinstance(box, dict) else {}
        xywh = [sides.get(key) for key in ("left", "top", "width", "height")]
        return fill_box_xywh(xywh, fill_size(size, where), where, tally)

    return draw


def _mask_drawer(mask: object, feature_id: str | None, where: str, files: MaskFiles) -> Drawer:
    record = mask if isinstance(mask, dict) else {}
    url = record.get("url")

    def draw(size: Size | None) -> Mask:
        if "counts" in record:
            return decode_coco_rle(record, size, where)
        data = files.fetch(feature_id, url if isinstance(url, str) else None, where)
        return object_pixels(decode_picture(data, where))

    return draw


def _composite_drawer(
    composite: object, where: str, files: MaskFiles, tally: Counter[str]
) -> Drawer:
    record = composite if isinstance(composite, dict) else {}
    url, colour = record.get("url"), record.get("color_rgb")

    def draw(_: Size | None) -> Mask:
        if (
            not isinstance(colour, list)
            or len(colour) != 3
            or any(type(level) is not int or not 0 <= level <= 255 for level in colour)
        ):
            raise AnnotationRefused(where, f"color_rgb {colour!r:.40}", "export it again")
        picture = decode_picture(
            files.fetch(None, url if isinstance(url, str) else None, where), where
        )
        planes = picture.rgb
        if planes is None:
            planes = np.repeat(np.asarray(picture.grey)[:, :, None], 3, axis=2)
        drawn = np.asarray((planes == np.asarray(colour, np.uint8)).all(axis=2))
        if not drawn.any():
            tally["objects without a pixel of their colour in the composite mask"] += 1
        return drawn

    return draw
