"""Shapes: what every object format comes down to before it becomes one mask an image.

A reader lists, for each image, its labels (one an annotator) and their shapes. Here they are drawn,
and several annotators vote, by rules that hold for every format:

- A label that was skipped, cancelled or rejected in review does not count. Where a label is marked
  as reference (benchmark, ground truth), the others of its image are not used.
- An image without a label that counts is not annotated: left out, or empty truth if asked for. A
  label without a single object is an annotator who saw nothing: empty truth.
- Areas of a void class are not scored; areas named background are not the object.
"""

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

import numpy as np

from l4f_datagen.core.masks import Mask
from l4f_datagen.io.photo import SUFFIXES

from .bundle import Bundle
from .drawing import Canvas, Drawer, Kind
from .records import Size, bare_stem, broken, composed, shown
from .truth import Annotators, TruthItem, TruthMask, TruthSet

Status = Literal["plain", "reference", "rejected", "skipped"]

# Classes that tools and sets reserve (labelme, VOC, KITTI, Cityscapes), see `_bare_name`.
VOID_NAMES = {
    *("ignore", "ignored", "ignoreregion", "void", "dontcare", "unlabeled", "unlabelled"),
    *("egovehicle", "outofroi", "rectificationborder"),
}
BACKGROUND_NAME = "background"


class Shape(NamedTuple):
    """One object of one annotator: ``Shape(categories, where, *area)``."""

    categories: tuple[str, ...]  # its class names as the export spells them, mostly one
    where: str  # file and record, for errors
    draw: Drawer | None  # this and the following: see `Area`
    kind: Kind = "area"
    problem: str = ""

    @property
    def names(self) -> set[str]:
        """Class names in composed Unicode."""
        return {composed(name) for name in self.categories}


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
    bundle: Bundle, found: Iterable[ImageShapes], *, layered: bool = False, counted: bool = True
) -> TruthSet:
    """Turn the shapes that a reader listed into a truth set; nothing is drawn yet.

    Where shapes are ``layered``, a later one covers those below it, as in the format's own masks.
    Unless ``counted``, what is not used is not counted: some sets list every class of every image.
    """
    options, tally = bundle.options, bundle.tally
    if options.mask_value is not None or options.ignore_value:
        remedy = "give --category or --ignore-category, not --mask-value or --ignore-value"
        raise broken(bundle.source, "holds objects, not levels", remedy)
    images = list(found)
    images += _never_annotated(bundle, images)
    for image in images:
        states = Counter(label.status for label in image.labels)
        tally["skipped or cancelled labels left out"] += states["skipped"]
        tally["labels rejected in review left out"] += states["rejected"]
        counting = "reference" if states["reference"] else "plain"
        if counting == "reference":
            tally["labels beside a reference label left out"] += states["plain"]
        image.labels = [label for label in image.labels if label.status == counting]
    labels = [label for image in images for label in image.labels]
    if not labels:
        remedy = "annotate some and export the labels again"
        raise broken(bundle.source, f"no annotated image among {len(images)}", remedy)
    rules = _rules(bundle, [shape for label in labels for shape in label.shapes], layered)
    # Labels of projects that draw other classes alone say nothing of the object.
    draws = {label.project for label in labels if any(map(rules.takes, label.shapes))}
    others = {label.project for label in labels if label.shapes} - draws
    boxes = "boxes filled" if "box" in rules.drawable else "boxes skipped: a box is not an outline"
    for image in images:
        kept = [label for label in image.labels if label.project not in others]
        tally["labels of projects without the category left out"] += len(image.labels) - len(kept)
        image.labels = kept
        for shape in (shape for label in kept for shape in label.shapes if counted):
            if shape.kind == "other":
                tally["points, lines or other objects without an area skipped"] += 1
            elif rules.takes(shape):
                tally[boxes] += shape.kind == "box"
            elif not rules.ignores(shape):
                tally["objects of other categories are background"] += 1
    truth = TruthSet(bundle.source, "", (), tally, wanted=rules.wanted)
    missing = tuple(image.name for image in images if not image.labels)
    truth.unannotated = len(missing)
    if options.unannotated == "skip":
        truth.left_out, images = missing, [image for image in images if image.labels]
    truth.items = [_item(image, rules, truth, options.annotators) for image in images]
    return truth


def _never_annotated(bundle: Bundle, images: Sequence[ImageShapes]) -> list[ImageShapes]:
    """Image files without annotation that lie in one folder with annotated ones."""
    known = {bare_stem(image.name) for image in images}
    files = [PurePosixPath(name) for name in bundle.ending(*SUFFIXES)]
    folders = {file.parent for file in files if bare_stem(file.name) in known}
    return [
        ImageShapes(str(file), bundle.subject(str(file)))
        for file in files
        if file.parent in folders and bare_stem(file.name) not in known
    ]


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
        return not self.void.isdisjoint(shape.names)


def _bare_name(name: str) -> str:
    """Lower-case letters and digits of a class name: ``__ignore__``, ``Don't care``."""
    return "".join(filter(str.isalnum, name.lower()))


def _rules(bundle: Bundle, shapes: Sequence[Shape], layered: bool) -> Rules:
    """Pick the foreground classes and the void ones among the names of a set."""
    source, options = bundle.source, bundle.options
    boxes: tuple[Kind, ...] = ("box",) if options.boxes == "fill" else ()
    drawable: frozenset[Kind] = frozenset(("area", "crowd", *boxes))
    known = {name for shape in shapes for name in shape.names}
    with_area = {n for s in shapes if s.kind in drawable | {"unread"} for n in s.names}
    unscored = frozenset(map(composed, options.ignore_category))
    wanted = frozenset(map(composed, options.category))
    for flag, names in (("--category", wanted - {"*"}), ("--ignore-category", unscored)):
        if missing := sorted(names - known):
            problem = f"no object of category {missing[0]!r:.60}"
            raise broken(source, problem, f"choose {flag} from {listed(known)}")
    void = unscored | {name for name in known if _bare_name(name) in VOID_NAMES}
    if not wanted or wanted == {"*"}:
        objects = frozenset(n for n in with_area - void if _bare_name(n) != BACKGROUND_NAME)
        if len(objects) > 1 and not wanted:
            remedy = f"choose --category from {listed(objects)}, or '*' for all of them"
            raise broken(source, f"{len(objects)} categories and no choice", remedy)
        wanted = objects
    rules = Rules(wanted, void, drawable, layered)
    kinds = {shape.kind for shape in shapes if rules.takes(shape)} - {"other"}
    if kinds == {"crowd"}:
        remedy = "give --crowd object if these are the objects"
        raise broken(source, "every object is marked iscrowd: not scored", remedy)
    if not kinds:
        held = "boxes or points only" if shapes else "no object at all"
        raise broken(source, held, "draw polygons or masks, or give --boxes fill")
    return rules


def listed(names: Set[str]) -> str:
    """Names of classes for an error line."""
    shown = ", ".join(f"{name!r:.60}" for name in sorted(names)[:12])
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _item(image: ImageShapes, rules: Rules, truth: TruthSet, votes_by: Annotators) -> TruthItem:
    used = []
    for label in image.labels:
        taken = [shape for shape in label.shapes if rules.takes(shape) and shape.kind != "other"]
        for shape in taken:
            if shape.kind == "unread":
                raise broken(shape.where, shape.problem, "draw it as a polygon or mask")
        if taken and "box" not in rules.drawable and all(shape.kind == "box" for shape in taken):
            problem = f"{taken[0].categories[0]!r:.60} is only boxed on image {image.name}"
            raise broken(taken[0].where, problem, "draw an outline, or give --boxes fill")
        drawable = [shape for shape in label.shapes if shape.kind in rules.drawable]
        used.append([s for s in drawable if rules.layered or rules.takes(s) or rules.ignores(s)])

    def decode(fallback: Size | None) -> TruthMask:
        canvas = Canvas(image.size_hw or fallback, image.where, truth.tally)
        votes = [_drawn(shapes, canvas, rules) for shapes in used or [[]]]  # nobody: no object
        return truth.joined(votes, image.where, votes_by)

    return TruthItem(image.name, image.size_hw, decode)


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
            problem = f"a mask of {shown(drawn.shape)} on an image of {shown((height, width))}"
            raise broken(shape.where, problem)
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
