"""Shapes: what every object format comes down to before it becomes one mask an image.

A reader lists, for each image, its labels (one an annotator) and their shapes. This module applies
the rules that hold for every format: which labels count, which images are annotated, which class is
the object, which areas are not scored; it draws the shapes and lets several annotators vote.

- A label that was skipped, cancelled or rejected in review does not count. Where a label is marked
  as reference (benchmark, ground truth), the others of its image are not used.
- An image without a label that counts is not annotated: left out, or empty truth if asked for. A
  label without a single object is an annotator who saw nothing: empty truth.
- Areas of a void class are not scored; areas named background are not the object.
"""

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

import numpy as np

from l4f_datagen.io.photo import SUFFIXES

from .bundle import Bundle
from .drawing import Canvas, Drawer, Mask
from .records import Size, bare_stem, broken, composed
from .truth import TruthItem, TruthMask, TruthOptions, TruthSet

Kind = Literal["area", "box", "crowd", "other", "unread"]
Status = Literal["plain", "reference", "rejected", "skipped"]

# Classes that tools and sets reserve (labelme, VOC, KITTI, Cityscapes), see `_bare_name`.
VOID_NAMES = {
    *("ignore", "ignored", "ignoreregion", "void", "dontcare", "unlabeled", "unlabelled"),
    *("egovehicle", "outofroi", "rectificationborder"),
}
BACKGROUND_NAME = "background"


@dataclass(frozen=True)
class Shape:
    """One object of one annotator.

    Its kind is ``area`` (polygon, mask, ellipse), ``box``, ``crowd`` (an area that is not scored),
    ``other`` (points, lines: counted, never drawn) or ``unread`` (an area that the reader cannot
    draw: refused where its class is asked for).
    """

    categories: tuple[str, ...]  # its class names as the export spells them, mostly one
    where: str  # file and record, for errors
    draw: Drawer | None = None  # None: it has no area
    kind: Kind = "area"
    problem: str = ""  # what an unread area is

    @property
    def names(self) -> set[str]:
        """Class names in composed Unicode."""
        return {composed(name) for name in self.categories}


def unread(categories: tuple[str, ...], where: str, problem: str) -> Shape:
    """An area that the reader cannot draw, and what it is."""
    return Shape(categories, where, None, "unread", problem)


class Label(NamedTuple):
    """What one annotator said of an image; no shapes means that there is no object."""

    shapes: list[Shape]
    status: Status = "plain"
    project: str = ""  # that the annotator worked in, where an export holds several


@dataclass
class ImageShapes:
    """The annotations of one image."""

    name: str
    where: str  # file and record, for errors
    size_hw: Size | None = None  # as declared
    labels: list[Label] = field(default_factory=list)  # none where nobody annotated the image


def truth_from_shapes(
    bundle: Bundle,
    format_name: str,
    images: Sequence[ImageShapes],
    options: TruthOptions,
    tally: Counter[str],
    *,
    layered: bool = False,
    counted: bool = True,
) -> TruthSet:
    """Turn the shapes that a reader listed into a truth set; nothing is drawn yet.

    ``tally`` holds what the reader skipped so far; drawing goes on counting into it. Where shapes
    are ``layered``, a later one covers those below it, as in the format's own masks. Unless
    ``counted``, what is not used is not counted: some sets list every class of every image.
    """
    if options.mask_value is not None or options.ignore_value:
        problem = f"a {format_name} export holds objects, not levels"
        remedy = "give --category and --ignore-category, not --mask-value and --ignore-value"
        raise broken(bundle.source, problem, remedy)
    images = [*images, *_never_annotated(bundle, images)]
    for image in images:
        image.labels = _counting(image.labels, tally)
    annotated = [image for image in images if image.labels]
    if not annotated:
        held = f"no annotated image among {len(images)}" if images else "no annotated image"
        raise broken(bundle.source, held, "annotate some and export the labels again")
    rules = _rules(bundle.source, annotated, options, layered)
    _drop_other_projects(annotated, rules, tally)
    annotated = [image for image in images if image.labels]
    skip = options.unannotated == "skip"
    truth = TruthSet(bundle.source, format_name, (), tally, wanted=rules.wanted)
    truth.unannotated = len(images) - len(annotated)
    truth.left_out = tuple(image.name for image in images if skip and not image.labels)
    if counted:
        _count_unused(annotated, rules, tally)
    truth.items = [_item(image, rules, truth, options) for image in (annotated if skip else images)]
    return truth


def _never_annotated(bundle: Bundle, images: Sequence[ImageShapes]) -> list[ImageShapes]:
    """Image files without annotation that lie in one folder with annotated ones."""
    known = {bare_stem(image.name) for image in images}
    files = [PurePosixPath(name) for name in bundle.names if name.lower().endswith(SUFFIXES)]
    folders = {file.parent for file in files if bare_stem(file.name) in known}
    return [
        ImageShapes(str(file), bundle.subject(str(file)))
        for file in files
        if file.parent in folders and bare_stem(file.name) not in known
    ]


def _counting(labels: list[Label], tally: Counter[str]) -> list[Label]:
    """Keep the labels that count: neither skipped nor rejected, references where there are any."""
    kept = [label for label in labels if label.status in ("plain", "reference")]
    tally["skipped or cancelled labels left out"] += sum(n.status == "skipped" for n in labels)
    tally["labels rejected in review left out"] += sum(n.status == "rejected" for n in labels)
    references = [label for label in kept if label.status == "reference"]
    if references:
        tally["labels beside a reference label left out"] += len(kept) - len(references)
    return references or kept


def _drop_other_projects(
    images: Sequence[ImageShapes], rules: "Rules", tally: Counter[str]
) -> None:
    """Drop the labels of projects that draw other classes alone: they say nothing of the object."""
    labels = [label for image in images for label in image.labels if label.shapes]
    draws = {label.project for label in labels if any(map(rules.takes, label.shapes))}
    others = {label.project for label in labels} - draws
    for image in images:
        kept = [label for label in image.labels if label.project not in others]
        tally["labels of projects without the category left out"] += len(image.labels) - len(kept)
        image.labels = kept


class Rules(NamedTuple):
    """What is drawn."""

    wanted: frozenset[str]  # classes that are the object
    void: frozenset[str]  # classes that are not scored
    drawable: frozenset[Kind]  # kinds of shapes with an area
    layered: bool  # a later shape covers those below it

    def takes(self, shape: Shape) -> bool:
        """Whether the shape belongs to the object."""
        return not self.wanted.isdisjoint(shape.names)

    def ignores(self, shape: Shape) -> bool:
        """Whether the pixels of the shape are not scored."""
        if self.takes(shape):
            return shape.kind == "crowd"
        return any(_is_void(name, self.void) for name in shape.names)


def _is_void(name: str, void: frozenset[str]) -> bool:
    """Whether a class is not scored: it was named so, or its name says so."""
    return name in void or _bare_name(name) in VOID_NAMES


def _bare_name(name: str) -> str:
    """Lower-case letters and digits of a class name: ``__ignore__``, ``Don't care``."""
    return "".join(filter(str.isalnum, name.lower()))


def _rules(
    source: str, images: Sequence[ImageShapes], options: TruthOptions, layered: bool
) -> Rules:
    """Pick the foreground classes and the void ones among the names of a set."""
    shapes = [shape for image in images for label in image.labels for shape in label.shapes]
    boxes: tuple[Kind, ...] = ("box",) if options.boxes == "fill" else ()
    drawable: frozenset[Kind] = frozenset(("area", "crowd", *boxes))
    known = {name for shape in shapes for name in shape.names}
    with_area = {n for s in shapes if s.kind in drawable | {"unread"} for n in s.names}
    void = frozenset(composed(name) for name in options.ignore_category)
    wanted = frozenset(composed(name) for name in options.category)
    for flag, names in (("--category", wanted - {"*"}), ("--ignore-category", void)):
        missing = sorted(names - known)
        if missing:
            problem = f"no object of category {missing[0]!r:.60}"
            raise broken(source, problem, f"choose {flag} from {_listed(known)}")
    if not wanted or wanted == {"*"}:
        shown = (name for name in with_area if not _is_void(name, void))
        objects = frozenset(name for name in shown if _bare_name(name) != BACKGROUND_NAME)
        if len(objects) > 1 and not wanted:
            problem = f"{len(objects)} categories and no choice"
            remedy = f"choose --category from {_listed(objects)}, or '*' for all of them"
            raise broken(source, problem, remedy)
        wanted = objects
    rules = Rules(wanted, void, drawable, layered)
    kinds = {shape.kind for shape in shapes if rules.takes(shape)} - {"other"}
    if kinds == {"crowd"}:
        problem = "every object is marked iscrowd, as a crowd that is not scored"
        raise broken(source, problem, "give --crowd object if these are the objects")
    if not kinds:
        held = "boxes or points only" if shapes else "no object at all"
        remedy = "draw polygons or masks, or give --boxes fill"
        raise broken(source, f"{held}: an empty truth", remedy)
    return rules


def _listed(names: Set[str]) -> str:
    shown = ", ".join(f"{name!r:.60}" for name in sorted(names)[:12])
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _count_unused(images: Sequence[ImageShapes], rules: Rules, tally: Counter[str]) -> None:
    boxes = "boxes filled" if "box" in rules.drawable else "boxes skipped: a box is not an outline"
    for shape in (s for image in images for label in image.labels for s in label.shapes):
        if shape.kind == "other":
            tally["points, lines or other objects without an area skipped"] += 1
        elif rules.takes(shape):
            tally[boxes] += shape.kind == "box"
        elif not rules.ignores(shape):
            tally["objects of other categories are background"] += 1


def _item(image: ImageShapes, rules: Rules, truth: TruthSet, options: TruthOptions) -> TruthItem:
    kept = [_used(label, image.name, rules) for label in image.labels]

    def decode(fallback: Size | None) -> TruthMask:
        canvas = Canvas(image.size_hw or fallback, image.where, truth.tally)
        votes = [_drawn(shapes, canvas, rules) for shapes in kept or [[]]]  # nobody: no object
        return truth.joined(votes, image.where, options.annotators)

    return TruthItem(image.name, image.size_hw, decode)


def _used(label: Label, image_name: str, rules: Rules) -> list[Shape]:
    """Shapes of one annotator that are drawn."""
    taken = [shape for shape in label.shapes if rules.takes(shape) and shape.kind != "other"]
    for shape in taken:
        if shape.kind == "unread":
            raise broken(shape.where, shape.problem, "draw it as a polygon or mask")
    if taken and "box" not in rules.drawable and all(shape.kind == "box" for shape in taken):
        problem = f"{taken[0].categories[0]!r:.60} is only boxed on image {image_name}"
        raise broken(taken[0].where, problem, "draw a polygon or mask, or give --boxes fill")
    used = [shape for shape in label.shapes if shape.kind in rules.drawable]
    return [s for s in used if rules.layered or rules.takes(s) or rules.ignores(s)]


def _drawn(shapes: Sequence[Shape], canvas: Canvas, rules: Rules) -> TruthMask:
    """Draw one annotator's objects, and the areas that are not scored."""
    mask: Mask | np.bool_ = np.False_  # until a shape is drawn
    ignore, ignored = mask, False
    for shape in shapes:
        if shape.draw is None:
            continue
        drawn = shape.draw(canvas._replace(where=shape.where))
        height, width = canvas.known_size or drawn.shape
        canvas = canvas._replace(known_size=(height, width))
        if drawn.shape != (height, width):
            held = f"a mask of {drawn.shape[1]} x {drawn.shape[0]} pixels"
            raise broken(shape.where, f"{held} on an image of {width} x {height}")
        if rules.layered:
            mask, ignore = mask & ~drawn, ignore & ~drawn
        if rules.ignores(shape):
            ignore, ignored = ignore | drawn, True
            canvas.tally[f"{'crowd' if shape.kind == 'crowd' else 'void'} regions ignored"] += 1
        elif rules.takes(shape):
            mask = mask | drawn
    mask = mask | canvas.empty()
    # An outlined object inside a crowd still counts.
    return TruthMask(mask, ignore & ~mask if ignored else None)
