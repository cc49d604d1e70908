"""COCO: instances files (polygons, both RLE kinds, crowds) and results files (detections)."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import numpy as np

from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.core.masks import Mask

from .bundle import Bundle
from .drawing import Area, Canvas, box, checked_ring, decode_coco_rle, fill_polygon, undrawn
from .mask_rule import parse_mask_value
from .records import Record, Size, broken, checked_name, composed, numbers
from .shapes import ImageShapes, Label, Shape, listed, truth_from_shapes
from .truth import CocoIds, TruthItem, TruthMask, TruthSet

MIN_SCORE = 0.5  # of a detection that counts as predicted, as in most detectors' own demos

Entry = TypeVar("Entry")


def find(bundle: Bundle) -> str | None:
    """The one JSON file of the bundle that is an object with images and annotations."""
    name = bundle.document()
    names = [name] if name else bundle.ending(".json")
    found = []
    for name in names if len(names) <= 8 else []:
        with suppress(AnnotationRefused):  # the error is raised where the file is read
            data = bundle.json(name) if bundle.head(name).startswith(b"{") else None
            if isinstance(data, dict) and isinstance(data.get("images"), list):
                found.append(name)
    return found[0] if len(found) == 1 else None


def read(bundle: Bundle, name: str) -> TruthSet:
    """Read a COCO instances file."""
    data = Record.of(bundle.json(name), bundle.subject(name))
    images: dict[object, ImageShapes] = {}
    for record in _records(data, "images", "image"):
        file_name = checked_name(record.get("file_name"), record.where)
        images[_id(record, "id")] = ImageShapes(file_name, record.where, record.size())
    named = _records(data, "categories", "category")
    categories = {_id(record, "id"): record.text("name") for record in named}
    for record in _records(data, "annotations", "annotation", may_miss=True):
        image = _entry(images, record, "image_id")
        category = _entry(categories, record, "category_id")
        image.labels = image.labels or [Label([])]
        shape = Shape((category,), record.where, *_area(record))
        crowd = record.get("iscrowd") in (1, True) and bundle.options.crowd != "object"
        # COCO's own crowds have no attributes; Datumaro, which exports for CVAT, writes them.
        if crowd and bundle.options.crowd == "auto" and isinstance(record.get("attributes"), dict):
            marked = "masks marked iscrowd read as objects: CVAT and Datumaro mark every mask"
            bundle.tally[marked] += 1
            crowd = False
        if shape.kind == "area" and (crowd or record.get("ignore") in (1, True)):
            shape = shape._replace(kind="crowd")
        image.labels[0].shapes.append(shape)
    truth = truth_from_shapes(bundle, images.values())
    sized = {key: (i.name, i.size_hw) for key, i in images.items() if i.size_hw is not None}
    truth.ids = CocoIds(sized, categories, truth.wanted)
    return truth


def _records(data: Record, key: str, noun: str, *, may_miss: bool = False) -> Iterator[Record]:
    """The records of a list, whose ids differ."""
    seen: set[object] = set()
    for record in data.records(key, noun, id_key="id", may_miss=may_miss):
        own = record.get("id")
        if own is not None and _id(record, "id") in seen:
            raise broken(record.where, "the id is used twice", "give each its own id")
        seen.add(own)
        yield record


def _id(record: Record, key: str) -> object:
    value = record.get(key)
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise broken(record.where, f"{key} {value!r:.40}", "ids are whole numbers or text")
    return value


def _entry(table: Mapping[object, Entry], record: Record, key: str) -> Entry:
    """The image or category that a record names by id."""
    found = table.get(_id(record, key))
    if found is None:
        raise broken(record.where, f"{key} {record.get(key)!r:.40} is not listed")
    return found


def _area(record: Record) -> Area:
    segmentation, bbox = record.many("segmentation", "bbox")
    if isinstance(segmentation, dict):
        return rle_area(segmentation)
    if isinstance(segmentation, list) and segmentation:
        parts = segmentation if isinstance(segmentation[0], list) else [segmentation]
        return Area(partial(_draw_parts, parts))
    if segmentation not in (None, []):
        raise broken(record.where, f"segmentation {segmentation!r:.40}", "write polygons or an RLE")
    if bbox:
        return box(bbox if isinstance(bbox, list) else [])
    return undrawn("keypoints" if record.get("keypoints") else "without outline and box")


def rle_area(rle: Mapping[str, Any]) -> Area:
    """The pixels of a COCO RLE record."""
    return Area(lambda canvas: decode_coco_rle(rle, canvas.known_size, canvas.where))


def _draw_parts(parts: list[Any], canvas: Canvas) -> Mask:
    """Draw the union of polygons; parts of one or two points enclose nothing."""
    mask = canvas.empty()
    for part in parts:
        if not isinstance(part, list) or len(part) % 2:
            raise broken(canvas.where, "a polygon that is not a list of x, y, x, y ...")
        flat = numbers(part, canvas.where, "polygon coordinate")
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        if len(set(pairs)) < 3:
            canvas.tally["polygons of one or two points skipped"] += 1
            continue
        mask |= fill_polygon(checked_ring(pairs, canvas.where), canvas)
    return mask


def find_results(bundle: Bundle) -> str | None:
    """The document, where it is a list of detections."""
    keys = {"image_id", "category_id", "score"}
    return bundle.document() if keys <= bundle.first_row().keys() else None


def read_results(bundle: Bundle, name: str) -> TruthSet:
    """Read a results file: the union of the detections of each image that score above 0.5.

    Images and categories are named by the truth's COCO file (``options.ids``); without it an image
    is named by its id. ``mask_value=">0.3"`` sets another lowest score. The item's score is that of
    its best detection.
    """
    options, ids, least = bundle.options, bundle.options.ids, MIN_SCORE
    if options.mask_value is not None:
        if not options.mask_value.startswith(">"):
            raise broken(bundle.source, "holds scores", "give the lowest as mask value, as '>0.3'")
        least = parse_mask_value(options.mask_value).number
    found: dict[object, list[tuple[float, Shape]]] = {key: [] for key in ids.images} if ids else {}
    known = set()
    for record in bundle.rows(name):
        image_id, category_id = _id(record, "image_id"), _id(record, "category_id")
        if ids and image_id not in ids.images:
            raise broken(record.where, f"image_id {image_id!r:.40} is not in the truth", "drop it")
        score, area = record.get("score"), _area(record)
        if type(score) not in (int, float) or not 0 <= score <= 1:
            raise broken(record.where, f"score {score!r:.20}", "write a number from 0 to 1")
        if area.kind != "area":
            raise broken(record.where, "no segmentation", "write polygons or an RLE")
        named = ids.categories.get(category_id, category_id) if ids else category_id
        category = composed(str(named))
        known.add(category)
        shape = Shape((category,), record.where, *area)
        found.setdefault(image_id, []).append((float(score), shape))
    wanted = set(map(composed, options.category)) or set(ids.wanted if ids else ()) or known
    if len(wanted) > 1 and not options.category and not (ids and ids.wanted):
        remedy = f"choose --category from {listed(known)}, or '*'"
        raise broken(bundle.source, f"{len(known)} categories and no choice", remedy)
    items = []
    for image_id, detections in found.items():
        own = [d for d in detections if wanted == {"*"} or d[1].categories[0] in wanted]
        kept = [d for d in own if d[0] > least]
        left = f"detections with a score of at most {least:g} left out"
        bundle.tally[left] += len(own) - len(kept)
        image, size_hw = ids.images[image_id] if ids else (str(image_id), None)
        canvas = Canvas(size_hw, image, bundle.tally)
        draw = partial(_draw_union, [shape for _, shape in kept], canvas)
        best = max((score for score, _ in kept), default=0.0)
        items.append(TruthItem(image, size_hw, draw, best))
    return TruthSet(bundle.source, "", items, bundle.tally)


def _draw_union(shapes: list[Shape], canvas: Canvas, fallback: Size | None) -> TruthMask:
    canvas = canvas._replace(known_size=canvas.known_size or fallback)
    masks = [s.draw(canvas._replace(where=s.where)) for s in shapes if s.draw is not None]
    return TruthMask(np.logical_or.reduce(masks) if masks else canvas.empty())
