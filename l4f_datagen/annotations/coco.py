"""COCO instances: polygons, both RLE kinds, crowds."""

from collections import Counter
from typing import Any

import numpy as np

from l4f_datagen.annotations.bundle import Bundle
from l4f_datagen.annotations.polygons import (
    checked_ring,
    fill_box_xywh,
    fill_polygon,
    fill_size,
)
from l4f_datagen.annotations.rle import decode_coco_rle
from l4f_datagen.annotations.shapes import Drawer, ImageShapes, Shape, Size, truth_from_shapes
from l4f_datagen.annotations.truth import Mask, TruthOptions, TruthSet, checked_name, checked_size
from l4f_datagen.core.errors import AnnotationRefused


def matches(bundle: Bundle) -> bool:
    """Tell whether a JSON file of the bundle is an object with images and annotations."""
    return _file(bundle) is not None


def _file(bundle: Bundle) -> str | None:
    name = bundle.document()
    names = [name] if name else [n for n in bundle.names if n.lower().endswith(".json")]
    found = [name for name in names if _has_images(bundle, name)] if len(names) <= 8 else []
    return found[0] if len(found) == 1 else None


def _has_images(bundle: Bundle, name: str) -> bool:
    if not bundle.head(name).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return False
    try:
        data = bundle.json(name)
    except AnnotationRefused:
        return False  # whoever reads the file says what is wrong with it
    return isinstance(data, dict) and isinstance(data.get("images"), list)


def read(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """Read a COCO instances file; every listed image is an item, also those without objects.

    Raises:
        AnnotationRefused: a record that is malformed, dangling or declared twice.
    """
    name = _file(bundle)
    if name is None:
        raise AnnotationRefused(bundle.source, "no COCO instances file", "name the JSON file")
    subject = bundle.subject(name)
    data = bundle.json(name)
    tally: Counter[str] = Counter()
    images = _images(data, subject)
    categories = _categories(data, subject)
    records = data.get("annotations", [])
    if not isinstance(records, list):
        raise AnnotationRefused(subject, "`annotations` is no list", "export the file again")
    seen: set[object] = set()
    for position, record in enumerate(records):
        where = f"{subject} annotation {_shown_id(record, position)}"
        image = images.get(_id(_field(record, "image_id", where), where))
        if image is None:
            raise AnnotationRefused(
                where, f"image_id {record['image_id']!r:.40} is not listed", "export it again"
            )
        category = categories.get(_id(_field(record, "category_id", where), where))
        if category is None:
            raise AnnotationRefused(
                where, f"category_id {record['category_id']!r:.40} is not listed", "export it again"
            )
        if record.get("id") is not None:
            own_id = _id(record["id"], where)
            if own_id in seen:
                raise AnnotationRefused(where, "the id is used twice", "give each its own id")
            seen.add(own_id)
        image.annotators[0].append(_shape(record, category, image.size_hw, where, tally))
    return truth_from_shapes(bundle, "coco", list(images.values()), options, tally)


def _images(data: dict[str, Any], subject: str) -> dict[object, ImageShapes]:
    images: dict[object, ImageShapes] = {}
    for position, record in enumerate(data["images"]):
        where = f"{subject} image {_shown_id(record, position)}"
        image_id = _id(_field(record, "id", where), where)
        if image_id in images:
            raise AnnotationRefused(where, "the id is used twice", "give each image its own id")
        size = checked_size(_field(record, "height", where), _field(record, "width", where), where)
        name = checked_name(_field(record, "file_name", where), where)
        images[image_id] = ImageShapes(name, where, size, [[]])
    return images


def _categories(data: dict[str, Any], subject: str) -> dict[object, str]:
    records = data.get("categories")
    if not isinstance(records, list):
        raise AnnotationRefused(subject, "`categories` is no list", "export the file again")
    names: dict[object, str] = {}
    for position, record in enumerate(records):
        where = f"{subject} category {_shown_id(record, position)}"
        name = _field(record, "name", where)
        if not isinstance(name, str):
            raise AnnotationRefused(where, f"name {name!r:.40}", "give the category a name")
        names[_id(_field(record, "id", where), where)] = name
    return names


def _shown_id(record: object, position: int) -> str:
    if isinstance(record, dict) and isinstance(record.get("id"), int | str):
        return f"id {record['id']!r:.30}"
    return f"number {position + 1}"


def _field(record: object, key: str, where: str) -> Any:
    if not isinstance(record, dict) or key not in record:
        raise AnnotationRefused(where, f"no `{key}`", "export the file again")
    return record[key]


def _id(value: object, where: str) -> object:
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise AnnotationRefused(where, f"id {value!r:.40}", "ids are whole numbers or text")
    return value


def _shape(
    record: dict[str, Any], category: str, size_hw: Size | None, where: str, tally: Counter[str]
) -> Shape:
    segmentation = record.get("segmentation")
    crowd = record.get("iscrowd") in (1, True)
    if isinstance(segmentation, dict):
        rle = segmentation

        def draw_rle(size: Size | None) -> Mask:
            return decode_coco_rle(rle, size, where)

        return Shape(category, where, "crowd" if crowd else "area", draw_rle)
    if isinstance(segmentation, list) and segmentation:
        parts = segmentation if isinstance(segmentation[0], list) else [segmentation]

        def draw_polygons(size: Size | None) -> Mask:
            return _fill_parts(parts, fill_size(size, where), where, tally)

        return Shape(category, where, "crowd" if crowd else "area", draw_polygons)
    if segmentation not in (None, []):
        raise AnnotationRefused(
            where, f"segmentation {segmentation!r:.40}", "write polygons or an RLE"
        )
    if record.get("bbox"):
        return Shape(category, where, "box", _box_drawer(record["bbox"], where, tally))
    return Shape(category, where, "other")


def _fill_parts(parts: list[Any], size_hw: Size, where: str, tally: Counter[str]) -> Mask:
    mask = np.zeros(size_hw, np.bool_)
    for part in parts:
        if not isinstance(part, list) or len(part) % 2:
            raise AnnotationRefused(
                where, "a polygon that is no list of x, y, x, y ...", "export it again"
            )
        pairs = [list(pair) for pair in zip(part[::2], part[1::2], strict=True)]
        mask |= fill_polygon(checked_ring(pairs, where), size_hw, where, tally)
    return mask


def _box_drawer(bbox: object, where: str, tally: Counter[str]) -> Drawer:
    def draw(size_hw: Size | None) -> Mask:
        return fill_box_xywh(bbox, fill_size(size_hw, where), where, tally)

    return draw
