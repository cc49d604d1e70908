"""Label Studio: JSON (tasks with annotations) and JSON-MIN (one flat row an annotation).

Coordinates are percent of the image. Predictions of a model are counted and not read; several
annotations of one task are several annotators.
"""

import re
from collections import Counter
from typing import Any
from urllib.parse import unquote

from l4f_datagen.annotations.bundle import Bundle
from l4f_datagen.annotations.mask_files import decode_base64
from l4f_datagen.annotations.mask_rule import object_pixels
from l4f_datagen.annotations.polygons import Drawer, box, ellipse, known_size, outline
from l4f_datagen.annotations.rle import decode_brush
from l4f_datagen.annotations.shapes import (
    ImageShapes,
    Kind,
    Label,
    Shape,
    Status,
    truth_from_shapes,
)
from l4f_datagen.annotations.truth import (
    Size,
    TruthOptions,
    TruthSet,
    checked_name,
    checked_size,
    mask_image,
)
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.io.photo import SUFFIXES

UPLOAD = re.compile(r"(upload/(?:\d+/)?)[0-9a-f]{8}-")  # the server's prefix of uploaded files
AREA_KEYS = ("points", "vertices", "rle", "imageDataURL", "radiusX", "width")
# Kinds of regions and results that are not areas.
NO_AREAS = ("keypoint", "vector", "choices", "text", "rating", "number", "taxonomy", "relation",
            "pairwise", "datetime", "ranker", "labels", "hypertext", "reactcode")  # fmt: skip


def matches(bundle: Bundle) -> bool:
    """Tell whether the rows are tasks or flat annotations of Label Studio."""
    data = bundle.peek()
    rows = data if isinstance(data, list) else [data]
    first = rows[0] if rows else None
    if not isinstance(first, dict):
        return False
    if isinstance(first.get("data"), dict) and ("annotations" in first or "completions" in first):
        return True
    return isinstance(data, list) and ("annotation_id" in first or bool(_flat_results(first)))


def read(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """Read an export."""
    name = bundle.needed("Label Studio export")
    tally: Counter[str] = Counter()
    images: dict[str, ImageShapes] = {}
    data = bundle.json(name)
    for number, task in enumerate(data if isinstance(data, list) else [data], 1):
        subject = f"{bundle.subject(name)} task {number}"
        if not isinstance(task, dict):
            raise AnnotationRefused(subject, "no record", "export the project again")
        if isinstance(task.get("data"), dict):
            address, labels = _address(task["data"]), _annotations(task, subject, tally)
        else:
            address, labels = _address(task), [(_flat_results(task), _status(task))]
        # Two uploads of one file name are two images; only their addresses tell them apart.
        image_name = checked_name(address, subject)
        image = images.setdefault(image_name, ImageShapes(image_name, subject, None))
        for regions, status in labels:
            size = _size(regions, subject)
            image.size_hw = image.size_hw or size
            image.labels.append(Label(_shapes(regions, subject, tally), status))
    _drop_upload_prefixes(list(images.values()))
    return truth_from_shapes(bundle, "label-studio", list(images.values()), options, tally)


def _drop_upload_prefixes(images: list[ImageShapes]) -> None:
    """Name uploads as their files were named, where that names one image only."""
    plain = Counter(UPLOAD.sub(r"\1", image.name) for image in images)
    for image in images:
        name = UPLOAD.sub(r"\1", image.name)
        image.name = name if plain[name] == 1 else image.name


def _annotations(
    task: dict[str, Any], subject: str, tally: Counter[str]
) -> list[tuple[list[dict[str, Any]], Status]]:
    annotations = task.get("annotations", task.get("completions"))
    if not isinstance(annotations, list):
        raise AnnotationRefused(subject, "`annotations` is not a list", "export the project again")
    if isinstance(task.get("predictions"), list):
        tally["predictions of a model not read"] += len(task["predictions"])
    kept = []
    for annotation in annotations:
        result = annotation.get("result") if isinstance(annotation, dict) else None
        if not isinstance(result, list) or any(not isinstance(one, dict) for one in result):
            raise AnnotationRefused(subject, "`result` is not a list of regions", "export it again")
        kept.append((result, _status(annotation)))
    return kept


def _status(annotation: dict[str, Any]) -> Status:
    if annotation.get("was_cancelled") or annotation.get("skipped"):
        return "skipped"
    reviews = annotation.get("reviews")
    last = reviews[-1] if isinstance(reviews, list) and reviews else None
    refused = isinstance(last, dict) and last.get("accepted") is False
    fixed = isinstance(last, dict) and last.get("fixed_annotation_history")
    if (refused and not fixed) or annotation.get("last_action") == "rejected":
        return "rejected"
    # `honeypot` is what completions of version 0 called ground truth.
    is_reference = annotation.get("ground_truth") or annotation.get("honeypot")
    return "reference" if is_reference else "plain"


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


def _address(data: dict[str, Any]) -> object:
    """The image a task shows: `image`, or the first value that names an image."""
    values = [data.get("image"), *data.values()]
    texts = [_path(value) for value in values if isinstance(value, str)]
    named = [text for text in texts if text.split("?")[0].lower().endswith(SUFFIXES)]
    return next(iter(named or texts), None)


def _path(address: str) -> str:
    """The file that a local address (``/data/local-files/?d=dir%2Fa.png``) names."""
    _, is_local, path = address.partition("?d=")
    if is_local:
        return unquote(path)
    _, is_cloud, path = address.partition("?fileuri=")
    if is_cloud:
        return decode_base64(unquote(path), address[:60]).decode("utf-8", "replace")
    return unquote(address) if address.startswith("/data/") else address


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
    """Shapes of one annotation; labels set apart from their region are found by its id."""
    apart: dict[str, list[str]] = {}
    for region in regions:
        own_id = region.get("id")
        if isinstance(own_id, str):
            apart.setdefault(own_id, []).extend(_labels(region.get("value")))
    shapes = []
    for number, region in enumerate(regions, 1):
        where = f"{subject} region {number}"
        value, kind = region.get("value"), region.get("type")
        if kind == "relation":  # between two regions
            continue
        if not isinstance(value, dict) or not isinstance(kind, str):
            raise AnnotationRefused(where, "no `value` and `type`", "export the project again")
        has_area = any(key in value for key in AREA_KEYS)
        if kind == "labels" and not has_area:
            continue  # the label of another region
        if region.get("image_rotation"):
            raise AnnotationRefused(where, "the image was rotated", "label it without rotation")
        own_id = region.get("id")
        names = _labels(value) or (apart.get(own_id, []) if isinstance(own_id, str) else [])
        names = list(dict.fromkeys(names))
        drawer, problem = _drawer(value, region, where, tally)
        if (drawer is not None or problem) and not names:
            raise AnnotationRefused(where, "a region without a label", "give it a label")
        is_box = "width" in value and "height" in value and "x" in value and "rle" not in value
        shape_kind: Kind = "box" if is_box else "area"
        if drawer is None:
            if not has_area and not problem and not kind.startswith(NO_AREAS):
                problem = f"a region of kind {kind[:30]!r}"
            shape_kind = "unread" if problem and names else "other"
            if not has_area and not names:
                continue  # an answer about the whole image
        shapes.append(Shape(tuple(names) or ("unlabelled",), where, shape_kind, drawer, problem))
    return shapes


def _labels(value: object) -> list[str]:
    """Class names of a region: all of its labels."""
    if not isinstance(value, dict):
        return []
    found = [names for key, names in value.items() if key.endswith("labels")]
    return [
        name
        for names in found
        if isinstance(names, list)
        for name in names
        if isinstance(name, str)
    ]


def _drawer(
    value: dict[str, Any], region: dict[str, Any], where: str, tally: Counter[str]
) -> tuple[Drawer | None, str]:
    """Drawer of a region, or None and what it is where it is an area that cannot be read."""
    if "rle" in value:
        return lambda size: decode_brush(value["rle"], known_size(size, where), where), ""
    if "imageDataURL" in value:
        url = value["imageDataURL"]
        return lambda _: object_pixels(mask_image(decode_base64(url, where), where)), ""
    if "points" in value or "vertices" in value:
        points = value.get("points", value.get("vertices"))
        if not value.get("closed", "points" in value):
            return None, ""  # a line
        records = [p for p in points if isinstance(p, dict)] if isinstance(points, list) else []
        if any(p.get("isBezier") or p.get("isBranching") for p in records):
            return None, "an outline with curves or branches"
        return outline(points, where, tally, unit="percent"), ""
    turn = value.get("rotation", region.get("rotation", 0)) or 0
    if "radiusX" in value:
        sides = [value.get(key) for key in ("x", "y", "radiusX", "radiusY")]
        return ellipse(sides, where, tally, unit="percent", rotation_deg=turn), ""
    if "width" in value and "height" in value and "x" in value:
        sides = [value.get(key) for key in ("x", "y", "width", "height")]
        return box(sides, where, tally, unit="percent", rotation_deg=turn), ""
    return None, ""
