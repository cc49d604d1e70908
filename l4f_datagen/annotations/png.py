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

from l4f_datagen.io.photo import SUFFIXES

from .bundle import Bundle
from .drawing import Canvas, Drawer, Mask
from .mask_rule import MaskEntry, mask_image, object_mask, truth_from_masks
from .records import bare_stem, broken
from .shapes import ImageShapes, Label, Shape, truth_from_shapes
from .truth import TruthOptions, TruthSet

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


def find(bundle: Bundle) -> list[str]:
    """The images of a bundle; a single file is told by its content."""
    if bundle.kind == "file":
        head = bundle.head(bundle.names[0])
        is_image = head.startswith(STARTS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        return list(bundle.names) if is_image else []
    return [name for name in bundle.names if name.lower().endswith(SUFFIXES)]


def read(bundle: Bundle, images: list[str], options: TruthOptions) -> TruthSet:
    """List the mask images of a folder; each is decoded when it is loaded."""
    labels = [name for name in images if _is_labelme_mask(name)]
    if labels and options.mask_value is None:
        return _labelme_folders(bundle, labels, options)
    if images and all(BRUSH.search(PurePosixPath(name).stem) for name in images):
        return _brush_files(bundle, images, options)
    files = {images[0]: images} if bundle.kind == "file" else mask_files(images)
    entries = [
        MaskEntry(name, bundle.subject(name), [bundle.source_of(mask) for mask in masks])
        for name, masks in files.items()
    ]
    truth = truth_from_masks(bundle, "png", entries, options)
    unused = len(bundle.names) - sum(map(len, files.values()))
    truth.tally["files beside the masks not read"] += unused
    return truth


def mask_files(images: list[str]) -> dict[str, list[str]]:
    """Masks of each image among the images of a folder, none for an image without a mask.

    A mask of its own folder keeps its name; one beside its image gets the image's.
    """
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
    bundle: Bundle, images: Iterable[ClassImage], codes: Callable[[bytes, str], Codes]
) -> list[ImageShapes]:
    """Shapes of images of classes, one a class; the last decoded image is kept for the next one."""
    last: list[tuple[str, Codes]] = []

    def drawer(file: str, number: int) -> Drawer:
        def draw(canvas: Canvas) -> Mask:
            if not last or last[0][0] != file:
                last[:] = [(file, codes(bundle.read(file), canvas.where))]
            return np.asarray(last[0][1] == number)

        return draw

    listed = []
    for name, file, classes in images:
        where = bundle.subject(file)
        shapes = [Shape((one,), where, drawer(file, code)) for one, code in classes.items()]
        listed.append(ImageShapes(name, where, None, [Label(shapes)]))
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

    def ids(data: bytes, where: str) -> Codes:
        grey = mask_image(data, where).grey
        if grey is None:
            raise broken(where, "a coloured image", "run labelme_json_to_dataset again")
        return grey

    shapes = _class_shapes(bundle, images, ids)
    return truth_from_shapes(bundle, "png", shapes, options, tally, counted=False)


def _brush_files(bundle: Bundle, files: list[str], options: TruthOptions) -> TruthSet:
    """Label Studio's brush export: one file an object, named by task, annotation and tag."""
    images: dict[str, dict[str, Label]] = {}  # by task and annotation
    for file in files:
        task, annotation, tag = re.findall(BRUSH, PurePosixPath(file).stem)[0][:3]
        label = images.setdefault(f"task-{task}", {}).setdefault(annotation, Label([]))
        label.shapes.append(Shape((tag,), bundle.subject(file), _file_drawer(bundle, file)))
    listed = [
        ImageShapes(name, bundle.subject(name), None, list(labels.values()))
        for name, labels in images.items()
    ]
    return truth_from_shapes(bundle, "png", listed, options, Counter())


def _file_drawer(bundle: Bundle, file: str) -> Drawer:
    return lambda canvas: object_mask(bundle.read(file), canvas.where)


def find_label_map(bundle: Bundle) -> str | None:
    """The one label map, where there are class images."""
    found = [name for name in bundle.names if PurePosixPath(name).name == LABEL_MAP]
    is_one = len(found) == 1 and bundle.kind != "file" and _class_images(bundle)
    return found[0] if is_one else None


def _class_images(bundle: Bundle) -> list[str]:
    images = [name for name in bundle.names if name.lower().endswith(SUFFIXES)]
    return [name for name in images if "SegmentationClass" in PurePosixPath(name).parts[:-1]]


def read_label_map(bundle: Bundle, file: str, options: TruthOptions) -> TruthSet:
    """CVAT's segmentation mask 1.1: the colours of the category are the object."""
    colours = parse_label_map(bundle.text(file), bundle.subject(file))
    codes = {name: int.from_bytes(bytes(colour)) for name, colour in colours.items()}
    codes = {name: code for name, code in codes.items() if code or name.lower() == "background"}
    tally: Counter[str] = Counter()

    def decode(data: bytes, where: str) -> Codes:
        planes = mask_image(data, where).colours().astype(np.int32)
        found = planes @ np.asarray([1 << 16, 1 << 8, 1], np.int32)
        tally[UNNAMED] += int((~np.isin(found, [0, *codes.values()])).sum())
        return np.asarray(found)

    images = [ClassImage(name, name, codes) for name in _class_images(bundle)]
    shapes = _class_shapes(bundle, images, decode)
    return truth_from_shapes(bundle, "cvat-masks", shapes, options, tally, counted=False)


def parse_label_map(text: str, subject: str) -> dict[str, Colour]:
    """Names and colours of a label map, ``name:r,g,b:parts:actions`` a line."""
    colours: dict[str, Colour] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        levels = [level.strip() for level in rest.split(":")[0].split(",")]
        where = f"{subject} line {number}"
        if len(levels) != 3 or not all(level.isdecimal() for level in levels):
            raise broken(where, f"{line[:40]!r}", "write name:red,green,blue::")
        red, green, blue = (min(int(level[:4]), 256) for level in levels)
        if max(red, green, blue) > 255 or name in colours:
            raise broken(where, f"{line[:40]!r}", "give each name one colour 0-255")
        colours[name] = (red, green, blue)
    if all(name.lower() == "background" or not any(c) for name, c in colours.items()):
        raise broken(subject, "names no class but the background")
    return colours
