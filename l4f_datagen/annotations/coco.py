"""COCO: instances files (polygons, both RLE kinds, crowds) and results files (detections)."""

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from typing import Any, NamedTuple, TypeVar

import numpy as np

from l4f_datagen.core.errors import AnnotationRefused

from .bundle import Bundle
from .drawing import Canvas, Drawer, Mask, box, checked_ring, decode_coco_rle, fill_polygon
from .mask_rule import parse_mask_value
from .records import Record, Size, broken, checked_name, composed, numbers
from .shapes import ImageShapes, Kind, Label, Shape, truth_from_shapes, unread
from .truth import CocoIds, TruthItem, TruthMask, TruthOptions, TruthSet

MIN_SCORE = 0.5  # of a detection that counts as predicted, as in most detectors' own demos
MARKED = "masks marked iscrowd read as objects: CVAT and Datumaro mark every mask"

Entry = TypeVar("Entry")


def find(bundle: Bundle) -> str | None:
    """The one JSON file of the bundle that is an object with images and annotations."""
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
        return False  # the error is raised where the file is read
    return isinstance(data, dict) and isinstance(data.get("images"), list)


def read(bundle: Bundle, name: str, options: TruthOptions) -> TruthSet:
    """Read a COCO instances file."""
    data = Record.of(bundle.json(name), bundle.subject(name))
    tally: Counter[str] = Counter()
    images: dict[object, ImageShapes] = {}
    for record in _records(data, "images", "image"):
        file_name = checked_name(record.needed("file_name"), record.where)
        images[_id(record, "id")] = ImageShapes(file_name, record.where, record.size())
    categories: dict[object, str] = {}
    for record in _records(data, "categories", "category"):
        categories[_id(record, "id")] = record.text("name", "give the category a name")
    for record in _records(data, "annotations", "annotation"):
        image = _listed(images, record, "image_id")
        category = _listed(categories, record, "category_id")
        if not image.labels:
            image.labels.append(Label([]))
        image.labels[0].shapes.append(_shape(record, category, _kind(record, options, tally)))
    truth = truth_from_shapes(bundle, "coco", list(images.values()), options, tally)
    sized = {key: (i.name, i.size_hw) for key, i in images.items() if i.size_hw is not None}
    truth.ids = CocoIds(sized, categories, truth.wanted)
    return truth


def _records(data: Record, key: str, noun: str) -> Iterator[Record]:
    """The records of a list, named for errors by their ids, which differ."""
    seen: set[object] = set()
    for number, item in enumerate(data.items(key, may_miss=key == "annotations"), 1):
        own = item.get("id") if isinstance(item, dict) else None
        shown = f"id {own!r:.30}" if isinstance(own, int | str) else f"number {number}"
        record = Record.of(item, f"{data.where} {noun} {shown}")
        if own is not None and _id(record, "id") in seen:
            raise broken(record.where, "the id is used twice", "give each its own id")
        seen.add(own)
        yield record


def _id(record: Record, key: str) -> object:
    value = record.needed(key)
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise broken(record.where, f"{key} {value!r:.40}", "ids are whole numbers or text")
    return value


def _listed(table: Mapping[object, Entry], record: Record, key: str) -> Entry:
    """The image or category that a record names by id."""
    found = table.get(_id(record, key))
    if found is None:
        raise broken(record.where, f"{key} {record.get(key)!r:.40} is not listed")
    return found


def _kind(record: Record, options: TruthOptions, tally: Counter[str]) -> Kind:
    """Whether an annotation is an object or an area that is not scored."""
    crowd = record.get("iscrowd") in (1, True)
    if crowd and options.crowd == "auto" and isinstance(record.get("attributes"), dict):
        # COCO's own crowds have no attributes; Datumaro, which exports for CVAT, writes them.
        tally[MARKED] += 1
        crowd = False
    crowd = (crowd and options.crowd != "object") or record.get("ignore") in (1, True)
    return "crowd" if crowd else "area"


def _shape(record: Record, category: str, kind: Kind = "area") -> Shape:
    names, where, segmentation = (category,), record.where, record.get("segmentation")
    if isinstance(segmentation, dict):
        return Shape(names, where, rle_drawer(segmentation), kind)
    if isinstance(segmentation, list) and segmentation:
        parts = segmentation if isinstance(segmentation[0], list) else [segmentation]
        return Shape(names, where, _parts_drawer(parts), kind)
    if segmentation not in (None, []):
        problem = f"segmentation {segmentation!r:.40}"
        raise broken(where, problem, "write polygons or an RLE")
    if record.get("bbox"):
        bbox = record.get("bbox") if isinstance(record.get("bbox"), list) else []
        return Shape(names, where, box(bbox), "box")
    if record.get("keypoints"):
        return Shape(names, where, None, "other")
    return unread(names, where, "an object without outline and box")


def rle_drawer(rle: Mapping[str, Any]) -> Drawer:
    """Drawer of a COCO RLE record."""
    return lambda canvas: decode_coco_rle(rle, canvas.known_size, canvas.where)


def _parts_drawer(parts: list[Any]) -> Drawer:
    """Drawer of the union of polygons; parts of one or two points enclose nothing."""

    def draw(canvas: Canvas) -> Mask:
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

    return draw


def find_results(bundle: Bundle) -> str | None:
    """The document, where it is a list of detections."""
    data = bundle.peek()
    first = data[0] if isinstance(data, list) and data else None
    keys = first.keys() if isinstance(first, dict) else set()
    return bundle.document() if {"image_id", "category_id", "score"} <= keys else None


class Detection(NamedTuple):
    """One predicted object: its class, its score and its shape."""

    category: str
    score: float
    shape: Shape


def read_results(bundle: Bundle, name: str, options: TruthOptions) -> TruthSet:
    """Read a results file: the union of the detections of each image that score above 0.5.

    Images and categories are named by the truth's COCO file (``options.ids``); without it an image
    is named by its id. ``mask_value=">0.3"`` sets another lowest score. The item's score is that of
    its best detection.
    """
    subject, ids, least = bundle.subject(name), options.ids, MIN_SCORE
    if options.mask_value is not None:
        if not options.mask_value.startswith(">"):
            problem = "a results file holds scores, not levels"
            raise broken(bundle.source, problem, "give the lowest score, such as '>0.3'")
        least = parse_mask_value(options.mask_value).number
    found: dict[object, list[Detection]] = {key: [] for key in ids.images} if ids else {}
    data = Record({"detections": bundle.json(name)}, subject)
    for record in data.records("detections", "detection"):
        image_id = _id(record, "image_id")
        if ids and image_id not in ids.images:
            problem = f"image_id {image_id!r:.40} is not in the truth"
            raise broken(record.where, problem, "score the images that were annotated")
        found.setdefault(image_id, []).append(_detection(record, ids))
    wanted = _wanted({one.category for many in found.values() for one in many}, options, subject)
    truth = TruthSet(bundle.source, "coco-results", ())
    items = []
    for image_id, detections in found.items():
        own = [one for one in detections if one.category in wanted]
        kept = [one for one in own if one.score > least]
        left = f"detections with a score of at most {least:g} left out"
        truth.tally[left] += len(own) - len(kept)
        image, size = ids.images[image_id] if ids else (str(image_id), None)
        items.append(_item(image, size, kept, truth.tally))
    truth.items = items
    return truth


def _detection(record: Record, ids: CocoIds | None) -> Detection:
    category_id = _id(record, "category_id")
    named = ids.categories.get(category_id, category_id) if ids else category_id
    score = record.needed("score")
    if type(score) not in (int, float) or not 0 <= score <= 1:
        raise broken(record.where, f"score {score!r:.20}", "write a number from 0 to 1")
    shape = _shape(record, composed(str(named)))
    if shape.kind != "area":
        raise broken(record.where, "no segmentation", "write polygons or an RLE")
    return Detection(shape.categories[0], float(score), shape)


def _wanted(known: Set[str], options: TruthOptions, where: str) -> Set[str]:
    """Categories that are the object: those asked for, else those of the truth, else the one."""
    truth = options.ids.wanted if options.ids else frozenset()
    wanted = {composed(category) for category in options.category} or truth or known
    if wanted == {"*"}:
        return known
    if len(wanted) > 1 and not options.category and not truth:
        listed = ", ".join(repr(category) for category in sorted(known)[:12])
        remedy = f"choose --category from {listed}, or '*'"
        raise broken(where, f"{len(known)} categories and no choice", remedy)
    return wanted


def _item(
    name: str, size_hw: Size | None, detections: list[Detection], tally: Counter[str]
) -> TruthItem:
    def decode(fallback: Size | None) -> TruthMask:
        canvas = Canvas(size_hw or fallback, name, tally)
        shapes = [one.shape for one in detections]
        masks = [s.draw(canvas._replace(where=s.where)) for s in shapes if s.draw is not None]
        return TruthMask(np.logical_or.reduce(masks) if masks else canvas.empty())

    return TruthItem(name, size_hw, decode, max((one.score for one in detections), default=0.0))
