"""CVAT for images 1.1: the XML with polygons, masks, ellipses and boxes.

Read as text with document types and entities banned, so that no XML bomb or outside file is ever
expanded. Mask runs go along the rows inside their box, unlike COCO's.
"""

import re
from collections import Counter
from pathlib import PurePosixPath
from xml.etree import ElementTree

import numpy as np

from l4f_datagen.annotations.bundle import Bundle
from l4f_datagen.annotations.polygons import (
    checked_ring,
    fill_box_xywh,
    fill_ellipse,
    fill_polygon,
    fill_size,
    paste,
)
from l4f_datagen.annotations.rle import runs_to_mask
from l4f_datagen.annotations.shapes import Drawer, ImageShapes, Shape, Size, truth_from_shapes
from l4f_datagen.annotations.truth import (
    Mask,
    TruthOptions,
    TruthSet,
    checked_name,
    checked_size,
)
from l4f_datagen.core.errors import AnnotationRefused

BANNED = re.compile(r"<!\s*(DOCTYPE|ENTITY|ELEMENT|ATTLIST|NOTATION)", re.IGNORECASE)
NO_SHAPES = ("tag", "attribute")


def matches(bundle: Bundle) -> bool:
    """Tell whether the bundle has one XML file whose root is `annotations`."""
    return _file(bundle) is not None


def _file(bundle: Bundle) -> str | None:
    names = [name for name in bundle.names if name.lower().endswith(".xml")]
    if bundle.kind == "file":
        names = list(bundle.names)
    else:
        names = [n for n in names if PurePosixPath(n).name == "annotations.xml"] or names
    found = [name for name in names[:4] if _looks_like_xml(bundle.head(name, 4096))]
    return found[0] if len(found) == 1 else None


def _looks_like_xml(head: bytes) -> bool:
    text = head.decode("utf-8-sig", "replace").lstrip()
    return text.startswith("<") and ("<annotations" in text or text.startswith(("<?xml", "<!")))


def read(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """Read the XML; every listed image is an item, also those without shapes.

    Raises:
        AnnotationRefused: no XML, a document type, video tracks, or a malformed shape.
    """
    name = bundle.names[0] if bundle.kind == "file" else _file(bundle)
    if name is None:
        raise AnnotationRefused(bundle.source, "no CVAT file", "name the annotations.xml")
    subject = bundle.subject(name)
    root = parse_xml(bundle.text(name), subject)
    if root.tag != "annotations":
        raise AnnotationRefused(subject, f"XML of {root.tag[:40]!r}", "export CVAT for images 1.1")
    if root.find("track") is not None:
        raise AnnotationRefused(subject, "tracks of a video", "export CVAT for images 1.1")
    tally: Counter[str] = Counter()
    images: dict[str, ImageShapes] = {}
    for element in root.iterfind("image"):
        where = f"{subject} image {element.get('name', '')[:60]}"
        size = checked_size(
            _whole(element, "height", where), _whole(element, "width", where), where
        )
        name = checked_name(element.get("name"), where)
        if name in images:
            raise AnnotationRefused(where, "the image is listed twice", "export one task at a time")
        shapes = [
            _shape(child, f"{where} {child.tag} {n}", tally)
            for n, child in enumerate(element, 1)
            if child.tag not in NO_SHAPES
        ]
        images[name] = ImageShapes(name, where, size, [shapes])
    return truth_from_shapes(bundle, "cvat", list(images.values()), options, tally)


def parse_xml(text: str, subject: str) -> ElementTree.Element:
    """Parse XML that declares nothing.

    Raises:
        AnnotationRefused: a document type or entity, or no well-formed XML.
    """
    banned = BANNED.search(text)
    if banned:
        raise AnnotationRefused(
            subject, f"XML with {banned.group()}", "a document type may be a bomb: remove it"
        )
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError, LookupError) as error:
        raise AnnotationRefused(subject, f"broken XML ({error})", "export it again") from error


def _whole(element: ElementTree.Element, key: str, where: str) -> int:
    raw = element.get(key, "").strip()
    if not raw.isascii() or not raw.isdigit() or len(raw) > 9:
        raise AnnotationRefused(where, f"{key} {raw[:20]!r}", "write a whole number")
    return int(raw)


def _number(element: ElementTree.Element, key: str, where: str) -> float:
    try:
        return float(element.get(key, ""))
    except ValueError as error:
        raise AnnotationRefused(
            where, f"{key} {element.get(key, '')[:20]!r}", "write a number"
        ) from error


def _shape(element: ElementTree.Element, where: str, tally: Counter[str]) -> Shape:
    category = element.get("label")
    if not category:
        raise AnnotationRefused(where, "no label", "export the task again")
    if element.tag == "polygon":
        return Shape(category, where, "area", _polygon_drawer(element, where, tally))
    if element.tag == "mask":
        return Shape(category, where, "area", _mask_drawer(element, where, tally))
    if element.tag == "ellipse":
        return Shape(category, where, "area", _ellipse_drawer(element, where, tally))
    if element.tag == "box":
        return Shape(category, where, "box", _box_drawer(element, where, tally))
    return Shape(category, where, "other")


def _polygon_drawer(element: ElementTree.Element, where: str, tally: Counter[str]) -> Drawer:
    raw = element.get("points", "")

    def draw(size: Size | None) -> Mask:
        try:
            points = [
                [float(n) for n in pair.split(",")] for pair in raw.split(";") if pair.strip()
            ]
        except ValueError as error:
            raise AnnotationRefused(where, f"points {raw[:40]!r}", "write x,y;x,y;...") from error
        return fill_polygon(checked_ring(points, where), fill_size(size, where), where, tally)

    return draw


def _mask_drawer(element: ElementTree.Element, where: str, tally: Counter[str]) -> Drawer:
    def draw(size: Size | None) -> Mask:
        box = checked_size(_whole(element, "height", where), _whole(element, "width", where), where)
        left, top = _whole(element, "left", where), _whole(element, "top", where)
        raw = element.get("rle", "").replace(" ", "").strip(",")
        if not re.fullmatch(r"\d{1,12}(,\d{1,12})*", raw, re.ASCII):
            raise AnnotationRefused(where, f"rle {raw[:40]!r}", "write whole numbers")
        runs = np.asarray([int(run) for run in raw.split(",")], np.int64)
        crop = runs_to_mask(runs, box, where, order="C")
        return paste(crop, (left, top), fill_size(size, where), where, tally)

    return draw


def _ellipse_drawer(element: ElementTree.Element, where: str, tally: Counter[str]) -> Drawer:
    def draw(size: Size | None) -> Mask:
        cx, cy, rx, ry = (_number(element, key, where) for key in ("cx", "cy", "rx", "ry"))
        turn = _number(element, "rotation", where) if element.get("rotation") else 0.0
        return fill_ellipse((cx, cy), (rx, ry), fill_size(size, where), where, tally, turn)

    return draw


def _box_drawer(element: ElementTree.Element, where: str, tally: Counter[str]) -> Drawer:
    def draw(size: Size | None) -> Mask:
        x0, y0, x1, y1 = (_number(element, key, where) for key in ("xtl", "ytl", "xbr", "ybr"))
        turn = _number(element, "rotation", where) if element.get("rotation") else 0.0
        box = [x0, y0, x1 - x0, y1 - y0]
        return fill_box_xywh(
            box, fill_size(size, where), where, tally, turn, ((x0 + x1) / 2, (y0 + y1) / 2)
        )

    return draw
