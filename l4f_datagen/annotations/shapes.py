"""Shapes: what every object format comes down to before it becomes one mask an image.

A reader lists, for each image, one list of shapes an annotator. This module picks the category,
draws the shapes, and lets several annotators vote.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np

from l4f_datagen.annotations.bundle import Bundle
from l4f_datagen.annotations.truth import Mask, TruthItem, TruthMask, TruthOptions, TruthSet
from l4f_datagen.core.errors import AnnotationRefused

Size = tuple[int, int]
Drawer = Callable[[Size | None], Mask]  # size of the image, where known, to a mask
Kind = Literal["area", "box", "crowd", "other"]


@dataclass(frozen=True)
class Shape:
    """One object of one annotator.

    Attributes:
        category: class name as the export spells it.
        subject: file and record, for errors.
        kind: ``area`` (polygon, mask, ellipse), ``box``, ``crowd`` (an area that is ignored), or
            ``other`` (points, lines: counted, never drawn).
        draw: gives bool ``h w`` for a size; None where the size is unknown and not needed.
    """

    category: str
    subject: str
    kind: Kind
    draw: Drawer | None = None


@dataclass
class ImageShapes:
    """The annotations of one image.

    Attributes:
        name: image name.
        subject: file and record, for errors.
        size_hw: declared size or None.
        annotators: one list of shapes an annotator; an empty list is an annotator who saw nothing.
    """

    name: str
    subject: str
    size_hw: Size | None
    annotators: list[list[Shape]] = field(default_factory=list)


def truth_from_shapes(
    bundle: Bundle,
    format_name: str,
    images: Sequence[ImageShapes],
    options: TruthOptions,
    tally: Counter[str],
) -> TruthSet:
    """Turn listed shapes into a truth set; nothing is drawn yet.

    Args:
        bundle: where the shapes come from.
        format_name: name of the reader.
        images: the shapes of each image.
        options: category, boxes, annotators.
        tally: what the reader skipped so far; drawing goes on counting into it.

    Raises:
        AnnotationRefused: no images, no object of the category, several classes and no choice, or
            an image whose only objects of the category are boxes.
    """
    if options.mask_value is not None:
        raise AnnotationRefused(
            bundle.source,
            f"a {format_name} export holds objects, not levels",
            "give --category, not --mask-value",
        )
    truth = TruthSet(bundle.source, format_name, (), tally)
    wanted = _chosen_categories(bundle.source, images, options)
    _count_unused(images, wanted, truth.tally, options)
    truth.items = [_item(image, wanted, truth, options) for image in images]
    return truth


def _count_unused(
    images: Sequence[ImageShapes],
    wanted: frozenset[str],
    tally: Counter[str],
    options: TruthOptions,
) -> None:
    for image in images:
        for shape in (shape for shapes in image.annotators for shape in shapes):
            if shape.kind == "other":
                tally["points, lines or other objects without an area skipped"] += 1
            elif shape.category not in wanted:
                tally["objects of other categories are background"] += 1
            elif shape.kind == "box":
                verb = "filled" if options.boxes == "fill" else "skipped: a box is no outline"
                tally[f"boxes {verb}"] += 1


def _chosen_categories(
    source: str, images: Sequence[ImageShapes], options: TruthOptions
) -> frozenset[str]:
    if not images:
        raise AnnotationRefused(source, "no annotated image", "export the labels again")
    drawable = ("area", "crowd", "box") if options.boxes == "fill" else ("area", "crowd")
    shapes = [shape for image in images for labels in image.annotators for shape in labels]
    known = {shape.category for shape in shapes}
    with_area = {shape.category for shape in shapes if shape.kind in drawable}
    wanted = frozenset(options.category)
    if wanted == {"*"}:
        wanted = frozenset(with_area)
    elif wanted:
        missing = sorted(wanted - known)
        if missing:
            raise AnnotationRefused(
                source,
                f"no object of category {missing[0]!r:.60}",
                f"choose --category from {_listed(known)}",
            )
    elif len(with_area) > 1:
        raise AnnotationRefused(
            source,
            f"{len(with_area)} categories and no choice",
            f"choose --category from {_listed(with_area)}, or '*' for all of them",
        )
    else:
        wanted = frozenset(with_area)
    if not any(s.category in wanted and s.kind in ("area", "crowd", "box") for s in shapes):
        held = "boxes or points only" if shapes else "no object at all"
        raise AnnotationRefused(
            source, f"{held}: an empty truth", "draw polygons or masks, or give --boxes fill"
        )
    return wanted


def _listed(names: set[str]) -> str:
    shown = ", ".join(f"{name!r:.60}" for name in sorted(names)[:12])
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _item(
    image: ImageShapes, wanted: frozenset[str], truth: TruthSet, options: TruthOptions
) -> TruthItem:
    kept: list[list[Shape]] = []
    for shapes in image.annotators:
        chosen = [shape for shape in shapes if shape.category in wanted and shape.kind != "other"]
        boxes = [shape for shape in chosen if shape.kind == "box"]
        if boxes and options.boxes != "fill":
            chosen = [shape for shape in chosen if shape.kind != "box"]
            if not chosen:
                raise AnnotationRefused(
                    boxes[0].subject,
                    f"{boxes[0].category!r:.60} is only boxed on image {image.name}",
                    "draw a polygon or mask, or give --boxes fill",
                )
        kept.append(chosen)

    def decode(fallback: Size | None) -> TruthMask:
        size_hw = image.size_hw or fallback
        votes = [_draw(shapes, size_hw, image, truth) for shapes in kept]
        return _vote(votes, image, truth, options)

    return TruthItem(image.name, image.size_hw, decode)


def _draw(
    shapes: Sequence[Shape], size_hw: Size | None, image: ImageShapes, truth: TruthSet
) -> tuple[Mask, Mask | None]:
    """Draw one annotator's objects and crowd regions."""
    mask: Mask | None = None
    crowd: Mask | None = None
    for shape in shapes:
        if shape.draw is None:
            continue
        drawn = shape.draw(size_hw)
        if size_hw is None:
            size_hw = (drawn.shape[0], drawn.shape[1])
        if drawn.shape != size_hw:
            raise AnnotationRefused(
                shape.subject,
                f"a mask of {drawn.shape[1]} x {drawn.shape[0]} pixels on an image of "
                f"{size_hw[1]} x {size_hw[0]}",
                "export the mask again",
            )
        if shape.kind == "crowd":
            crowd = drawn if crowd is None else crowd | drawn
            truth.tally["crowd regions ignored"] += 1
        else:
            mask = drawn if mask is None else mask | drawn
    if size_hw is None:
        raise AnnotationRefused(
            image.subject, "the export does not say how large the image is", "score it with masks"
        )
    if mask is None:
        mask = np.zeros(size_hw, np.bool_)
    if crowd is not None:
        crowd = crowd & ~mask  # an outlined object inside a crowd still counts
    return mask, crowd


def _vote(
    votes: list[tuple[Mask, Mask | None]],
    image: ImageShapes,
    truth: TruthSet,
    options: TruthOptions,
) -> TruthMask:
    """Join the annotators of one image; ties of a majority are ignored pixels."""
    if len({mask.shape for mask, _ in votes}) > 1:
        raise AnnotationRefused(
            image.subject, "annotators drew on images of different sizes", "export the labels again"
        )
    if len(votes) == 1 or options.annotators == "first":
        mask, crowd = votes[0]
        if len(votes) > 1:
            truth.tally["labels of further annotators unused"] += len(votes) - 1
        return TruthMask(mask, crowd)
    masks = [mask for mask, _ in votes]
    truth.agreements.append(_agreement(masks))
    count = np.sum(masks, axis=0, dtype=np.int32)
    ignore = np.zeros(count.shape, np.bool_)
    for _, crowd in votes:
        if crowd is not None:
            ignore |= crowd
    if options.annotators == "majority":
        ties = 2 * count == len(masks)
        truth.tally["pixels ignored: the annotators tie"] += int(ties.sum())
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
