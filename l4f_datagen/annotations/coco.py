"""COCO: instances files (polygons, both RLE kinds, crowds) and results files (detections)."""

from collections import Counter
from typing import Any

import numpy as np

from l4f_datagen.annotations.bundle import Bundle
from l4f_datagen.annotations.mask_rule import parse_mask_value
from l4f_datagen.annotations.polygons import Drawer, box, checked_ring, fill_polygon, known_size
from l4f_datagen.annotations.rle import decode_coco_rle
from l4f_datagen.annotations.shapes import ImageShapes, Kind, Label, Shape, truth_from_shapes
from l4f_datagen.annotations.truth import (
    CocoIds,
    Mask,
    Size,
    TruthItem,
    TruthMask,
    TruthOptions,
    TruthSet,
    checked_name,
    checked_size,
    composed,
    numbers,
)
from l4f_datagen.core.errors import AnnotationRefused

MIN_SCORE = 0.5  # of a detection that counts as predicted, as in most detectors' own demos
MARKED = "masks marked iscrowd read as objects: CVAT and Datumaro mark every mask"


def matches(bundle: Bundle) -> bool:
    """Tell whether one JSON file of the bundle is an object with images and annotations."""
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
        return False  # the error is raised where the file is read
    return isinstance(data, dict) and isinstance(data.get("images"), list)


def read(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """Read a COCO instances file."""
    name = _file(bundle) or bundle.needed("COCO instances file")
    subject = bundle.subject(name)
    data = bundle.json(name)
    tally: Counter[str] = Counter()
    images = _images(data, subject)
    categories = _categories(data, subject)
    records = data.get("annotations", [])
    if not isinstance(records, list):
        raise AnnotationRefused(subject, "`annotations` is not a list", "export the file again")
    seen: set[object] = set()
    for position, record in enumerate(records):
        where = f"{subject} annotation {_shown_id(record, position)}"
        image = _listed(images, record, "image_id", where)
        category = _listed(categories, record, "category_id", where)
        if record.get("id") is not None:
            own_id = _id(record["id"], where)
            if own_id in seen:
                raise AnnotationRefused(where, "the id is used twice", "give each its own id")
            seen.add(own_id)
        if not image.labels:
            image.labels.append(Label([]))
        kind = _kind(record, options, tally)
        image.labels[0].shapes.append(_shape(record, category, kind, where, tally))
    truth = truth_from_shapes(bundle, "coco", list(images.values()), options, tally)
    sized = {key: (i.name, i.size_hw) for key, i in images.items() if i.size_hw is not None}
    truth.ids = CocoIds(sized, categories, truth.wanted)
    return truth


def _listed(table: dict[object, Any], record: Any, key: str, where: str) -> Any:
    """The image or category that a record names by id."""
    found = table.get(_id(_field(record, key, where), where))
    if found is None:
        problem = f"{key} {record[key]!r:.40} is not listed"
        raise AnnotationRefused(where, problem, "export it again")
    return found


def _images(data: dict[str, Any], subject: str) -> dict[object, ImageShapes]:
    images: dict[object, ImageShapes] = {}
    for position, record in enumerate(data["images"]):
        where = f"{subject} image {_shown_id(record, position)}"
        image_id = _id(_field(record, "id", where), where)
        if image_id in images:
            raise AnnotationRefused(where, "the id is used twice", "give each image its own id")
        size = checked_size(_field(record, "height", where), _field(record, "width", where), where)
        name = checked_name(_field(record, "file_name", where), where)
        images[image_id] = ImageShapes(name, where, size)
    return images


def _categories(data: dict[str, Any], subject: str) -> dict[object, str]:
    records = data.get("categories")
    if not isinstance(records, list):
        raise AnnotationRefused(subject, "`categories` is not a list", "export the file again")
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


def _kind(record: dict[str, Any], options: TruthOptions, tally: Counter[str]) -> Kind:
    """Whether an annotation is an object or an area that is not scored."""
    crowd = record.get("iscrowd") in (1, True)
    if crowd and options.crowd == "auto" and isinstance(record.get("attributes"), dict):
        # COCO's own crowds have no attributes; Datumaro, which exports for CVAT, writes them.
        tally[MARKED] += 1
        crowd = False
    crowd = (crowd and options.crowd != "object") or record.get("ignore") in (1, True)
    return "crowd" if crowd else "area"


def _shape(
    record: dict[str, Any], category: str, kind: Kind, where: str, tally: Counter[str]
) -> Shape:
    segmentation = record.get("segmentation")
    if isinstance(segmentation, dict):
        rle = segmentation
        return Shape((category,), where, kind, lambda size: decode_coco_rle(rle, size, where))
    if isinstance(segmentation, list) and segmentation:
        parts = segmentation if isinstance(segmentation[0], list) else [segmentation]
        return Shape((category,), where, kind, _parts_drawer(parts, where, tally))
    if segmentation not in (None, []):
        raise AnnotationRefused(
            where, f"segmentation {segmentation!r:.40}", "write polygons or an RLE"
        )
    if record.get("bbox"):
        bbox = record["bbox"] if isinstance(record["bbox"], list) else []
        return Shape((category,), where, "box", box(bbox, where, tally))
    if record.get("keypoints"):
        return Shape((category,), where, "other")
    return Shape((category,), where, "unread", problem="an object without outline and box")


def _parts_drawer(parts: list[Any], where: str, tally: Counter[str]) -> Drawer:
    """Drawer of the union of polygons; parts of one or two points enclose nothing."""

    def draw(size: Size | None) -> Mask:
        size_hw = known_size(size, where)
        mask = np.zeros(size_hw, np.bool_)
        for part in parts:
            if not isinstance(part, list) or len(part) % 2:
                problem = "a polygon that is not a list of x, y, x, y ..."
                raise AnnotationRefused(where, problem, "export it again")
            pairs = list(zip(*[iter(numbers(part, where, "polygon coordinate"))] * 2, strict=True))
            if len(set(pairs)) < 3:
                tally["polygons of one or two points skipped"] += 1
                continue
            mask |= fill_polygon(checked_ring(pairs, where), size_hw, where, tally)
        return mask

    return draw


def matches_results(bundle: Bundle) -> bool:
    """Tell whether the document is a list of detections."""
    data = bundle.peek()
    first = data[0] if isinstance(data, list) and data else None
    return isinstance(first, dict) and {"image_id", "category_id", "score"} <= first.keys()


def read_results(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """Read a results file: the union of the detections of each image that score above 0.5.

    Images and categories are named by the truth's COCO file (``options.ids``); without it an image
    is named by its id. ``mask_value=">0.3"`` sets another lowest score. The item's score is that of
    its best detection.

    Raises:
        AnnotationRefused: a malformed detection, an unknown id, or several categories.
    """
    name = bundle.needed("COCO results file")
    subject, ids = bundle.subject(name), options.ids
    least = MIN_SCORE
    if options.mask_value is not None:
        if not options.mask_value.startswith(">"):
            problem = "a results file holds scores, not levels"
            raise AnnotationRefused(bundle.source, problem, "give the lowest score, such as '>0.3'")
        least = parse_mask_value(options.mask_value).number
    tally: Counter[str] = Counter()
    found: dict[object, list[tuple[str, float, Drawer]]] = (
        {key: [] for key in ids.images} if ids else {}
    )
    known: set[str] = set()
    for position, record in enumerate(bundle.json(name)):
        where = f"{subject} detection {position + 1}"
        image_id = _id(_field(record, "image_id", where), where)
        if ids and image_id not in ids.images:
            problem = f"image_id {image_id!r:.40} is not in the truth"
            raise AnnotationRefused(where, problem, "score the images that were annotated")
        category_id = _id(_field(record, "category_id", where), where)
        category = composed(
            str(ids.categories.get(category_id, category_id) if ids else category_id)
        )
        score = _field(record, "score", where)
        if type(score) not in (int, float) or not 0 <= score <= 1:
            raise AnnotationRefused(where, f"score {score!r:.20}", "write a number from 0 to 1")
        shape = _shape(record, category, "area", where, tally)
        if shape.kind != "area" or shape.draw is None:
            raise AnnotationRefused(where, "no segmentation", "write polygons or an RLE")
        known.add(category)
        found.setdefault(image_id, []).append((category, float(score), shape.draw))
    wanted = {composed(category) for category in options.category} or (ids.wanted if ids else set())
    wanted = known if wanted == {"*"} else wanted or known
    if len(wanted) > 1 and not options.category and not (ids and ids.wanted):
        listed = ", ".join(repr(category) for category in sorted(known)[:12])
        problem = f"{len(known)} categories and no choice"
        raise AnnotationRefused(subject, problem, f"choose --pred-category from {listed}, or '*'")
    items = []
    for image_id, detections in found.items():
        own = [one for one in detections if one[0] in wanted]
        kept = [one for one in own if one[1] > least]
        tally[f"detections with a score of at most {least:g} left out"] += len(own) - len(kept)
        image, size = ids.images[image_id] if ids else (str(image_id), None)
        best = max((score for _, score, _ in kept), default=0.0)
        items.append(_detected(image, size, best, [draw for _, _, draw in kept]))
    return TruthSet(bundle.source, "coco-results", items, tally)


def _detected(name: str, size_hw: Size | None, score: float, drawers: list[Drawer]) -> TruthItem:
    def decode(fallback: Size | None) -> TruthMask:
        size = size_hw or fallback
        masks = [draw(size) for draw in drawers]
        if not masks:
            return TruthMask(np.zeros(known_size(size, name), np.bool_))
        return TruthMask(np.logical_or.reduce(masks))

    return TruthItem(name, size_hw, decode, score)
