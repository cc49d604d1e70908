"""Truth: hand-made masks, one item an image, decoded only when they are asked for."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.core.errors import AnnotationRefused

MAX_PIXELS = 1 << 26  # 8192 x 8192: no declared size makes us take more memory than this allows
MAX_SIDE = 1 << 16
MAX_NAME = 1024
SAMPLE_KEY = re.compile(r"psi\d{4,}-seed\d{7,}")

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class TruthMask:
    """One decoded mask.

    Attributes:
        mask: bool ``h w``, True on the object.
        ignore: bool ``h w``, True where the score must not look, or None.
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
    """

    name: str
    size_hw: tuple[int, int] | None
    decode: Callable[[tuple[int, int] | None], TruthMask]

    def load(self, size_hw: tuple[int, int] | None = None) -> TruthMask:
        """Decode the mask; ``size_hw`` is used only where the source declares no size.

        Raises:
            AnnotationRefused: the record or its mask file is not what it must be.
        """
        return self.decode(size_hw)

    @property
    def stem(self) -> str:
        """File name without folders and suffix."""
        return PurePosixPath(self.name).stem


@dataclass
class TruthSet:
    """A lazy sequence of items; memory stays flat because nothing decoded is kept.

    Attributes:
        source: the file or folder, as the user named it.
        format: name of the reader.
        items: one an image, in the order of the source.
        tally: things read but not used (boxes, clipped polygons, stray grey pixels), each with its
            count; grows while items are loaded.
        agreements: mean pairwise IoU of the annotators, one number for each image with several.
    """

    source: str
    format: str
    items: Sequence[TruthItem]
    tally: Counter[str] = field(default_factory=Counter)
    agreements: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> TruthItem:
        return self.items[index]

    def __iter__(self) -> Iterator[TruthItem]:
        return iter(self.items)

    def notes(self) -> list[str]:
        """Say in words what was skipped, clipped or voted on so far."""
        lines = [f"{count} {what}" for what, count in sorted(self.tally.items())]
        if self.agreements:
            mean = sum(self.agreements) / len(self.agreements)
            worst = min(self.agreements)
            lines.append(
                f"{len(self.agreements)} images have several annotators: mean pairwise IoU "
                f"{mean:.4f}, worst {worst:.4f}"
            )
        return lines


@dataclass(frozen=True)
class TruthOptions:
    """What a reader may be told; every reader takes the same record.

    Attributes:
        category: names of the classes that are foreground; empty means the only one there is,
            ``("*",)`` means all of them.
        mask_value: which pixels of a mask image are foreground: an id (``"7"``), a colour
            (``"#ff0000"``), a threshold (``">127"``), ``"alpha"`` (the alpha channel > 127),
            ``"soft"`` (levels / 255 are alpha, > 0.5 the mask) or None for the plain rules of
            `l4f_datagen.annotations.png`.
        exact_white: only level 255 is foreground, as the authors of the paper count.
        masks_dir: folder of mask files that an export refers to by id or URL.
        boxes: ``refuse`` an image that has only boxes of the category, or ``fill`` them.
        annotators: how several masks of one image become one.
        download: fetches a mask by URL, or None: nothing is ever downloaded unasked.
    """

    category: tuple[str, ...] = ()
    mask_value: str | None = None
    exact_white: bool = False
    masks_dir: str | None = None
    boxes: Literal["refuse", "fill"] = "refuse"
    annotators: Literal["majority", "union", "intersection", "first"] = "majority"
    download: Callable[[str], bytes] | None = None


def checked_size(height: object, width: object, subject: str) -> tuple[int, int]:
    """Return ``(height, width)`` as ints.

    Raises:
        AnnotationRefused: not whole positive numbers, or more than 8192 x 8192 pixels.
    """
    sides: list[int] = []
    for side in (height, width):
        if isinstance(side, float) and side.is_integer():  # some tools write 640.0
            side = int(side)
        if not isinstance(side, int) or isinstance(side, bool):
            raise AnnotationRefused(
                subject,
                f"height {height!r:.20} and width {width!r:.20}",
                "both must be whole numbers",
            )
        sides.append(side)
    if min(sides) < 1 or max(sides) > MAX_SIDE or sides[0] * sides[1] > MAX_PIXELS:
        raise AnnotationRefused(
            subject,
            f"an image of {sides[1]} x {sides[0]} pixels",
            f"sizes from 1 x 1 up to {MAX_PIXELS} pixels are read",
        )
    return sides[0], sides[1]


def sample_key_in(name: str) -> str | None:
    """Find a sample key such as ``psi0700-seed0000123`` in a name."""
    found = SAMPLE_KEY.search(name)
    return found.group() if found else None


def checked_name(raw: object, subject: str, *, parents: bool = False) -> str:
    """Return an image name as a relative posix path; the file it names is never opened.

    Args:
        raw: name, path or URL from a file.
        subject: the record, for the error.
        parents: drop leading ``..`` (LabelMe writes them) instead of refusing them.

    Raises:
        AnnotationRefused: empty, no text, control characters, or a path that climbs out.
    """
    if (
        not isinstance(raw, str)
        or not raw.strip()
        or any(ord(c) < 32 or 0xD800 <= ord(c) <= 0xDFFF for c in raw)
    ):
        raise AnnotationRefused(subject, f"image name {raw!r:.60}", "give each image a name")
    path = raw.strip().replace("\\", "/")
    if "://" in path:
        path = path.split("://", 1)[1].split("?", 1)[0].split("#", 1)[0]
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if parents:
        parts = [part for part in parts if part != ".."]
    if len(path) > MAX_NAME:
        raise AnnotationRefused(subject, f"an image name of {len(path)} characters", "shorten it")
    if not parts or ".." in parts:
        raise AnnotationRefused(
            subject, f"image name {raw!r:.60} climbs out of its folder", "remove the `..`"
        )
    return "/".join(parts)
