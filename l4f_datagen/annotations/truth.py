"""Truth: hand-made masks, one item an image, decoded only when asked for."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.core.errors import AnnotationRefused, InputRefused
from l4f_datagen.io.photo import MAX_PIXELS as MAX_PIXELS
from l4f_datagen.io.photo import MAX_SIDE as MAX_SIDE
from l4f_datagen.io.photo import Planes, mask_planes

MAX_NAME = 1024  # characters; a longer name is a broken file and would flood every message
SAMPLE_KEY = re.compile(r"psi\d{4,}-seed\d{7,}")
# Words around a name that say what the file is, not which image it belongs to.
WORDS = "mask|gt|label|labels|masks|pred|preds|alpha|truth|seg|segmentation|matte"
AFFIXES = re.compile(
    rf"^(?:{WORDS})[_\-. ]"
    rf"|[_\-. ](?:{WORDS}|gtfine_labelids|gtfine_polygons|gtfine_color|leftimg8bit)$"
    r"|___(?:fuse|save|pixel|objects)$"  # of SuperAnnotate
)
# Hashes that tools add to names: Roboflow's `name_jpg.rf.HASH`, Label Studio's `0a1b2c3d-name`,
# UUIDs before a name.
HASHES = re.compile(
    r"(?:_(?:jpe?g|png|bmp|webp|tiff?|gif))?\.rf\.[0-9a-z]{16,}$"
    r"|\.(?:jpe?g|png|bmp|webp|tiff?|gif)$"
    r"|^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}[-_](?=.)"
    r"|^(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{8}-(?=.)"
)
URL_PATH = re.compile(r"^[a-z0-9.+-]+://[^/]*/?([^?#]*)", re.IGNORECASE)

Mask = NDArray[np.bool_]
Size = tuple[int, int]


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
        ids: names of COCO images and categories by id, for results files that hold ids alone.
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

    def warnings(self) -> list[str]:
        """Say in words what makes the truth doubtful, as far as it was loaded."""
        tied, marked = self.ties
        if 10 * tied <= marked:  # annotators differ by a rim of a few percent; more is disagreement
            return []
        return [
            f"the annotators tie on {tied} pixels, {tied / marked:.0%} of what any of them marked: "
            "these are not scored; choose --annotators first, union or intersection"
        ]


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
    annotators: Literal["majority", "union", "intersection", "first"] = "majority"
    download: Callable[[str], bytes] | None = None
    ids: CocoIds | None = None


def composed(text: str) -> str:
    """Unicode in composed form (NFC): macOS writes names decomposed that look the same."""
    return unicodedata.normalize("NFC", text)


def mask_image(data: bytes, subject: str) -> Planes:
    """Decode a mask image, see `l4f_datagen.io.photo.mask_planes`.

    Raises:
        AnnotationRefused: not an image that a mask can be read from.
    """
    try:
        return mask_planes(data, subject)
    except InputRefused as error:
        raise AnnotationRefused(error.subject, error.problem, error.remedy) from error


def checked_size(height: object, width: object, subject: str) -> Size:
    """Return ``(height, width)`` as ints.

    Raises:
        AnnotationRefused: not whole positive numbers, or more than 8192 x 8192 pixels.
    """
    sides: list[int] = []
    for side in (height, width):
        if isinstance(side, float) and side.is_integer():  # some tools write 640.0
            side = int(side)
        if not isinstance(side, int) or isinstance(side, bool):
            problem = f"height {height!r:.20} and width {width!r:.20}"
            raise AnnotationRefused(subject, problem, "both must be whole numbers")
        sides.append(side)
    if min(sides) < 1 or max(sides) > MAX_SIDE or sides[0] * sides[1] > MAX_PIXELS:
        problem = f"an image of {sides[1]} x {sides[0]} pixels"
        raise AnnotationRefused(subject, problem, f"1 x 1 up to {MAX_PIXELS} pixels are read")
    return sides[0], sides[1]


def numbers(values: Sequence[Any], subject: str, what: str) -> tuple[float, ...]:
    """Return finite numbers below 1e9, which keeps every later product finite.

    Raises:
        AnnotationRefused: one of them is not such a number.
    """
    for value in values:
        if type(value) not in (int, float) or not abs(value) < 1e9:  # also false for NaN
            raise AnnotationRefused(subject, f"{what} {value!r:.40}", "write finite numbers")
    return tuple(float(value) for value in values)


def sample_key_in(name: str) -> str | None:
    """Find a sample key such as ``psi0700-seed0000123`` in a name."""
    found = SAMPLE_KEY.search(name)
    return found.group() if found else None


def checked_name(raw: object, subject: str, *, parents: bool = False) -> str:
    """Return an image name as a relative posix path; the file it names is never opened.

    Args:
        raw: name, path or URL; of a URL the decoded path counts.
        subject: the record, for the error.
        parents: drop leading ``..`` (LabelMe writes them) instead of refusing them.

    Raises:
        AnnotationRefused: empty, no text, control characters, or a path out of its folder.
    """
    if not isinstance(raw, str) or not raw.strip() or not printable(raw):
        raise AnnotationRefused(subject, f"image name {raw!r:.60}", "give each image a name")
    path = raw.strip().replace("\\", "/")
    url = URL_PATH.match(path)
    if url:
        path = unquote(url.group(1), errors="replace").replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if parents:
        parts = [part for part in parts if part != ".."]
    if len(path) > MAX_NAME:
        raise AnnotationRefused(subject, f"an image name of {len(path)} characters", "shorten it")
    if not parts or ".." in parts or not printable(path):
        problem = f"image name {raw!r:.60} leads out of its folder"
        raise AnnotationRefused(subject, problem, "remove the `..`")
    return "/".join(parts)


def plain_stem(name: str) -> str:
    """Stem of a name in composed Unicode and lower case, URL escapes decoded."""
    return PurePosixPath(composed(unquote(name))).stem.lower()


def bare_stem(name: str) -> str:
    """`plain_stem` without the hashes of tools and without words such as ``mask_`` or ``_gt``."""
    stem = plain_stem(name)
    stem = HASHES.sub("", stem) or stem
    return AFFIXES.sub("", stem) or stem


def printable(text: str) -> bool:
    """Whether text holds no control character and no broken surrogate."""
    return not any(ord(c) < 32 or 0xD800 <= ord(c) <= 0xDFFF for c in text)
