"""CVAT for images 1.1: the XML with polygons, masks, ellipses and boxes.

Read as text with document types and entities banned, so that no XML bomb or outside file is ever
expanded. Mask runs go along the rows inside their box, unlike COCO's. Shapes cover each other by
their z-order, as in CVAT's own segmentation masks.
"""

import re
from collections import Counter
from pathlib import PurePosixPath
from xml.etree import ElementTree

import numpy as np

from l4f_datagen.annotations.bundle import Bundle
from l4f_datagen.annotations.polygons import Drawer, box, ellipse, known_size, outline, paste
from l4f_datagen.annotations.rle import runs_to_mask
from l4f_datagen.annotations.shapes import ImageShapes, Kind, Label, Shape, truth_from_shapes
from l4f_datagen.annotations.truth import (
    Mask,
    Size,
    TruthOptions,
    TruthSet,
    checked_name,
    checked_size,
)
from l4f_datagen.core.errors import AnnotationRefused

BANNED = re.compile(r"<!\s*(DOCTYPE|ENTITY|ELEMENT|ATTLIST|NOTATION)", re.IGNORECASE)
OTHERS = ("points", "polyline", "cuboid", "skeleton")
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
    if "<annotation>" in text:  # LabelMe's and VOC's: one file an image
        return False
    return text.startswith("<") and ("<annotations" in text or text.startswith(("<?xml", "<!")))


def read(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """Read the XML; an image without a shape or a tag counts as not annotated."""
    file = bundle.names[0] if bundle.kind == "file" else _file(bundle)
    if file is None:
        raise AnnotationRefused(bundle.source, "no CVAT file", "name the annotations.xml")
    subject = bundle.subject(file)
    root = parse_xml(bundle.text(file), subject)
    if root.tag != "annotations":
        raise AnnotationRefused(subject, f"XML of {root.tag[:40]!r}", "export CVAT for images 1.1")
    if root.find("track") is not None:
        raise AnnotationRefused(subject, "tracks of a video", "export CVAT for images 1.1")
    tally: Counter[str] = Counter()
    images: dict[str, ImageShapes] = {}
    for element in root.iterfind("image"):
        where = f"{subject} image {element.get('name', '')[:60]}"
        size = _size(element, where)
        name = checked_name(element.get("name"), where)
        if name in images:
            raise AnnotationRefused(where, "the image is listed twice", "export one task at a time")
        layered = sorted(
            (_z_order(child, where), n, child)
            for n, child in enumerate(element, 1)
            if child.tag not in NO_SHAPES
        )
        shapes = [_shape(child, f"{where} {child.tag} {n}", tally) for _, n, child in layered]
        images[name] = ImageShapes(name, where, size, [Label(shapes)] if len(element) else [])
    return truth_from_shapes(bundle, "cvat", list(images.values()), options, tally, layered=True)


def parse_xml(text: str, subject: str) -> ElementTree.Element:
    """Parse XML that declares nothing.

    Raises:
        AnnotationRefused: a document type or entity, or no well-formed XML.
    """
    banned = BANNED.search(text)
    if banned:
        problem = f"XML with {banned.group()}"
        raise AnnotationRefused(subject, problem, "a document type may be a bomb: remove it")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError, LookupError) as error:
        raise AnnotationRefused(subject, f"broken XML ({error})", "export it again") from error


def _size(element: ElementTree.Element, where: str) -> Size:
    return checked_size(_whole(element, "height", where), _whole(element, "width", where), where)


def _whole(element: ElementTree.Element, key: str, where: str) -> int:
    raw = element.get(key, "").strip()
    if not raw.isascii() or not raw.isdigit() or len(raw) > 9:
        raise AnnotationRefused(where, f"{key} {raw[:20]!r}", "write a whole number")
    return int(raw)


def _z_order(element: ElementTree.Element, where: str) -> float:
    return _number(element, "z_order", where) if element.get("z_order") else 0.0


def _number(element: ElementTree.Element, key: str, where: str) -> float:
    try:
        return float(element.get(key, ""))
    except ValueError as error:
        problem = f"{key} {element.get(key, '')[:20]!r}"
        raise AnnotationRefused(where, problem, "write a number") from error


def _shape(element: ElementTree.Element, where: str, tally: Counter[str]) -> Shape:
    category, tag = element.get("label"), element.tag
    if not category:
        raise AnnotationRefused(where, "no label", "export the task again")
    if tag in OTHERS:
        return Shape((category,), where, "other")
    kind: Kind = "box" if tag == "box" else "area"
    if tag == "mask":
        return Shape((category,), where, kind, _mask_drawer(element, where, tally))
    if tag == "polygon":
        drawer = outline(_points(element.get("points", ""), where), where, tally)
        return Shape((category,), where, kind, drawer)
    if tag not in ("ellipse", "box"):
        return Shape((category,), where, "unread", problem=f"a shape of kind {tag[:20]!r}")
    turn = _number(element, "rotation", where) if element.get("rotation") else 0.0
    if tag == "ellipse":
        sides = [_number(element, key, where) for key in ("cx", "cy", "rx", "ry")]
        return Shape((category,), where, kind, ellipse(sides, where, tally, rotation_deg=turn))
    x0, y0, x1, y1 = (_number(element, key, where) for key in ("xtl", "ytl", "xbr", "ybr"))
    sides = [x0, y0, x1 - x0, y1 - y0]
    drawer = box(sides, where, tally, rotation_deg=turn, about_centre=True)
    return Shape((category,), where, kind, drawer)


def _points(raw: str, where: str) -> list[list[float]]:
    try:
        return [[float(n) for n in pair.split(",")] for pair in raw.split(";") if pair.strip()]
    except ValueError as error:
        raise AnnotationRefused(where, f"points {raw[:40]!r}", "write x,y;x,y;...") from error


def _mask_drawer(element: ElementTree.Element, where: str, tally: Counter[str]) -> Drawer:
    def draw(size: Size | None) -> Mask:
        left, top = _whole(element, "left", where), _whole(element, "top", where)
        raw = element.get("rle", "").replace(" ", "").strip(",")
        if not re.fullmatch(r"\d{1,12}(,\d{1,12})*", raw, re.ASCII):
            raise AnnotationRefused(where, f"rle {raw[:40]!r}", "write whole numbers")
        runs = np.asarray([int(run) for run in raw.split(",")], np.int64)
        crop = runs_to_mask(runs, _size(element, where), where, order="C")
        return paste(crop, (left, top), known_size(size, where), where, tally)

    return draw
