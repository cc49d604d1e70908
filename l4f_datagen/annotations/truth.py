"""Truth: hand-made masks, one item an image, decoded only when asked for."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.annotations.records import Size, broken
from l4f_datagen.annotations.rle import Mask

Annotators = Literal["majority", "union", "intersection", "first"]


@dataclass(frozen=True)
class TruthMask:
    """One decoded mask.

    Attributes:
        mask: bool ``h w``, True on the object.
        ignore: bool ``h w``, True where nothing is scored, or None.
        alpha: float32 ``h w`` in [0, 1] where the source holds soft levels, or None.
    """

    mask: Mask
    ignore: Mask | None = None
    alpha: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class TruthItem:
    """One image of a set.

    Attributes:
        name: the image as its file names it (posix, may hold folders); the stem is what pairs.
        size_hw: declared height and width, None where the format does not say.
        decode: called with a size to fall back on, gives the mask.
        score: confidence of a predicted mask in [0, 1], None where the file gives none.
    """

    name: str
    size_hw: Size | None
    decode: Callable[[Size | None], TruthMask]
    score: float | None = None

    def load(self, size_hw: Size | None = None) -> TruthMask:
        """Decode the mask; ``size_hw`` is used only where the source declares no size.

        Raises:
            AnnotationRefused: the record or its mask file is malformed.
        """
        return self.decode(size_hw)

    @property
    def stem(self) -> str:
        """File name without folders and suffix."""
        return PurePosixPath(self.name).stem


@dataclass
class TruthSet:
    """A lazy sequence of items; nothing decoded is kept, so memory stays flat.

    Attributes:
        source: the file or folder, as the user named it.
        format: name of the reader.
        items: one an image, in the order of the source.
        tally: what was read but not used (boxes, clipped polygons, stray grey levels), with its
            count; grows while items are loaded.
        agreements: mean pairwise IoU of the annotators, one number for each image with several.
        left_out: names of the images that nobody annotated and that are not items.
        unannotated: number of images that nobody annotated, left out or read as empty.
        wanted: names of the classes that are the object; empty where the format has none.
        ids: names by id of a COCO file, for results files that hold ids alone.
        ties: pixels on which annotators tie, and pixels that any of them marked, over all images.
    """

    source: str
    format: str
    items: Sequence[TruthItem]
    tally: Counter[str] = field(default_factory=Counter)
    agreements: list[float] = field(default_factory=list)
    left_out: tuple[str, ...] = ()
    unannotated: int = 0
    wanted: frozenset[str] = frozenset()
    ids: "CocoIds | None" = None
    ties: tuple[int, int] = (0, 0)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> TruthItem:
        return self.items[index]

    def __iter__(self) -> Iterator[TruthItem]:
        return iter(self.items)

    def notes(self) -> list[str]:
        """Say in words what was skipped, clipped or voted on so far."""
        lines = [f"{count} {what}" for what, count in sorted(self.tally.items()) if count]
        if self.unannotated:
            lines.append(f"{self.unannotated} images without annotation {self.unannotated_rule()}")
        if self.agreements:
            mean = sum(self.agreements) / len(self.agreements)
            lines.append(
                f"{len(self.agreements)} images have several annotators: mean pairwise IoU "
                f"{mean:.4f}, worst {min(self.agreements):.4f}"
            )
        return lines

    def unannotated_rule(self) -> str:
        """Say in words what was done with images that nobody annotated."""
        if self.left_out:
            return "left out (--unannotated empty scores them as images without object)"
        return "scored as images without object (--unannotated skip leaves them out)"

    def joined(self, votes: Sequence[TruthMask], where: str, rule: Annotators) -> TruthMask:
        """Join the masks that the annotators of one image drew; ties of a majority do not score.

        Raises:
            AnnotationRefused: the masks differ in size.
        """
        masks = [vote.mask for vote in votes]
        if len({mask.shape for mask in masks}) > 1:
            raise broken(where, "annotators drew on images of different sizes")
        if len(votes) == 1 or rule == "first":
            self.tally["labels of further annotators unused"] += len(votes) - 1
            return votes[0]
        self.agreements.append(_agreement(masks))
        count = np.sum(masks, axis=0, dtype=np.int32)
        ignore = np.zeros(count.shape, np.bool_)
        for vote in votes:
            if vote.ignore is not None:
                ignore |= vote.ignore
        if rule == "majority":
            ties = 2 * count == len(masks)
            tied, marked = int(ties.sum()), int(np.count_nonzero(count))
            self.tally["pixels ignored: the annotators tie"] += tied
            self.ties = self.ties[0] + tied, self.ties[1] + marked
            ignore |= ties
        needed = {"union": 1, "intersection": len(masks), "majority": len(masks) // 2 + 1}
        return TruthMask(np.asarray(count >= needed[rule]), ignore if ignore.any() else None)

    def warnings(self) -> list[str]:
        """Say in words what makes the truth doubtful, as far as it was loaded."""
        tied, marked = self.ties
        if 10 * tied <= marked:  # annotators differ by a rim of a few percent; more is disagreement
            return []
        return [
            f"the annotators tie on {tied} pixels, {tied / marked:.0%} of what any of them marked: "
            "these are not scored; choose --annotators first, union or intersection"
        ]


def _agreement(masks: Sequence[Mask]) -> float:
    """Mean IoU over pairs of annotators; two empty masks agree fully."""
    scores = []
    for a, b in combinations(masks, 2):
        union = np.count_nonzero(a | b)
        scores.append(np.count_nonzero(a & b) / union if union else 1.0)
    return float(np.mean(scores))


@dataclass(frozen=True)
class CocoIds:
    """Names by id, which a COCO results file lacks.

    Attributes:
        images: image id to name and (height, width).
        categories: category id to name.
        wanted: names of the categories that are foreground.
    """

    images: Mapping[object, tuple[str, Size]]
    categories: Mapping[object, str]
    wanted: frozenset[str] = frozenset()


@dataclass(frozen=True)
class TruthOptions:
    """Options of every reader.

    Attributes:
        category: names of the classes that are foreground; empty means the only one there is,
            ``("*",)`` means all of them.
        mask_value: which pixels of a mask image are foreground: an id (``"7"``), a colour
            (``"#ff0000"``), a threshold (``">127"``), ``"alpha"`` (the alpha channel > 127),
            ``"soft"`` (levels are alpha, > 0.5 the mask) or None for the rules of
            `l4f_datagen.annotations.mask_rule`.
        ignore_value: ids or colours of a mask image that are not scored (void, trimap borders).
        ignore_category: names of the classes whose areas are not scored.
        unannotated: images that nobody annotated are left out (``skip``) or are images without
            object (``empty``).
        crowd: COCO areas marked ``iscrowd`` are not scored (``ignore``), are objects (``object``),
            or (``auto``) are objects where CVAT or Datumaro wrote the file, which mark every mask.
        exact_white: only level 255 is foreground, as the authors of the paper count.
        masks_dir: folder of mask files that an export refers to by id or URL.
        boxes: ``refuse`` an image that has only boxes of the category, or ``fill`` them.
        annotators: how several masks of one image become one.
        download: fetches a mask by URL; None: nothing is downloaded.
        ids: names by id for a COCO results file, see `CocoIds`.
    """

    category: tuple[str, ...] = ()
    mask_value: str | None = None
    ignore_value: tuple[str, ...] = ()
    ignore_category: tuple[str, ...] = ()
    unannotated: Literal["skip", "empty"] = "skip"
    crowd: Literal["auto", "ignore", "object"] = "auto"
    exact_white: bool = False
    masks_dir: str | None = None
    boxes: Literal["refuse", "fill"] = "refuse"
    annotators: Annotators = "majority"
    download: Callable[[str], bytes] | None = None
    ids: CocoIds | None = None
