"""Folders of mask images: plain ones, and those whose files or label maps name their classes.

Plain masks follow `l4f_datagen.annotations.mask_rule`. Images beside them are found and left out:
in folders of their own, or in the same folder where masks end in ``_mask`` and the like. Several
masks of one image (``_mask``, ``_mask_1``) are joined. Classes are named by CVAT's segmentation
mask 1.1 (``labelmap.txt``), by labelme_json_to_dataset (``NAME_json/label.png``) and by Label
Studio's brush export (``task-1-annotation-7-by-1-tag-Car-0.png``).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from itertools import chain
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.io.photo import STARTS, SUFFIXES

from .bundle import Bundle
from .drawing import Drawer
from .mask_rule import MaskEntry, mask_image, object_mask, truth_from_masks
from .records import bare_stem, broken
from .shapes import ImageShapes, Label, Shape, truth_from_shapes
from .truth import TruthSet

MASK_FOLDERS = ("segmentationclass", "masks", "mask", "labels", "gt", "annotations")
IMAGE_FOLDERS = {"images", "image", "img", "imgs", "data", "jpegimages"}
MARKED = re.compile(
    r"^(.+?)([_\-. ](?:mask|gt|seg|segmentation|matte|label|labels))([_\-. ]?\d+)?$"
)
BRUSH = re.compile(r"task-(\d+)-annotation-(\d+)-by-.*?-tag-(.+)-(\d+)$")
LABEL_MAP = "labelmap.txt"

Codes = NDArray[np.integer]
ClassImage = tuple[str, str, dict[str, int]]  # the image's name, its file, the code of each class


def find(bundle: Bundle) -> list[str]:
    """The images of a bundle; a single file is told by its content."""
    if bundle.kind == "file":
        head = bundle.head(bundle.names[0])
        return list(bundle.names) if head.startswith(tuple(chain(*STARTS.values()))) else []
    return bundle.ending(*SUFFIXES)


def read(bundle: Bundle, images: list[str]) -> TruthSet:
    """List the mask images of a folder; each is decoded when it is loaded."""
    labels = [name for name in images if name.lower().endswith("_json/label.png")]
    if labels and bundle.options.mask_value is None:
        folders = (_labelme_folder(bundle, file) for file in labels)
        return truth_from_shapes(bundle, _class_shapes(bundle, folders, _ids), counted=False)
    if images and all(BRUSH.search(PurePosixPath(name).stem) for name in images):
        return truth_from_shapes(bundle, _brush_files(bundle, images))
    files = {images[0]: images} if bundle.kind == "file" else mask_files(images)
    entries = []
    for name, masks in files.items():
        reads = [(bundle.subject(mask), partial(bundle.read, mask)) for mask in masks]
        entries.append(MaskEntry(name, bundle.subject(name), reads))
    truth = truth_from_masks(bundle, entries)
    unused = len(bundle.names) - sum(map(len, files.values()))
    truth.tally["files beside the masks not read"] += unused
    return truth


def mask_files(images: list[str]) -> dict[str, list[str]]:
    """Masks of each image among the images of a folder, none for an image without a mask.

    A mask of its own folder keeps its name; one beside its image gets the image's.
    """
    folders = {name: {part.lower() for part in PurePosixPath(name).parts[:-1]} for name in images}
    photos = [name for name in images if folders[name] & IMAGE_FOLDERS]
    by_folder = ([name for name in images if wanted in folders[name]] for wanted in MASK_FOLDERS)
    masks = next(filter(None, by_folder), images)
    if len(masks) == len(images):
        masks = [name for name in images if name not in photos] or images
    # Of Cityscapes: colours and instances lie beside the ids.
    masks = [n for n in masks if PurePosixPath(n).stem.lower().endswith("_labelids")] or masks
    found = {name: [name] for name in masks}
    by_place = {_place(name): name for name in masks}
    marked = [(name, match) for name in masks if (match := MARKED.match(_place(name)))]
    bases = {name: by_place[match[1]] for name, match in marked if match[1] in by_place}
    if bases:  # images and their masks in one folder
        photos = [name for name in masks if name not in bases]
        found = {}
    else:  # further masks of one image, `a_mask_1` to `a_mask`
        firsts = [(name, match[1] + match[2]) for name, match in marked if match[3]]
        bases = {name: by_place[first] for name, first in firsts if first in by_place}
    for name, base in bases.items():
        found.pop(name, None)
        found.setdefault(base, []).append(name)
    stems = {bare_stem(name) for name in found}
    alone = [name for name in photos if bare_stem(name) not in stems and name not in found]
    if len(alone) < len(photos):  # otherwise the images are named another way
        found |= {name: [] for name in alone}
    return found


def _place(name: str) -> str:
    """Name without its suffix, in lower case."""
    return PurePosixPath(name).with_suffix("").as_posix().lower()


def _class_shapes(
    bundle: Bundle, images: Iterable[ClassImage], codes: Callable[[bytes, str], Codes]
) -> Iterator[ImageShapes]:
    """Shapes of images of classes, one a class."""

    @lru_cache(maxsize=1)  # the next class is of the same image
    def decoded(file: str) -> Codes:
        return codes(bundle.read(file), bundle.subject(file))

    def drawer(file: str, code: int) -> Drawer:
        return lambda _: np.asarray(decoded(file) == code)

    for name, file, classes in images:
        where = bundle.subject(file)
        shapes = [Shape((one,), where, drawer(file, code)) for one, code in classes.items()]
        yield ImageShapes(name, where, None, [Label(shapes)])


def _labelme_folder(bundle: Bundle, file: str) -> ClassImage:
    """labelme_json_to_dataset: ``NAME_json/label.png`` and ``label_names.txt`` beside it."""
    folder = PurePosixPath(file).parent
    names = (folder / "label_names.txt").as_posix()
    classes = {"object": 1}
    if names in bundle.names:
        lines = enumerate(bundle.text(names).splitlines())
        classes = {line.strip(): number for number, line in lines if line.strip()}
    classes["__ignore__"] = 255  # -1 as the tool writes it
    return folder.with_name(folder.name[:-5]).as_posix(), file, classes


def _ids(data: bytes, where: str) -> Codes:
    grey = mask_image(data, where).grey
    if grey is None:
        raise broken(where, "a coloured image", "run labelme_json_to_dataset again")
    return grey


def _brush_files(bundle: Bundle, files: list[str]) -> Iterator[ImageShapes]:
    """Label Studio's brush export: one file an object, named by task, annotation and tag."""
    images: dict[str, dict[str, Label]] = {}  # by task and annotation
    for file in files:
        task, annotation, tag = re.findall(BRUSH, PurePosixPath(file).stem)[0][:3]
        label = images.setdefault(f"task-{task}", {}).setdefault(annotation, Label([]))
        where = bundle.subject(file)
        draw = partial(lambda file, canvas: object_mask(bundle.read(file), canvas.where), file)
        label.shapes.append(Shape((tag,), where, draw))
    for name, labels in images.items():
        yield ImageShapes(name, bundle.subject(name), None, list(labels.values()))


def find_label_map(bundle: Bundle) -> list[str]:
    """The one label map and the class images, where there are both."""
    found = [name for name in bundle.names if PurePosixPath(name).name == LABEL_MAP]
    paths = map(PurePosixPath, bundle.ending(*SUFFIXES))
    images = [path.as_posix() for path in paths if "SegmentationClass" in path.parts[:-1]]
    return found + images if len(found) == 1 and images and bundle.kind != "file" else []


def read_label_map(bundle: Bundle, names: list[str]) -> TruthSet:
    """CVAT's segmentation mask 1.1: the colours of the category are the object."""
    file, *images = names
    colours = parse_label_map(bundle.text(file), bundle.subject(file))
    codes = {name: code for name, code in colours.items() if code or name.lower() == "background"}

    def decode(data: bytes, where: str) -> Codes:
        planes = mask_image(data, where).colours().astype(np.int32)
        found = planes @ np.asarray([1 << 16, 1 << 8, 1], np.int32)
        unnamed = "pixels of a colour the label map does not name taken as background"
        bundle.tally[unnamed] += int((~np.isin(found, [0, *codes.values()])).sum())
        return np.asarray(found)

    shapes = _class_shapes(bundle, ((name, name, codes) for name in images), decode)
    return truth_from_shapes(bundle, shapes, counted=False)


def parse_label_map(text: str, subject: str) -> dict[str, int]:
    """Names and colours (0xrrggbb) of a label map, ``name:r,g,b:parts:actions`` a line."""
    colours: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        levels = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*", rest.split(":")[0])
        rgb = [min(int(level[:4]), 256) for level in levels.groups()] if levels else [256]
        if max(rgb) > 255 or name in colours:
            remedy = "write name:red,green,blue::, each name once with one colour 0-255"
            raise broken(f"{subject} line {number}", f"{line[:40]!r}", remedy)
        colours[name] = int.from_bytes(bytes(rgb))
    if not any(code for name, code in colours.items() if name.lower() != "background"):
        raise broken(subject, "names no class but the background")
    return colours
