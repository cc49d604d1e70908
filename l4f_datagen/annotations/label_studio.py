"""Label Studio: JSON (tasks with annotations) and JSON-MIN (one flat row an annotation).

Coordinates are percent of the image. Cancelled annotations and a model's predictions are counted
and not read; several annotations of one task are several annotators.
"""

import re
from collections import Counter
from typing import Any

from l4f_datagen.annotations.brush import decode_brush
from l4f_datagen.annotations.bundle import Bundle
from l4f_datagen.annotations.mask_files import decode_base64
from l4f_datagen.annotations.pictures import SUFFIXES, decode_picture, object_pixels
from l4f_datagen.annotations.polygons import (
    checked_ring,
    fill_box_xywh,
    fill_ellipse,
    fill_polygon,
    fill_size,
)
from l4f_datagen.annotations.shapes import Drawer, ImageShapes, Kind, Shape, Size, truth_from_shapes
from l4f_datagen.annotations.truth import Mask, TruthOptions, TruthSet, checked_name, checked_size
from l4f_datagen.core.errors import AnnotationRefused

UPLOAD = re.compile(r"(upload/(?:\d+/)?)[0-9a-f]{8}-")  # the server's prefix of uploaded files
AREA_KEYS = ("points", "rle", "imageDataURL", "radiusX", "width")


def matches(bundle: Bundle) -> bool:
    """Tell whether the rows are tasks or flat annotations of Label Studio."""
    name = bundle.document()
    if name is None:
        return False
    try:
        data = bundle.json(name)
    except AnnotationRefused:
        return False
    rows = data if isinstance(data, list) else [data]
    first = rows[0] if rows else None
    if not isinstance(first, dict):
        return False
    if isinstance(first.get("data"), dict) and ("annotations" in first or "completions" in first):
        return True
    return isinstance(data, list) and ("annotation_id" in first or bool(_flat_results(first)))


def read(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """Read an export; tasks without an annotation are counted and left out.

    Raises:
        AnnotationRefused: a malformed task or region, or the rules of `truth_from_shapes`.
    """
    name = bundle.document()
    if name is None:
        raise AnnotationRefused(bundle.source, "no Label Studio export", "name the JSON file")
    tally: Counter[str] = Counter()
    images: dict[str, ImageShapes] = {}
    data = bundle.json(name)
    for number, task in enumerate(data if isinstance(data, list) else [data], 1):
        subject = f"{bundle.subject(name)} task {number}"
        if not isinstance(task, dict):
            raise AnnotationRefused(subject, "no record", "export the project again")
        is_full = isinstance(task.get("data"), dict)
        results = _task_results(task, subject, tally) if is_full else [_flat_results(task)]
        image_name = _name(task["data"] if is_full else task, subject)
        for regions in results:
            size = _size(regions, subject)
            image = images.setdefault(image_name, ImageShapes(image_name, subject, size))
            image.size_hw = image.size_hw or size
            image.annotators.append(_shapes(regions, subject, tally))
        if not results:
            tally["tasks without an annotation left out"] += 1
    return truth_from_shapes(bundle, "label-studio", list(images.values()), options, tally)


def _task_results(
    task: dict[str, Any], subject: str, tally: Counter[str]
) -> list[list[dict[str, Any]]]:
    annotations = task.get("annotations", task.get("completions"))
    if not isinstance(annotations, list):
        raise AnnotationRefused(subject, "`annotations` is no list", "export the project again")
    if isinstance(task.get("predictions"), list) and task["predictions"]:
        tally["predictions of a model not read"] += len(task["predictions"])
    kept = []
    for annotation in annotations:
        result = annotation.get("result") if isinstance(annotation, dict) else None
        if not isinstance(result, list) or any(not isinstance(one, dict) for one in result):
            raise AnnotationRefused(subject, "`result` is no list of regions", "export it again")
        if annotation.get("was_cancelled"):
            tally["cancelled annotations left out"] += 1
        else:
            kept.append(result)
    return kept


def _flat_results(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Regions of a JSON-MIN row: its lists of records, each written as a region."""
    regions = []
    for value in row.values():
        if not isinstance(value, list):
            continue
        for one in value:
            if isinstance(one, dict) and any(key in one for key in (*AREA_KEYS, "original_width")):
                kind = next((key for key in one if key.endswith("labels")), "")
                regions.append({**one, "type": kind, "value": one})
    return regions


def _name(data: dict[str, Any], subject: str) -> str:
    """The image a task shows: `image`, or the first value that names a picture."""
    values = [data.get("image"), *data.values()]
    texts = [value for value in values if isinstance(value, str)]
    pictures = [t for t in texts if t.split("?d=")[-1].split("?")[0].lower().endswith(SUFFIXES)]
    raw: Any = next(iter(pictures or texts), None)
    if isinstance(raw, str):
        raw = UPLOAD.sub(r"\1", raw.split("?d=")[-1])
    return checked_name(raw, subject)


def _size(regions: list[dict[str, Any]], subject: str) -> Size | None:
    sizes = {
        checked_size(region["original_height"], region["original_width"], subject)
        for region in regions
        if region.get("original_width") and region.get("original_height")
    }
    if len(sizes) > 1:
        raise AnnotationRefused(subject, "regions on images of different sizes", "export it again")
    return sizes.pop() if sizes else None


def _shapes(regions: list[dict[str, Any]], subject: str, tally: Counter[str]) -> list[Shape]:
    """Shapes of one annotation; a label set apart from its region is found by their id."""
    apart = {
        region["id"]: region["value"].get("labels")
        for region in regions
        if isinstance(region.get("value"), dict) and isinstance(region.get("id"), str)
        if isinstance(region["value"].get("labels"), list)
    }
    shapes = []
    for number, region in enumerate(regions, 1):
        where = f"{subject} region {number}"
        value, kind = region.get("value"), region.get("type")
        if not isinstance(value, dict) or not isinstance(kind, str):
            raise AnnotationRefused(where, "no `value` and `type`", "export the project again")
        if kind == "labels" and not any(key in value for key in AREA_KEYS):
            continue  # the label of another region
        if region.get("image_rotation"):
            raise AnnotationRefused(where, "the image was rotated", "label it without rotation")
        names = next((value[key] for key in value if key.endswith("labels")), None)
        own_id = region.get("id")
        names = names or (apart.get(own_id) if isinstance(own_id, str) else None)
        named = isinstance(names, list) and names and isinstance(names[0], str)
        drawer = _drawer(value, region, where, tally)
        if drawer is not None and not named:
            raise AnnotationRefused(where, "a region without a label", "give it a label")
        category = str(names[0]) if named and names else "unlabelled"
        is_box = "width" in value and "height" in value and "x" in value
        shape_kind: Kind = "other" if drawer is None else "box" if is_box else "area"
        shapes.append(Shape(category, where, shape_kind, drawer))
    return shapes


def _drawer(
    value: dict[str, Any], region: dict[str, Any], where: str, tally: Counter[str]
) -> Drawer | None:
    if "rle" in value:

        def draw_brush(size: Size | None) -> Mask:
            return decode_brush(value["rle"], fill_size(size, where), where)

        return draw_brush
    if "imageDataURL" in value:

        def draw_bitmap(_: Size | None) -> Mask:
            data = decode_base64(value["imageDataURL"], where)
            return object_pixels(decode_picture(data, where))

        return draw_bitmap
    if "points" in value and value.get("closed", True):

        def draw_polygon(size: Size | None) -> Mask:
            size_hw = fill_size(size, where)
            ring = checked_ring(value["points"], where) * (size_hw[1] / 100, size_hw[0] / 100)
            return fill_polygon(ring, size_hw, where, tally)

        return draw_polygon
    turn = value.get("rotation", region.get("rotation", 0)) or 0
    if "radiusX" in value:

        def draw_ellipse(size: Size | None) -> Mask:
            size_hw = fill_size(size, where)
            x, y, rx, ry = _percent(value, ("x", "y", "radiusX", "radiusY"), size_hw, where)
            return fill_ellipse((x, y), (rx, ry), size_hw, where, tally, turn)

        return draw_ellipse
    if "width" in value and "height" in value and "x" in value:

        def draw_box(size: Size | None) -> Mask:
            size_hw = fill_size(size, where)
            box = list(_percent(value, ("x", "y", "width", "height"), size_hw, where))
            return fill_box_xywh(box, size_hw, where, tally, turn)

        return draw_box
    return None


def _percent(
    value: dict[str, Any], keys: tuple[str, ...], size_hw: Size, where: str
) -> tuple[float, ...]:
    numbers = [value.get(key) for key in keys]
    if any(type(number) not in (int, float) for number in numbers):
        raise AnnotationRefused(where, f"{', '.join(keys)} {numbers!r:.40}", "write percents")
    sides = (size_hw[1], size_hw[0]) * 2
    return tuple(
        number * side / 100
        for number, side in zip(numbers, sides, strict=True)
        if number is not None
    )
