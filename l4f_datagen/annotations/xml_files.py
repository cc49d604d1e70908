"""XML: CVAT for images 1.1 (one file a set), LabelMe 3.0 and Pascal VOC (one file an image).

Read as text with document types and entities banned, so that no XML bomb or outside file is ever
expanded. CVAT's mask runs go along the rows inside their box, unlike COCO's, and its shapes cover
each other by their z-order, as in CVAT's own segmentation masks.
"""

import re
from collections import Counter
from pathlib import PurePosixPath
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from .bundle import Bundle
from .drawing import Canvas, Drawer, Mask, box, ellipse, outline, paste, runs_to_mask
from .records import Size, broken, checked_name, checked_size
from .shapes import ImageShapes, Label, Shape, truth_from_shapes, unread
from .truth import TruthOptions, TruthSet

BANNED = re.compile(r"<!\s*(DOCTYPE|ENTITY|ELEMENT|ATTLIST|NOTATION)", re.IGNORECASE)
OTHERS = ("points", "polyline", "cuboid", "skeleton")
NO_SHAPES = ("tag", "attribute")


def parse_xml(text: str, where: str) -> Element:
    """Parse XML that declares nothing."""
    banned = BANNED.search(text)
    if banned:
        remedy = "a document type may be a bomb: remove it"
        raise broken(where, f"XML with {banned.group()}", remedy)
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError, LookupError) as error:
        raise broken(where, f"broken XML ({error})") from error


def find_cvat(bundle: Bundle) -> str | None:
    """The one XML file of the bundle whose root may be `annotations`."""
    names = [name for name in bundle.names if name.lower().endswith(".xml")]
    if bundle.kind == "file":
        names = list(bundle.names)
    else:
        names = [n for n in names if PurePosixPath(n).name == "annotations.xml"] or names
    found = [name for name in names[:4] if _may_be_cvat(bundle.head(name, 4096))]
    return found[0] if len(found) == 1 else None


def _may_be_cvat(head: bytes) -> bool:
    text = head.decode("utf-8-sig", "replace").lstrip()
    if "<annotation>" in text:  # LabelMe's and VOC's: one file an image
        return False
    return text.startswith("<") and ("<annotations" in text or text.startswith(("<?xml", "<!")))


def read_cvat(bundle: Bundle, file: str, options: TruthOptions) -> TruthSet:
    """Read the XML; an image without a shape or a tag counts as not annotated."""
    subject = bundle.subject(file)
    root = parse_xml(bundle.text(file), subject)
    if root.tag != "annotations":
        raise broken(subject, f"XML of {root.tag[:40]!r}", "export CVAT for images 1.1")
    if root.find("track") is not None:
        raise broken(subject, "tracks of a video", "export CVAT for images 1.1")
    images: dict[str, ImageShapes] = {}
    for element in root.iterfind("image"):
        where = f"{subject} image {element.get('name', '')[:60]}"
        size = _size(element, where)
        name = checked_name(element.get("name"), where)
        if name in images:
            raise broken(where, "the image is listed twice", "export one task at a time")
        layered = sorted(
            (_number(child, "z_order", where, "0"), n, child)
            for n, child in enumerate(element, 1)
            if child.tag not in NO_SHAPES
        )
        shapes = [_cvat_shape(child, f"{where} {child.tag} {n}") for _, n, child in layered]
        images[name] = ImageShapes(name, where, size, [Label(shapes)] if len(element) else [])
    listed = list(images.values())
    return truth_from_shapes(bundle, "cvat", listed, options, Counter(), layered=True)


def _size(element: Element, where: str) -> Size:
    return checked_size(_whole(element, "height", where), _whole(element, "width", where), where)


def _whole(element: Element, key: str, where: str) -> int:
    raw = element.get(key, "").strip()
    if not raw.isascii() or not raw.isdigit() or len(raw) > 9:
        raise broken(where, f"{key} {raw[:20]!r}", "write a whole number")
    return int(raw)


def _number(element: Element, key: str, where: str, default: str = "") -> float:
    raw = element.get(key) or default
    try:
        return float(raw)
    except ValueError as error:
        raise broken(where, f"{key} {raw[:20]!r}", "write a number") from error


def _cvat_shape(element: Element, where: str) -> Shape:
    category, tag = element.get("label"), element.tag
    if not category:
        raise broken(where, "no label")
    if tag in OTHERS:
        return Shape((category,), where, None, "other")
    if tag == "mask":
        return Shape((category,), where, _mask_drawer(element))
    if tag == "polygon":
        return Shape((category,), where, outline(_points(element.get("points", ""), where)))
    turn = _number(element, "rotation", where, "0")
    if tag == "ellipse":
        sides = [_number(element, key, where) for key in ("cx", "cy", "rx", "ry")]
        return Shape((category,), where, ellipse(sides, turn_deg=turn))
    if tag == "box":
        x0, y0, x1, y1 = (_number(element, key, where) for key in ("xtl", "ytl", "xbr", "ybr"))
        sides = [x0, y0, x1 - x0, y1 - y0]
        return Shape((category,), where, box(sides, turn_deg=turn, about_centre=True), "box")
    return unread((category,), where, f"a shape of kind {tag[:20]!r}")


def _points(raw: str, where: str) -> list[list[float]]:
    try:
        return [[float(n) for n in pair.split(",")] for pair in raw.split(";") if pair.strip()]
    except ValueError as error:
        raise broken(where, f"points {raw[:40]!r}", "write x,y;x,y;...") from error


def _mask_drawer(element: Element) -> Drawer:
    def draw(canvas: Canvas) -> Mask:
        where = canvas.where
        left, top = _whole(element, "left", where), _whole(element, "top", where)
        raw = element.get("rle", "").replace(" ", "").strip(",")
        if not re.fullmatch(r"\d{1,12}(,\d{1,12})*", raw, re.ASCII):
            raise broken(where, f"rle {raw[:40]!r}", "write whole numbers")
        runs = np.asarray([int(run) for run in raw.split(",")], np.int64)
        crop = runs_to_mask(runs, _size(element, where), where, order="C")
        return paste(crop, (left, top), canvas)

    return draw


def find_labelme(bundle: Bundle) -> list[str]:
    """The XML files, where the first one is an `annotation`."""
    names = [n for n in bundle.names if n.lower().endswith(".xml") or bundle.kind == "file"]
    return names if names and b"<annotation>" in bundle.head(names[0], 4096) else []


def read_labelme(bundle: Bundle, names: list[str], options: TruthOptions) -> TruthSet:
    """Read LabelMe 3.0 XML (polygons) and Pascal VOC XML (boxes)."""
    tally: Counter[str] = Counter()
    images = []
    for name in names:
        where = bundle.subject(name)
        root = parse_xml(bundle.text(name), where)
        raw = root.findtext("filename", "").strip() or f"{PurePosixPath(name).stem}.jpg"
        shapes = []
        for number, element in enumerate(root.iterfind("object"), 1):
            if element.findtext("deleted", "0").strip() == "1":
                tally["deleted objects left out"] += 1
                continue
            shapes.append(_labelme_shape(element, f"{where} object {number}"))
        height = _side(root, "imagesize/nrows", "size/height")
        width = _side(root, "imagesize/ncols", "size/width")
        size = checked_size(height, width, where) if height and width else None
        images.append(ImageShapes(checked_name(raw, where), where, size, [Label(shapes)]))
    return truth_from_shapes(bundle, "labelme-xml", images, options, tally)


def _side(root: Element, *paths: str) -> int | None:
    texts = [root.findtext(path, "").strip() for path in paths]
    return next((int(t) for t in texts if t.isascii() and t.isdigit() and len(t) < 9), None)


def _labelme_shape(element: Element, where: str) -> Shape:
    category = element.findtext("name", "").strip()
    if not category:
        raise broken(where, "no name", "give the object a name")
    corner_keys = [f"bndbox/{key}" for key in ("xmin", "ymin", "xmax", "ymax")]
    outlined = element.iterfind("polygon/pt")
    try:
        points = [[float(pt.findtext(key, "")) for key in "xy"] for pt in outlined]
        x0, y0, x1, y1 = (float(element.findtext(key, "nan")) for key in corner_keys)
    except ValueError as error:
        raise broken(where, "a coordinate that is not a number") from error
    if points:
        return Shape((category,), where, outline(points))
    if element.find("bndbox") is not None:
        return Shape((category,), where, box((x0, y0, x1 - x0, y1 - y0)), "box")
    return unread((category,), where, "an object without polygon and box")
