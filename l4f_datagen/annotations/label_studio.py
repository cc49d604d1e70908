"""Label Studio: JSON (tasks with annotations) and JSON-MIN (one flat row an annotation).

Coordinates are percent of the image. Predictions of a model are counted and not read; several
annotations of one task are several annotators.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

import numpy as np

from l4f_datagen.core.masks import Mask
from l4f_datagen.io.photo import SUFFIXES

from .bundle import Bundle
from .drawing import NO_AREA, Area, box, ellipse, outline
from .mask_rule import object_mask
from .records import Record, Size, broken, checked_name, decode_base64, shown
from .shapes import ImageShapes, Label, Shape, Status

UPLOAD = re.compile(r"(upload/(?:\d+/)?)[0-9a-f]{8}-")  # the server's prefix of uploaded files
AREA_KEYS = {"points", "vertices", "rle", "imageDataURL", "radiusX", "width"}
# Kinds of regions and results that are not areas.
NO_AREAS = ("keypoint", "vector", "choices", "text", "rating", "number", "taxonomy", "relation",
            "pairwise", "datetime", "ranker", "labels", "hypertext", "reactcode")  # fmt: skip


def find(bundle: Bundle) -> str | None:
    """The document, where its rows are tasks or flat annotations of Label Studio."""
    first, is_list = bundle.first_row(), isinstance(bundle.peek(), list)
    tasks = isinstance(first.get("data"), dict) and {"annotations", "completions"} & first.keys()
    flat = is_list and ("annotation_id" in first or _flat_results(first))
    return bundle.document() if tasks or flat else None


def read(bundle: Bundle, name: str) -> Iterable[ImageShapes]:
    """Read an export."""
    images: dict[str, ImageShapes] = {}
    for task in bundle.rows(name):
        if isinstance(task.get("data"), dict):
            address = _address(task.get("data"))
            key = "annotations" if "annotations" in task.fields else "completions"
            results = [(one, one.get("result")) for one in task.records(key, "annotation")]
            if isinstance(task.get("predictions"), list):
                bundle.tally["predictions of a model not read"] += len(task.get("predictions"))
        else:
            address, results = _address(task.fields), [(task, _flat_results(task.fields))]
        # Two uploads of one file name are two images; only their addresses tell them apart.
        image_name = checked_name(address, task.where)
        image = images.setdefault(str(address), ImageShapes(image_name, task.where))
        for annotation, result in results:
            record = Record({"result": result}, annotation.where)
            regions = list(record.records("result", "region"))
            size_hw = _size(regions, task.where)
            image.size_hw = image.size_hw or size_hw
            image.labels.append(Label(_shapes(regions), _status(annotation)))
    # Uploads are named as their files were named, where that names one image only.
    plain = Counter(UPLOAD.sub(r"\1", image.name) for image in images.values())
    for image in images.values():
        name = UPLOAD.sub(r"\1", image.name)
        image.name = name if plain[name] == 1 else image.name
    return images.values()


def _status(annotation: Record) -> Status:
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
    lists = [value for value in row.values() if isinstance(value, list)]
    regions = []
    for one in (one for many in lists for one in many if isinstance(one, dict)):
        if one.keys() & {*AREA_KEYS, "original_width"}:
            kind = next((key for key in one if key.endswith("labels")), "")
            regions.append({**one, "type": kind, "value": one})
    return regions


def _address(data: dict[str, Any]) -> object:
    """The image a task shows: `image`, or the first value that names an image."""
    texts = []
    for value in [data.get("image"), *data.values()]:
        if isinstance(value, str):
            # A local address (``/data/local-files/?d=dir%2Fa.png``), or one of a cloud.
            _, is_local, path = value.partition("?d=")
            _, is_cloud, encoded = value.partition("?fileuri=")
            if is_cloud and not is_local:
                path = decode_base64(unquote(encoded), value[:60]).decode("utf-8", "replace")
            elif is_local or value.startswith("/data/"):
                path = unquote(path or value)
            texts.append(path or value)
    named = [text for text in texts if text.split("?")[0].lower().endswith(SUFFIXES)]
    return next(iter(named or texts), None)


def _size(regions: list[Record], where: str) -> Size | None:
    """Size of the image; refused are regions on several images or pages of one task."""
    drawn = [r for r in regions if isinstance(r.get("value"), dict) and r.get("original_width")]
    for key in ("to_name", "item_index"):
        images = sorted({str(region.get(key)) for region in drawn})
        if len(images) > 1:  # nothing says which is which
            problem = f"regions on several images of one task ({key} {', '.join(images[:4])})"
            raise broken(where, problem, "make a task of each image")
    sides = ("original_height", "original_width")
    sizes = {region.size(*sides) for region in regions if all(region.many(*sides))}
    if len(sizes) > 1:
        raise broken(where, "regions on images of different sizes")
    return sizes.pop() if sizes else None


def _shapes(regions: list[Record]) -> list[Shape]:
    """Shapes of one annotation; labels set apart from their region are found by its id."""
    apart: dict[str, list[str]] = {}
    for region in regions:
        apart.setdefault(str(region.get("id")), []).extend(_labels(region.part("value")))
    shapes = []
    for region in regions:
        where, value, kind = region.where, region.part("value"), region.get("type")
        if kind == "relation":  # between two regions
            continue
        if not isinstance(region.get("value"), dict) or not isinstance(kind, str):
            raise broken(where, "no `value` and `type`")
        has_area = bool(value.fields.keys() & AREA_KEYS)
        if kind == "labels" and not has_area:  # the label of another region
            continue
        if region.get("image_rotation"):
            raise broken(where, "the image was rotated", "label it without rotation")
        own_id = region.get("id")
        found = _labels(value) or (apart[own_id] if isinstance(own_id, str) else [])
        names = tuple(dict.fromkeys(found))
        area = _area(value, region.get("rotation"))
        if area.kind != "other" and not names:
            raise broken(where, "a region without a label", "give it a label")
        if not has_area and not names:  # an answer about the whole image
            continue
        if not has_area and not kind.startswith(NO_AREAS):
            area = Area(None, "unread", f"a region of kind {kind[:30]!r}")
        shapes.append(Shape(names or ("unlabelled",), where, *area))
    return shapes


def _labels(value: Record) -> list[str]:
    """Class names of a region: all of its labels."""
    lists = [value.get(key) for key in value.fields if key.endswith("labels")]
    listed = [name for names in lists if isinstance(names, list) for name in names]
    return [name for name in listed if isinstance(name, str)]


def _area(value: Record, rotation: object) -> Area:
    fields = value.fields
    if "rle" in fields:
        return Area(lambda canvas: decode_brush(fields["rle"], canvas.size_hw, canvas.where))
    if "imageDataURL" in fields:
        url = fields["imageDataURL"]
        return Area(lambda canvas: object_mask(decode_base64(url, canvas.where), canvas.where))
    if "points" in fields or "vertices" in fields:
        points = fields.get("points", fields.get("vertices"))
        if not fields.get("closed", "points" in fields):  # a line
            return NO_AREA
        records = [p for p in points if isinstance(p, dict)] if isinstance(points, list) else []
        if any(p.get("isBezier") or p.get("isBranching") for p in records):
            return Area(None, "unread", "an outline with curves or branches")
        return outline(points, side=100)
    turn = fields.get("rotation", rotation) or 0
    if "radiusX" in fields:
        return ellipse(value.many("x", "y", "radiusX", "radiusY"), side=100, turn_deg=turn)
    if {"x", "width", "height"} <= fields.keys():
        return box(value.many("x", "y", "width", "height"), side=100, turn_deg=turn)
    return NO_AREA


def decode_brush(rle: object, size_hw: Size, where: str) -> Mask:
    """Decode a brush region: a bit stream over RGBA bytes (thi.ng rle-pack), alpha above 127.

    Big-endian bits: 32 for the number of words, 5 for the word size - 1, four times 4 for the run
    length sizes - 1. Then, until all words are out: 1 bit "run?", 2 bits that pick a size, that
    many bits of length - 1; a run repeats one word, anything else lists its words.
    """
    if not isinstance(rle, list) or not rle:
        raise broken(where, "a brush without an RLE")
    if any(type(byte) is not int or not 0 <= byte <= 255 for byte in rle):
        raise broken(where, "a brush RLE that is not a list of bytes")
    bits, place, pixels = "".join(f"{byte:08b}" for byte in rle), 0, bytearray()

    def number(count: int) -> int:
        nonlocal place
        place += count
        if place > len(bits):
            raise broken(where, "a brush RLE that is cut")
        return int(bits[place - count : place], 2)

    words, word_size = number(32), number(5) + 1
    sizes = [number(4) + 1 for _ in range(4)]
    if word_size != 8 or words != size_hw[0] * size_hw[1] * 4:
        raise broken(where, f"an RLE of {words} words of {word_size} bits for {shown(size_hw)}")
    while len(pixels) < words:
        is_run, size = number(1), sizes[number(2)]
        length = number(size) + 1
        pixels += number(8).to_bytes() * length if is_run else number(8 * length).to_bytes(length)
    if len(pixels) > words:
        raise broken(where, "a brush RLE that overflows")
    return np.frombuffer(pixels, np.uint8).reshape(*size_hw, 4)[:, :, 3] > 127
