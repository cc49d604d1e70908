"""XML: CVAT for images 1.1 (one file a set), LabelMe 3.0 and Pascal VOC (one file an image).

Read as text with document types and entities banned, so that no XML bomb or outside file is ever
expanded. CVAT's mask runs go along the rows inside their box, unlike COCO's, and its shapes cover
each other by their z-order, as in CVAT's own segmentation masks.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from operator import itemgetter
from pathlib import PurePosixPath
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from l4f_datagen.core.masks import Mask

from .bundle import Bundle
from .drawing import Area, Canvas, box, ellipse, outline, paste, runs_to_mask, undrawn
from .records import Record, broken, checked_name, checked_size, numbers
from .shapes import ImageShapes, Label, Shape

BANNED = re.compile(r"<!\s*(DOCTYPE|ENTITY|ELEMENT|ATTLIST|NOTATION)", re.IGNORECASE)


def parse_xml(text: str, where: str) -> Element:
    """Parse XML that declares nothing."""
    if banned := BANNED.search(text):
        raise broken(where, f"XML with {banned[0]}", "a document type may be a bomb: remove it")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError, LookupError) as error:
        raise broken(where, f"broken XML ({error})") from error


def find_cvat(bundle: Bundle) -> str | None:
    """The one XML file of the bundle whose root may be `annotations`."""
    names = bundle.ending(".xml")
    names = [n for n in names if PurePosixPath(n).name == "annotations.xml"] or names
    found = []
    for name in bundle.names if bundle.kind == "file" else names[:4]:
        head = bundle.head(name, 4096)
        is_root = b"<annotations" in head or head.startswith((b"<?xml", b"<!"))
        if is_root and head.startswith(b"<") and b"<annotation>" not in head:  # of LabelMe and VOC
            found.append(name)
    return found[0] if len(found) == 1 else None


def read_cvat(bundle: Bundle, file: str) -> Iterable[ImageShapes]:
    """Read the XML; an image without a shape or a tag counts as not annotated."""
    subject = bundle.subject(file)
    root = parse_xml(bundle.text(file), subject)
    if root.tag != "annotations" or root.find("track") is not None:
        held = "tracks of a video" if root.tag == "annotations" else f"XML of {root.tag[:40]!r}"
        raise broken(subject, held, "export CVAT for images 1.1")
    images: dict[str, ImageShapes] = {}
    for element in root.iterfind("image"):
        image = _record(element, f"{subject} image {element.get('name', '')[:60]}")
        name = checked_name(element.get("name"), image.where)
        if name in images:
            raise broken(image.where, "the image is listed twice", "export one task at a time")
        layered = []
        for number, child in enumerate(element, 1):
            if child.tag in ("tag", "attribute"):
                continue
            shape, label = _record(child, f"{image.where} {child.tag} {number}"), child.get("label")
            if not label:
                raise broken(shape.where, "no label")
            (z_order,) = numbers([shape.fields.get("z_order", 0)], shape.where, "z_order")
            layered.append((z_order, Shape((label,), shape.where, *_area(child.tag, shape))))
        shapes = [shape for _, shape in sorted(layered, key=itemgetter(0))]
        labels = [Label(shapes)] if len(element) else []
        images[name] = ImageShapes(name, image.where, image.size(), labels)
    return images.values()


def _record(element: Element, where: str) -> Record:
    """The attributes of an element, numbers where they are some."""
    return Record({key: _number(raw) for key, raw in element.items()}, where)


def _number(raw: str) -> object:
    """A number where the text is one, else the text: the checks of what uses it refuse that."""
    with suppress(ValueError):
        return int(raw) if raw.strip().isdecimal() else float(raw)
    return raw


def _area(tag: str, shape: Record) -> Area:
    if tag == "mask":
        return Area(partial(_draw_runs, shape))
    if tag == "polygon":
        pairs = [pair.split(",") for pair in str(shape.get("points")).split(";") if pair.strip()]
        return outline([list(map(_number, pair)) for pair in pairs])
    turn = shape.fields.get("rotation", 0)
    if tag == "ellipse":
        return ellipse(shape.many("cx", "cy", "rx", "ry"), turn_deg=turn)
    if tag == "box":
        return box(_sides(shape, "xtl", "ytl", "xbr", "ybr"), turn_deg=turn, pivot="centre")
    return undrawn(tag)


def _sides(shape: Record, *keys: str) -> tuple[float, ...]:
    """A box by its corner, width and height, of two corners."""
    x0, y0, x1, y1 = numbers(shape.many(*keys), shape.where, "box number")
    return x0, y0, x1 - x0, y1 - y0


def _draw_runs(shape: Record, canvas: Canvas) -> Mask:
    left, top = shape.many("left", "top")
    raw = str(shape.get("rle")).replace(" ", "").strip(",")
    if not re.fullmatch(r"\d{1,12}(,\d{1,12})*", raw, re.ASCII) or {type(left), type(top)} != {int}:
        raise broken(shape.where, f"rle {raw[:40]!r} at {left!r:.20}, {top!r:.20}")
    runs = np.asarray([int(run) for run in raw.split(",")], np.int64)
    return paste(runs_to_mask(runs, shape.size(), shape.where, order="C"), (left, top), canvas)


def find_labelme(bundle: Bundle) -> list[str]:
    """The XML files, where the first one is an `annotation`."""
    names = list(bundle.names) if bundle.kind == "file" else bundle.ending(".xml")
    return names if names and b"<annotation>" in bundle.head(names[0], 4096) else []


def read_labelme(bundle: Bundle, names: list[str]) -> Iterator[ImageShapes]:
    """Read LabelMe 3.0 XML (polygons) and Pascal VOC XML (boxes)."""
    for name in names:
        where = bundle.subject(name)
        root = parse_xml(bundle.text(name), where)
        raw = root.findtext("filename", "").strip() or f"{PurePosixPath(name).stem}.jpg"
        shapes = []
        for number, element in enumerate(root.iterfind("object"), 1):
            if element.findtext("deleted", "0").strip() == "1":
                bundle.tally["deleted objects left out"] += 1
                continue
            place, category = f"{where} object {number}", element.findtext("name", "").strip()
            if not category:
                raise broken(place, "no name", "give the object a name")
            outlined, bounds = element.findall("polygon/pt"), element.find("bndbox")
            area = undrawn("without polygon and box")
            if outlined:
                area = outline([[_number(pt.findtext(key, "")) for key in "xy"] for pt in outlined])
            elif bounds is not None:
                corners = Record({one.tag: _number(one.text or "") for one in bounds}, place)
                area = box(_sides(corners, "xmin", "ymin", "xmax", "ymax"))
            shapes.append(Shape((category,), place, *area))
        tall = [_number(root.findtext(path, "")) for path in ("imagesize/nrows", "size/height")]
        wide = [_number(root.findtext(path, "")) for path in ("imagesize/ncols", "size/width")]
        height, width = (next((n for n in side if type(n) is int), 0) for side in (tall, wide))
        size = checked_size(height, width, where) if height and width else None
        yield ImageShapes(checked_name(raw, where), where, size, [Label(shapes)])
