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
from itertools import combinations
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

import numpy as np

from l4f_datagen.annotations.bundle import Bundle
from l4f_datagen.annotations.polygons import Drawer, known_size
from l4f_datagen.annotations.truth import (
    Mask,
    Size,
    TruthItem,
    TruthMask,
    TruthOptions,
    TruthSet,
    bare_stem,
    composed,
)
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.io.photo import SUFFIXES

Kind = Literal["area", "box", "crowd", "other", "unread"]
Status = Literal["plain", "reference", "rejected", "skipped"]

# Classes that tools and sets reserve: labelme, VOC, KITTI, Cityscapes.
VOID_NAMES = frozenset(
    (
        *("__ignore__", "ignore", "void", "dontcare", "don't care", "unlabeled"),
        *("ego vehicle", "out of roi", "rectification border"),
    )
)
BACKGROUND_NAMES = frozenset(("background", "_background_", "__background__"))


@dataclass(frozen=True)
class Shape:
    """One object of one annotator.

    Attributes:
        categories: its class names as the export spells them, mostly one.
        subject: file and record, for errors.
        kind: ``area`` (polygon, mask, ellipse), ``box``, ``crowd`` (an area that is not scored),
            ``other`` (points, lines: counted, never drawn) or ``unread`` (an area that the reader
            cannot draw: refused where its class is asked for).
        draw: gives bool ``h w`` for a size.
        problem: what an unread area is.
    """

    categories: tuple[str, ...]
    subject: str
    kind: Kind
    draw: Drawer | None = None
    problem: str = ""


class Label(NamedTuple):
    """What one annotator said of an image; no shapes means that there is no object."""

    shapes: list[Shape]
    status: Status = "plain"


@dataclass
class ImageShapes:
    """The annotations of one image.

    Attributes:
        name: image name.
        subject: file and record, for errors.
        size_hw: declared size or None.
        labels: one an annotator; none where nobody annotated the image.
    """

    name: str
    subject: str
    size_hw: Size | None
    labels: list[Label] = field(default_factory=list)


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
    """Turn listed shapes into a truth set; nothing is drawn yet.

    Args:
        bundle: where the shapes come from.
        format_name: name of the reader.
        images: the shapes of each image.
        options: category, boxes, annotators and the like.
        tally: what the reader skipped so far; drawing goes on counting into it.
        layered: a later shape covers those below it, as in the format's own masks.
        counted: count what is not used; a set that lists every class of every image does not.

    Raises:
        AnnotationRefused: no annotated image, no object of the category, several classes and no
            choice, or an image whose only objects of the category are boxes.
    """
    if options.mask_value is not None or options.ignore_value:
        raise AnnotationRefused(
            bundle.source,
            f"a {format_name} export holds objects, not levels",
            "give --category and --ignore-category, not --mask-value and --ignore-value",
        )
    images = [*images, *_never_annotated(bundle, images)]
    for image in images:
        image.labels = _counting(image.labels, tally)
    annotated = [image for image in images if image.labels]
    if not annotated:
        held = f"no annotated image among {len(images)}" if images else "no annotated image"
        raise AnnotationRefused(bundle.source, held, "annotate some and export the labels again")
    skip = options.unannotated == "skip"
    truth = TruthSet(bundle.source, format_name, (), tally)
    truth.unannotated = len(images) - len(annotated)
    if skip:
        truth.left_out = tuple(image.name for image in images if not image.labels)
    choice = _choice(bundle.source, annotated, options)
    truth.wanted = choice.wanted
    if counted:
        _count_unused(annotated, choice, tally, options)
    truth.items = [
        _item(image, choice, truth, options, layered=layered)
        for image in (annotated if skip else images)
    ]
    return truth


def _never_annotated(bundle: Bundle, images: Sequence[ImageShapes]) -> list[ImageShapes]:
    """Image files without annotation that lie in one folder with annotated ones."""
    known = {bare_stem(image.name) for image in images}
    files = [PurePosixPath(name) for name in bundle.names if name.lower().endswith(SUFFIXES)]
    folders = {file.parent for file in files if bare_stem(file.name) in known}
    return [
        ImageShapes(str(file), bundle.subject(str(file)), None)
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


class Choice(NamedTuple):
    """Which classes are the object, and which are not scored."""

    wanted: frozenset[str]
    void: frozenset[str]

    def takes(self, shape: Shape) -> bool:
        """Whether the shape belongs to the object."""
        return not self.wanted.isdisjoint(names_of(shape))

    def ignores(self, shape: Shape) -> bool:
        """Whether the pixels of the shape are not scored."""
        return (shape.kind == "crowd" and self.takes(shape)) or (
            not self.takes(shape) and any(is_void(name, self.void) for name in names_of(shape))
        )


def names_of(shape: Shape) -> set[str]:
    """The shape's class names in composed Unicode."""
    return {composed(name) for name in shape.categories}


def is_void(name: str, void: frozenset[str]) -> bool:
    """Whether a class is not scored: it was named so, or its name says so."""
    return name in void or name.strip().lower() in VOID_NAMES


def _choice(source: str, images: Sequence[ImageShapes], options: TruthOptions) -> Choice:
    """Pick the foreground classes and the void ones among the names of a set."""
    shapes = [shape for image in images for label in image.labels for shape in label.shapes]
    drawable = {"area", "crowd", "unread"} | ({"box"} if options.boxes == "fill" else set())
    known = {name for shape in shapes for name in names_of(shape)}
    with_area = {name for s in shapes if s.kind in drawable for name in names_of(s)}
    void = frozenset(composed(name) for name in options.ignore_category)
    wanted = frozenset(composed(name) for name in options.category)
    for flag, names in (("--category", wanted - {"*"}), ("--ignore-category", void)):
        missing = sorted(names - known)
        if missing:
            problem = f"no object of category {missing[0]!r:.60}"
            raise AnnotationRefused(source, problem, f"choose {flag} from {_listed(known)}")
    if not wanted or wanted == {"*"}:
        objects = frozenset(
            name
            for name in with_area
            if not is_void(name, void) and name.strip().lower() not in BACKGROUND_NAMES
        )
        if len(objects) > 1 and not wanted:
            problem = f"{len(objects)} categories and no choice"
            remedy = f"choose --category from {_listed(objects)}, or '*' for all of them"
            raise AnnotationRefused(source, problem, remedy)
        wanted = objects
    choice = Choice(wanted, void)
    if not any(shape.kind != "other" and choice.takes(shape) for shape in shapes):
        held = "boxes or points only" if shapes else "no object at all"
        remedy = "draw polygons or masks, or give --boxes fill"
        raise AnnotationRefused(source, f"{held}: an empty truth", remedy)
    return choice


def _listed(names: Set[str]) -> str:
    shown = ", ".join(f"{name!r:.60}" for name in sorted(names)[:12])
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _count_unused(
    images: Sequence[ImageShapes], choice: Choice, tally: Counter[str], options: TruthOptions
) -> None:
    filled = options.boxes == "fill"
    for shape in (s for image in images for label in image.labels for s in label.shapes):
        if shape.kind == "other":
            tally["points, lines or other objects without an area skipped"] += 1
        elif choice.takes(shape):
            if shape.kind == "box":
                tally["boxes filled" if filled else "boxes skipped: a box is not an outline"] += 1
        elif not choice.ignores(shape):
            tally["objects of other categories are background"] += 1


def _item(
    image: ImageShapes, choice: Choice, truth: TruthSet, options: TruthOptions, *, layered: bool
) -> TruthItem:
    drawable = {"area", "crowd"} | ({"box"} if options.boxes == "fill" else set())
    kept: list[list[Shape]] = []
    for label in image.labels:
        taken = [shape for shape in label.shapes if choice.takes(shape) and shape.kind != "other"]
        for shape in taken:
            if shape.kind == "unread":
                remedy = "draw it as a polygon or mask"
                raise AnnotationRefused(shape.subject, shape.problem, remedy)
        boxes = [shape for shape in taken if shape.kind == "box"]
        if boxes and len(boxes) == len(taken) and options.boxes != "fill":
            problem = f"{boxes[0].categories[0]!r:.60} is only boxed on image {image.name}"
            remedy = "draw a polygon or mask, or give --boxes fill"
            raise AnnotationRefused(boxes[0].subject, problem, remedy)
        used = [shape for shape in label.shapes if shape.kind in drawable]
        if not layered:
            used = [shape for shape in used if choice.takes(shape) or choice.ignores(shape)]
        kept.append(used)

    def decode(fallback: Size | None) -> TruthMask:
        size_hw = image.size_hw or fallback
        if not kept:
            return TruthMask(np.zeros(known_size(size_hw, image.subject), np.bool_))
        votes = [_draw(shapes, size_hw, image, choice, truth, layered) for shapes in kept]
        return _vote(votes, image, truth, options)

    return TruthItem(image.name, image.size_hw, decode)


def _draw(
    shapes: Sequence[Shape],
    size_hw: Size | None,
    image: ImageShapes,
    choice: Choice,
    truth: TruthSet,
    layered: bool,
) -> tuple[Mask, Mask | None]:
    """Draw one annotator's objects, and the areas that are not scored."""
    mask = ignore = None if size_hw is None else np.zeros(size_hw, np.bool_)
    ignored = False
    for shape in shapes:
        if shape.draw is None:
            continue
        drawn = shape.draw(size_hw)
        if size_hw is None:
            size_hw = (drawn.shape[0], drawn.shape[1])
        if mask is None or ignore is None:
            mask = ignore = np.zeros(size_hw, np.bool_)
        if drawn.shape != size_hw:
            raise AnnotationRefused(
                shape.subject,
                f"a mask of {drawn.shape[1]} x {drawn.shape[0]} pixels on an image of "
                f"{size_hw[1]} x {size_hw[0]}",
                "export the mask again",
            )
        if layered:
            mask, ignore = mask & ~drawn, ignore & ~drawn
        if choice.ignores(shape):
            ignore, ignored = ignore | drawn, True
            kind = "crowd" if shape.kind == "crowd" else "void"
            truth.tally[f"{kind} regions ignored"] += 1
        elif choice.takes(shape):
            mask = mask | drawn
    if mask is None or ignore is None:
        mask = ignore = np.zeros(known_size(size_hw, image.subject), np.bool_)
    # An outlined object inside a crowd still counts.
    return mask, ignore & ~mask if ignored else None


def _vote(
    votes: list[tuple[Mask, Mask | None]],
    image: ImageShapes,
    truth: TruthSet,
    options: TruthOptions,
) -> TruthMask:
    """Join the annotators of one image; ties of a majority are not scored."""
    if len({mask.shape for mask, _ in votes}) > 1:
        raise AnnotationRefused(
            image.subject, "annotators drew on images of different sizes", "export the labels again"
        )
    if len(votes) == 1 or options.annotators == "first":
        truth.tally["labels of further annotators unused"] += len(votes) - 1
        return TruthMask(*votes[0])
    masks = [mask for mask, _ in votes]
    truth.agreements.append(_agreement(masks))
    count = np.sum(masks, axis=0, dtype=np.int32)
    ignore = np.zeros(count.shape, np.bool_)
    for _, unscored in votes:
        if unscored is not None:
            ignore |= unscored
    if options.annotators == "majority":
        ties = 2 * count == len(masks)
        tied, marked = int(ties.sum()), int(np.count_nonzero(count))
        truth.tally["pixels ignored: the annotators tie"] += tied
        truth.ties = truth.ties[0] + tied, truth.ties[1] + marked
        ignore |= ties
    needed = {"union": 1, "intersection": len(masks), "majority": len(masks) // 2 + 1}
    joined = np.asarray(count >= needed[options.annotators])
    return TruthMask(joined, ignore if ignore.any() else None)


def _agreement(masks: Sequence[Mask]) -> float:
    """Mean IoU over pairs of annotators; two empty masks agree fully."""
    scores = []
    for a, b in combinations(masks, 2):
        union = np.count_nonzero(a | b)
        scores.append(np.count_nonzero(a & b) / union if union else 1.0)
    return float(np.mean(scores))
