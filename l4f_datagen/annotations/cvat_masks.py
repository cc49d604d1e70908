"""CVAT segmentation mask 1.1: colour pictures and the label map that names their colours."""

from collections import Counter
from pathlib import PurePosixPath

import numpy as np

from l4f_datagen.annotations.bundle import Bundle
from l4f_datagen.annotations.pictures import SUFFIXES, decode_picture
from l4f_datagen.annotations.truth import Mask, TruthItem, TruthMask, TruthOptions, TruthSet
from l4f_datagen.core.errors import AnnotationRefused

LABEL_MAP = "labelmap.txt"
PICTURES = "SegmentationClass"
UNNAMED = "pixels of a colour the label map does not name taken as background"

Colour = tuple[int, int, int]


def matches(bundle: Bundle) -> bool:
    """Tell whether the bundle has a label map and class pictures."""
    return _label_map(bundle) is not None and bool(_pictures(bundle))


def _label_map(bundle: Bundle) -> str | None:
    found = [name for name in bundle.names if PurePosixPath(name).name == LABEL_MAP]
    return found[0] if len(found) == 1 and bundle.kind != "file" else None


def _pictures(bundle: Bundle) -> list[str]:
    return [
        name
        for name in bundle.names
        if PICTURES in PurePosixPath(name).parts[:-1] and name.lower().endswith(SUFFIXES)
    ]


def read(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """List the class pictures; the colours of the category are the object.

    Raises:
        AnnotationRefused: a label map that does not parse, or no choice among several classes.
    """
    name = _label_map(bundle)
    if name is None:
        raise AnnotationRefused(bundle.source, f"no {LABEL_MAP}", "export segmentation mask 1.1")
    if options.mask_value is not None:
        raise AnnotationRefused(
            bundle.source, "the label map names its colours", "give --category, not --mask-value"
        )
    colours = parse_label_map(bundle.text(name), bundle.subject(name))
    wanted = _wanted(colours, options.category, bundle.subject(name))
    truth = TruthSet(bundle.source, "cvat-masks", ())

    def item(picture: str) -> TruthItem:
        def decode(_: tuple[int, int] | None) -> TruthMask:
            subject = bundle.subject(picture)
            return TruthMask(_objects(bundle.read(picture), subject, wanted, colours, truth.tally))

        return TruthItem(picture, None, decode)

    truth.items = [item(picture) for picture in _pictures(bundle)]
    return truth


def parse_label_map(text: str, subject: str) -> dict[str, Colour]:
    """Names and colours of a label map, ``name:r,g,b:parts:actions`` a line.

    Raises:
        AnnotationRefused: a line without a colour, a name or colour twice, no class at all.
    """
    colours: dict[str, Colour] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = line.strip().split(":")
        levels = fields[1].split(",") if len(fields) > 1 else []
        where = f"{subject} line {number}"
        if len(levels) != 3 or not all(level.strip().isdecimal() for level in levels):
            raise AnnotationRefused(where, f"{line[:40]!r}", "write name:red,green,blue::")
        red, green, blue = (min(int(level.strip()[:4]), 256) for level in levels)
        if max(red, green, blue) > 255 or fields[0] in colours:
            raise AnnotationRefused(where, f"{line[:40]!r}", "give each name one colour 0-255")
        colours[fields[0]] = (red, green, blue)
    if not any(not _is_background(name, colour) for name, colour in colours.items()):
        raise AnnotationRefused(subject, "names no class but the background", "export it again")
    return colours


def _is_background(name: str, colour: Colour) -> bool:
    return name.lower() == "background" or colour == (0, 0, 0)


def _wanted(colours: dict[str, Colour], category: tuple[str, ...], subject: str) -> list[Colour]:
    objects = {name: c for name, c in colours.items() if not _is_background(name, c)}
    listed = ", ".join(f"{name!r:.60}" for name in sorted(objects)[:12])
    if category == ("*",):
        return list(objects.values())
    if not category:
        if len(objects) > 1:
            raise AnnotationRefused(
                subject,
                f"{len(objects)} categories and no choice",
                f"choose --category from {listed}, or '*' for all of them",
            )
        return list(objects.values())
    for name in category:
        if name not in colours:
            raise AnnotationRefused(
                subject, f"no category {name!r:.40}", f"choose --category from {listed}"
            )
    return [colours[name] for name in category]


def _objects(
    data: bytes,
    subject: str,
    wanted: list[Colour],
    colours: dict[str, Colour],
    tally: Counter[str],
) -> Mask:
    picture = decode_picture(data, subject)
    planes = picture.rgb
    if planes is None:
        planes = np.repeat(np.asarray(picture.grey)[:, :, None], 3, axis=2)
    codes = planes.astype(np.int32) @ np.asarray([1 << 16, 1 << 8, 1], np.int32)
    known = [_code(colour) for colour in colours.values()] + [0]
    tally[UNNAMED] += int((~np.isin(codes, known)).sum())
    if not tally[UNNAMED]:
        del tally[UNNAMED]
    return np.isin(codes, [_code(colour) for colour in wanted])


def _code(colour: Colour) -> int:
    return (colour[0] << 16) | (colour[1] << 8) | colour[2]
