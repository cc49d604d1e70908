"""Label Studio: JSON (tasks with annotations) and JSON-MIN (one flat row an annotation).

Coordinates are percent of the image. Predictions of a model are counted and not read; several
annotations of one task are several annotators.
"""

import re
from collections import Counter
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.io.photo import SUFFIXES

from .bundle import Bundle
from .drawing import Drawer, Mask, box, ellipse, outline
from .mask_rule import object_mask
from .records import Record, Size, broken, checked_name, decode_base64
from .shapes import ImageShapes, Label, Shape, Status, truth_from_shapes, unread
from .truth import TruthOptions, TruthSet

UPLOAD = re.compile(r"(upload/(?:\d+/)?)[0-9a-f]{8}-")  # the server's prefix of uploaded files
AREA_KEYS = ("points", "vertices", "rle", "imageDataURL", "radiusX", "width")
# Kinds of regions and results that are not areas.
NO_AREAS = ("keypoint", "vector", "choices", "text", "rating", "number", "taxonomy", "relation",
            "pairwise", "datetime", "ranker", "labels", "hypertext", "reactcode")  # fmt: skip


def find(bundle: Bundle) -> str | None:
    """The document, where its rows are tasks or flat annotations of Label Studio."""
    data = bundle.peek()
    rows = data if isinstance(data, list) else [data]
    first = rows[0] if rows else None
    if not isinstance(first, dict):
        return None
    tasks = isinstance(first.get("data"), dict) and {"annotations", "completions"} & first.keys()
    flat = isinstance(data, list) and ("annotation_id" in first or _flat_results(first))
    return bundle.document() if tasks or flat else None


def read(bundle: Bundle, name: str, options: TruthOptions) -> TruthSet:
    """Read an export."""
    tally: Counter[str] = Counter()
    images: dict[str, ImageShapes] = {}
    data = bundle.json(name)
    tasks = Record({"tasks": data if isinstance(data, list) else [data]}, bundle.subject(name))
    for task in tasks.records("tasks", "task"):
        if isinstance(task.get("data"), dict):
            address, labels = _address(task.get("data")), _annotations(task, tally)
        else:
            address = _address(task.fields)
            labels = [(_flat_results(task.fields), _status(task.fields))]
        # Two uploads of one file name are two images; only their addresses tell them apart.
        image_name = checked_name(address, task.where)
        image = images.setdefault(str(address), ImageShapes(image_name, task.where))
        for regions, status in labels:
            _check_one_image(regions, task.where)
            size_hw = _size(regions, task.where)
            image.size_hw = image.size_hw or size_hw
            image.labels.append(Label(_shapes(regions, task.where), status))
    _drop_upload_prefixes(list(images.values()))
    return truth_from_shapes(bundle, "label-studio", list(images.values()), options, tally)


def _drop_upload_prefixes(images: list[ImageShapes]) -> None:
    """Name uploads as their files were named, where that names one image only."""
    plain = Counter(UPLOAD.sub(r"\1", image.name) for image in images)
    for image in images:
        name = UPLOAD.sub(r"\1", image.name)
        image.name = name if plain[name] == 1 else image.name


def _annotations(task: Record, tally: Counter[str]) -> list[tuple[list[dict[str, Any]], Status]]:
    key = "annotations" if "annotations" in task.fields else "completions"
    if isinstance(task.get("predictions"), list):
        tally["predictions of a model not read"] += len(task.get("predictions"))
    kept = []
    for annotation in task.items(key):
        result = annotation.get("result") if isinstance(annotation, dict) else None
        if not isinstance(result, list) or any(not isinstance(one, dict) for one in result):
            raise broken(task.where, "`result` is not a list of regions")
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


def _check_one_image(regions: list[dict[str, Any]], where: str) -> None:
    """Refuse regions on several images (or pages) of one task: nothing says which is which."""
    drawn = [r for r in regions if isinstance(r.get("value"), dict) and r.get("original_width")]
    for key in ("to_name", "item_index"):
        shown = {str(region.get(key)) for region in drawn}
        if len(shown) > 1:
            names = ", ".join(sorted(shown)[:4])
            problem = f"regions on several images of one task ({key} {names})"
            raise broken(where, problem, "make a task of each image")


def _size(regions: list[dict[str, Any]], where: str) -> Size | None:
    sizes = {
        Record(region, where).size("original_height", "original_width")
        for region in regions
        if region.get("original_width") and region.get("original_height")
    }
    if len(sizes) > 1:
        raise broken(where, "regions on images of different sizes")
    return sizes.pop() if sizes else None


def _shapes(regions: list[dict[str, Any]], where: str) -> list[Shape]:
    """Shapes of one annotation; labels set apart from their region are found by its id."""
    apart: dict[str, list[str]] = {}
    for region in regions:
        own_id = region.get("id")
        if isinstance(own_id, str):
            apart.setdefault(own_id, []).extend(_labels(region.get("value")))
    shapes = [
        _shape(Record(region, f"{where} region {n}"), apart) for n, region in enumerate(regions, 1)
    ]
    return [shape for shape in shapes if shape is not None]


def _shape(region: Record, apart: dict[str, list[str]]) -> Shape | None:
    """One region; None for what is no object: relations, labels, answers about the image."""
    where, value, kind = region.where, region.get("value"), region.get("type")
    if kind == "relation":  # between two regions
        return None
    if not isinstance(value, dict) or not isinstance(kind, str):
        raise broken(where, "no `value` and `type`")
    has_area = any(key in value for key in AREA_KEYS)
    if kind == "labels" and not has_area:
        return None  # the label of another region
    if region.get("image_rotation"):
        raise broken(where, "the image was rotated", "label it without rotation")
    own_id = region.get("id")
    found = _labels(value) or (apart.get(own_id, []) if isinstance(own_id, str) else [])
    names = tuple(dict.fromkeys(found))
    drawer, problem = _drawer(Record(value, where), region.get("rotation"))
    if (drawer is not None or problem) and not names:
        raise broken(where, "a region without a label", "give it a label")
    if drawer is not None:
        return Shape(names, where, drawer, "box" if _is_box(value) else "area")
    if not has_area and not names:
        return None  # an answer about the whole image
    if not has_area and not kind.startswith(NO_AREAS):
        problem = f"a region of kind {kind[:30]!r}"
    if problem:
        return unread(names, where, problem)
    return Shape(names or ("unlabelled",), where, None, "other")


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
    height, width = size_hw
    bits, place = np.unpackbits(np.asarray(rle, np.uint8)), 0

    def take(count: int) -> NDArray[np.uint8]:
        nonlocal place
        place += count
        if place > bits.size:
            raise broken(where, "a brush RLE that is cut")
        return bits[place - count : place]

    def number(count: int) -> int:
        return int("".join(map(str, take(count).tolist())), 2)

    words, word_size = number(32), number(5) + 1
    sizes = [number(4) + 1 for _ in range(4)]
    if word_size != 8 or words != height * width * 4:
        held = f"{words} words of {word_size} bits for {width} x {height} RGBA pixels"
        raise broken(where, f"a brush RLE of {held}")
    canvas = np.zeros(words, np.uint8)
    filled = 0
    while filled < words:
        is_run = number(1)
        length = number(sizes[number(2)]) + 1
        if filled + length > words:
            raise broken(where, "a brush RLE that overflows")
        canvas[filled : filled + length] = np.packbits(take(8 if is_run else 8 * length))
        filled += length
    return canvas.reshape(height, width, 4)[:, :, 3] > 127


def _is_box(value: dict[str, Any]) -> bool:
    return {"x", "width", "height"} <= value.keys() and "rle" not in value


def _labels(value: object) -> list[str]:
    """Class names of a region: all of its labels."""
    fields = value if isinstance(value, dict) else {}
    found = [names for key, names in fields.items() if key.endswith("labels")]
    lists = [names for names in found if isinstance(names, list)]
    return [name for names in lists for name in names if isinstance(name, str)]


def _drawer(value: Record, rotation: object) -> tuple[Drawer | None, str]:
    """Drawer of a region, or None and what it is where it is an area that cannot be read."""
    fields = value.fields
    if "rle" in fields:
        return lambda canvas: decode_brush(fields["rle"], canvas.size_hw, canvas.where), ""
    if "imageDataURL" in fields:
        url = fields["imageDataURL"]
        return lambda canvas: object_mask(decode_base64(url, canvas.where), canvas.where), ""
    if "points" in fields or "vertices" in fields:
        points = fields.get("points", fields.get("vertices"))
        if not fields.get("closed", "points" in fields):
            return None, ""  # a line
        records = [p for p in points if isinstance(p, dict)] if isinstance(points, list) else []
        if any(p.get("isBezier") or p.get("isBranching") for p in records):
            return None, "an outline with curves or branches"
        return outline(points, unit="percent"), ""
    turn = fields.get("rotation", rotation) or 0
    if "radiusX" in fields:
        sides = value.many("x", "y", "radiusX", "radiusY")
        return ellipse(sides, unit="percent", turn_deg=turn), ""
    if _is_box(fields):
        return box(value.many("x", "y", "width", "height"), unit="percent", turn_deg=turn), ""
    return None, ""
