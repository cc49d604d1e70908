"""Truth: hand-made masks, one item an image, decoded only when asked for."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import PurePosixPath
from statistics import fmean
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.core.masks import Mask

from .records import Size, broken

Annotators = Literal["majority", "union", "intersection", "first"]


@dataclass(frozen=True)
class TruthMask:
    """One decoded mask."""

    mask: Mask  # True on the object
    ignore: Mask | None = None  # True where nothing is scored
    alpha: NDArray[np.float32] | None = None  # h w in [0, 1], where the source holds soft levels


@dataclass(frozen=True)
class TruthItem:
    """One image of a set."""

    name: str  # as its file names it (posix, may hold folders); the stem is what pairs
    size_hw: Size | None  # None where the format does not declare it
    decode: Callable[[Size | None], TruthMask]
    score: float | None = None  # confidence in [0, 1] of a predicted mask

    def load(self, size_hw: Size | None = None) -> TruthMask:
        """Decode the mask, AnnotationRefused where its record or file is malformed.

        ``size_hw`` is used only where the source declares no size.
        """
        return self.decode(size_hw)

    @property
    def stem(self) -> str:
        """File name without folders and suffix."""
        return PurePosixPath(self.name).stem


@dataclass
class TruthSet:
    """A lazy sequence of items; nothing decoded is kept, so memory stays flat."""

    source: str  # the file or folder, as the user named it
    format: str  # name of the reader
    items: Sequence[TruthItem]  # one an image, in the order of the source
    # What was read but not used (boxes, stray grey levels), counted; grows as items are loaded.
    tally: Counter[str] = field(default_factory=Counter)
    # Mean pairwise IoU of the annotators, one number for each image with several.
    agreements: list[float] = field(default_factory=list)
    left_out: tuple[str, ...] = ()  # names of images that nobody annotated and that are no items
    unannotated: int = 0  # images that nobody annotated, left out or read as empty
    wanted: frozenset[str] = frozenset()  # classes that are the object, where the format has some
    ids: "CocoIds | None" = None  # of a COCO file, for results files that hold ids alone
    # Over all images, pixels on which annotators tie, and pixels that any of them marked.
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
            several = f"{len(self.agreements)} images have several annotators"
            agreement = f"mean pairwise IoU {fmean(self.agreements):.4f}"
            lines.append(f"{several}: {agreement}, worst {min(self.agreements):.4f}")
        return lines

    def unannotated_rule(self) -> str:
        """Say in words what was done with images that nobody annotated."""
        if self.left_out:
            return "left out (--unannotated empty scores them as images without object)"
        return "scored as images without object (--unannotated skip leaves them out)"

    def warnings(self) -> list[str]:
        """Say in words what makes the truth doubtful, as far as it was loaded."""
        tied, marked = self.ties
        if 10 * tied <= marked:  # annotators differ by a rim of a few percent; more is disagreement
            return []
        return [
            f"the annotators tie on {tied} pixels, {tied / marked:.0%} of what any of them marked: "
            "these are not scored; choose --annotators first, union or intersection"
        ]

    def joined(self, votes: Sequence[TruthMask], where: str, rule: Annotators) -> TruthMask:
        """Join the masks that the annotators of one image drew; ties of a majority do not score."""
        masks = [vote.mask for vote in votes]
        if len({mask.shape for mask in masks}) > 1:
            raise broken(where, "annotators drew on images of different sizes")
        if len(votes) == 1 or rule == "first":
            self.tally["labels of further annotators unused"] += len(votes) - 1
            return votes[0]
        pairs = [((a & b).sum(), (a | b).sum()) for a, b in combinations(masks, 2)]
        # Two empty masks agree fully.
        shares = [both / either if either else 1.0 for both, either in pairs]
        self.agreements.append(float(np.mean(shares)))
        count = np.sum(masks, axis=0, dtype=np.int32)
        voids = [vote.ignore for vote in votes if vote.ignore is not None]
        ignore = np.logical_or.reduce([np.zeros(count.shape, np.bool_), *voids])
        if rule == "majority":
            ties = 2 * count == len(masks)
            tied, marked = int(ties.sum()), int(np.count_nonzero(count))
            self.tally["pixels ignored: the annotators tie"] += tied
            self.ties = self.ties[0] + tied, self.ties[1] + marked
            ignore |= ties
        needed = {"union": 1, "intersection": len(masks), "majority": len(masks) // 2 + 1}
        return TruthMask(np.asarray(count >= needed[rule]), ignore if ignore.any() else None)


@dataclass(frozen=True)
class CocoIds:
    """Names by id, which a COCO results file lacks."""

    images: Mapping[object, tuple[str, Size]]  # with height and width
    categories: Mapping[object, str]
    wanted: frozenset[str] = frozenset()  # names of the categories that are foreground


@dataclass(frozen=True)
class TruthOptions:
    """Options of every reader."""

    category: tuple[str, ...] = ()  # foreground classes; empty: the only one, ("*",): all
    # Foreground of a mask image: an id ("7"), a colour ("#ff0000"), a threshold (">127"), "alpha"
    # (above 127) or "soft" (levels are alpha, > 0.5 the mask); None: by `mask_rule`.
    mask_value: str | None = None
    ignore_value: tuple[str, ...] = ()  # ids or colours that are not scored (void, trimap borders)
    ignore_category: tuple[str, ...] = ()  # classes whose areas are not scored
    unannotated: Literal["skip", "empty"] = "skip"  # leave such images out, or read no object
    # COCO areas marked `iscrowd` are not scored or are objects; auto: objects where CVAT or
    # Datumaro wrote the file, which mark every mask.
    crowd: Literal["auto", "ignore", "object"] = "auto"
    exact_white: bool = False  # only level 255 is foreground, as the authors of the paper count
    masks_dir: str | None = None  # folder of mask files that an export refers to by id or URL
    boxes: Literal["refuse", "fill"] = "refuse"  # of images that have only boxes of the category
    annotators: Annotators = "majority"  # how several masks of one image become one
    download: Callable[[str], bytes] | None = None  # fetches a mask by URL; None: none is fetched
    ids: CocoIds | None = None  # for a COCO results file
