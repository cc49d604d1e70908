"""Folders of mask images: plain ones, and those whose files or label maps name their classes.

Plain masks follow `l4f_datagen.annotations.mask_rule`. Images beside them are found and left out:
in folders of their own, or in the same folder where masks end in ``_mask`` and the like. Several
masks of one image (``_mask``, ``_mask_1``) are joined. Classes are named by CVAT's segmentation
mask 1.1 (``labelmap.txt``), by labelme_json_to_dataset (``NAME_json/label.png``) and by Label
Studio's brush export (``task-1-annotation-7-by-1-tag-Car-0.png``).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.annotations.bundle import Bundle
from l4f_datagen.annotations.mask_rule import MaskRule, object_pixels
from l4f_datagen.annotations.polygons import Drawer, known_size
from l4f_datagen.annotations.shapes import ImageShapes, Label, Shape, truth_from_shapes
from l4f_datagen.annotations.truth import (
    Mask,
    Size,
    TruthItem,
    TruthMask,
    TruthOptions,
    TruthSet,
    bare_stem,
    mask_image,
)
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.io.photo import SUFFIXES

MASK_FOLDERS = ("segmentationclass", "masks", "mask", "labels", "gt", "annotations")
IMAGE_FOLDERS = ("images", "image", "img", "imgs", "data", "jpegimages")
MARKED = re.compile(
    r"^(.+?)([_\-. ](?:mask|gt|seg|segmentation|matte|label|labels))([_\-. ]?\d+)?$"
)
STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"BM")

LABEL_MAP = "labelmap.txt"
UNNAMED = "pixels of a colour the label map does not name taken as background"
BRUSH = re.compile(r"task-(\d+)-annotation-(\d+)-by-.*?-tag-(.+)-(\d+)$")

Colour = tuple[int, int, int]
Codes = NDArray[np.integer]


def matches(bundle: Bundle) -> bool:
    """Tell whether the bundle holds images."""
    if bundle.kind == "file":
        head = bundle.head(bundle.names[0])
        return head.startswith(STARTS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
    return any(name.lower().endswith(SUFFIXES) for name in bundle.names)


def read(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """List the mask images of a folder; each is decoded when it is loaded."""
    images = [name for name in bundle.names if name.lower().endswith(SUFFIXES)]
    labels = [name for name in images if _is_labelme_mask(name)]
    brushes = [name for name in images if BRUSH.search(PurePosixPath(name).stem)]
    if labels and options.mask_value is None:
        return _labelme_folders(bundle, labels, options)
    if brushes and len(brushes) == len(images):
        return _brush_files(bundle, brushes, options)
    rule = MaskRule(options, bundle.source)
    truth = TruthSet(bundle.source, "png", ())
    files = mask_files(list(bundle.names)) if bundle.kind != "file" else {bundle.names[0]: []}
    if bundle.kind == "file":
        files = {bundle.names[0]: [bundle.names[0]]}
    if not files:
        raise AnnotationRefused(bundle.source, "no mask image", "name the folder of masks")
    missing = [name for name, masks in files.items() if not masks]
    unused = len(bundle.names) - sum(map(len, files.values()))
    truth.tally["files beside the masks not read"] += unused
    truth.unannotated = len(missing)
    if options.unannotated == "skip":
        truth.left_out = tuple(missing)

    def item(name: str, masks: list[str]) -> TruthItem:
        def decode(fallback: Size | None) -> TruthMask:
            parts = []
            for mask in masks:
                planes = mask_image(bundle.read(mask), bundle.subject(mask))
                parts.append(rule.apply(planes, bundle.subject(mask), truth.tally))
            return _joined(parts, name) if parts else _empty(fallback, bundle.subject(name))

        return TruthItem(name, None, decode)

    truth.items = [item(*pair) for pair in files.items() if pair[1] or not truth.left_out]
    return truth


def _empty(size: Size | None, subject: str) -> TruthMask:
    return TruthMask(np.zeros(known_size(size, subject), np.bool_))


def _joined(parts: list[TruthMask], name: str) -> TruthMask:
    """Union of the masks of one image."""
    if len({part.mask.shape for part in parts}) > 1:
        raise AnnotationRefused(f"masks of {name}", "differ in size", "export them again")
    if len(parts) == 1:
        return parts[0]
    mask = np.logical_or.reduce([part.mask for part in parts])
    voids = [part.ignore for part in parts if part.ignore is not None]
    return TruthMask(mask, np.logical_or.reduce(voids) & ~mask if voids else None)


def mask_files(names: list[str]) -> dict[str, list[str]]:
    """Masks of each image among the files of a folder, none for an image without a mask.

    A mask of its own folder keeps its name; one beside its image gets the image's.
    """
    images = [name for name in names if name.lower().endswith(SUFFIXES)]
    folders = {name: [part.lower() for part in PurePosixPath(name).parts[:-1]] for name in images}
    masks: list[str] = []
    for wanted in MASK_FOLDERS:
        masks = masks or [name for name in images if wanted in folders[name]]
    if not masks or len(masks) == len(images):
        masks = [name for name in images if not set(folders[name]) & set(IMAGE_FOLDERS)] or images
    ids = [name for name in masks if PurePosixPath(name).stem.lower().endswith("_labelids")]
    masks = ids or masks  # of Cityscapes: colours and instances lie beside them
    photos = [name for name in images if set(folders[name]) & set(IMAGE_FOLDERS)]
    found = {name: [name] for name in masks}
    marked = {name: MARKED.match(_place(name)) for name in masks}
    by_place = {_place(name): name for name in masks}
    bases = {
        name: by_place[match.group(1)]
        for name, match in marked.items()
        if match and match.group(1) in by_place
    }
    if bases:  # images and their masks in one folder
        photos = [name for name in masks if name not in bases]
        found = {}
        for name, base in bases.items():
            found.setdefault(base, []).append(name)
    else:
        for name, match in marked.items():  # further masks of one image, `a_mask_1` to `a_mask`
            first = by_place.get(match.group(1) + match.group(2)) if match and match[3] else None
            if first is not None:
                found.setdefault(first, []).extend(found.pop(name))
    stems = {bare_stem(name) for name in found}
    alone = [name for name in photos if bare_stem(name) not in stems and name not in found]
    if len(alone) < len(photos):  # otherwise the images are named another way
        found |= {name: [] for name in alone}
    return found


def _place(name: str) -> str:
    """Name without its suffix, in lower case."""
    return PurePosixPath(name).with_suffix("").as_posix().lower()


class ClassImage(NamedTuple):
    """One image of classes: its name, its file, and the number of each class."""

    name: str
    file: str
    classes: dict[str, int]


def _class_shapes(
    bundle: Bundle,
    images: Iterable[ClassImage],
    codes: Callable[[bytes, str], Codes],
) -> list[ImageShapes]:
    """Shapes of images of classes, one a class; the last decoded image is kept for the next one."""
    last: list[tuple[str, Codes]] = []

    def drawer(file: str, number: int) -> Drawer:
        def draw(_: Size | None) -> Mask:
            if not last or last[0][0] != file:
                last[:] = [(file, codes(bundle.read(file), bundle.subject(file)))]
            return np.asarray(last[0][1] == number)

        return draw

    listed = []
    for image in images:
        where = bundle.subject(image.file)
        shapes = [
            Shape((name,), where, "area", drawer(image.file, number))
            for name, number in image.classes.items()
        ]
        listed.append(ImageShapes(image.name, where, None, [Label(shapes)]))
    return listed


def _is_labelme_mask(name: str) -> bool:
    path = PurePosixPath(name)
    return path.name.lower() == "label.png" and path.parent.name.lower().endswith("_json")


def _labelme_folders(bundle: Bundle, labels: list[str], options: TruthOptions) -> TruthSet:
    """labelme_json_to_dataset: ``NAME_json/label.png`` and ``label_names.txt`` beside it."""
    tally: Counter[str] = Counter()
    images = []
    for file in labels:
        folder = PurePosixPath(file).parent
        names = (folder / "label_names.txt").as_posix()
        classes = {"object": 1}
        if names in bundle.names:
            lines = [line.strip() for line in bundle.text(names).splitlines()]
            classes = {line: number for number, line in enumerate(lines) if line}
        classes["__ignore__"] = 255  # -1 as the tool writes it
        images.append(ClassImage(folder.with_name(folder.name[:-5]).as_posix(), file, classes))

    def ids(data: bytes, subject: str) -> Codes:
        grey = mask_image(data, subject).grey
        if grey is None:
            raise AnnotationRefused(
                subject, "a coloured image", "run labelme_json_to_dataset again"
            )
        return grey

    shapes = _class_shapes(bundle, images, ids)
    return truth_from_shapes(bundle, "png", shapes, options, tally, counted=False)


def _brush_files(bundle: Bundle, files: list[str], options: TruthOptions) -> TruthSet:
    """Label Studio's brush export: one file an object, named by task, annotation and tag."""
    images: dict[str, ImageShapes] = {}
    labels: dict[tuple[str, str], Label] = {}

    def drawer(file: str) -> Drawer:
        return lambda _: object_pixels(mask_image(bundle.read(file), bundle.subject(file)))

    for file in files:
        found = BRUSH.search(PurePosixPath(file).stem)
        task, annotation, tag = (found[1], found[2], found[3]) if found else ("", "", "")
        name = f"task-{task}"
        image = images.setdefault(name, ImageShapes(name, bundle.subject(file), None))
        if (task, annotation) not in labels:
            labels[task, annotation] = Label([])
            image.labels.append(labels[task, annotation])
        shape = Shape((tag,), bundle.subject(file), "area", drawer(file))
        labels[task, annotation].shapes.append(shape)
    return truth_from_shapes(bundle, "png", list(images.values()), options, Counter())


def matches_label_map(bundle: Bundle) -> bool:
    """Tell whether the bundle has a label map and class images."""
    return _label_map(bundle) is not None and bool(_class_images(bundle))


def _label_map(bundle: Bundle) -> str | None:
    found = [name for name in bundle.names if PurePosixPath(name).name == LABEL_MAP]
    return found[0] if len(found) == 1 and bundle.kind != "file" else None


def _class_images(bundle: Bundle) -> list[str]:
    return [
        name
        for name in bundle.names
        if "SegmentationClass" in PurePosixPath(name).parts[:-1] and name.lower().endswith(SUFFIXES)
    ]


def read_label_map(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """CVAT's segmentation mask 1.1: the colours of the category are the object."""
    file = _label_map(bundle)
    if file is None:
        raise AnnotationRefused(bundle.source, f"no {LABEL_MAP}", "export segmentation mask 1.1")
    colours = parse_label_map(bundle.text(file), bundle.subject(file))
    codes = {name: _code(colour) for name, colour in colours.items()}
    codes = {name: code for name, code in codes.items() if code or name.lower() == "background"}
    tally: Counter[str] = Counter()

    def decode(data: bytes, subject: str) -> Codes:
        planes = mask_image(data, subject).colours().astype(np.int32)
        found = planes @ np.asarray([1 << 16, 1 << 8, 1], np.int32)
        tally[UNNAMED] += int((~np.isin(found, [0, *codes.values()])).sum())
        return np.asarray(found)

    images = [ClassImage(name, name, codes) for name in _class_images(bundle)]
    shapes = _class_shapes(bundle, images, decode)
    return truth_from_shapes(bundle, "cvat-masks", shapes, options, tally, counted=False)


def parse_label_map(text: str, subject: str) -> dict[str, Colour]:
    """Names and colours of a label map, ``name:r,g,b:parts:actions`` a line.

    Raises:
        AnnotationRefused: a line without a colour, a name twice, no class at all.
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
    if all(name.lower() == "background" or not any(c) for name, c in colours.items()):
        raise AnnotationRefused(subject, "names no class but the background", "export it again")
    return colours


def _code(colour: Colour) -> int:
    return (colour[0] << 16) | (colour[1] << 8) | colour[2]
