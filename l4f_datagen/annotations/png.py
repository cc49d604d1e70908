"""Folder of mask pictures (or one picture, or a zip of them).

Without a choice the rules are, in this order:

1. Grey values count, an alpha channel does not; only where the grey is one flat level and the alpha
   channel holds both 0 and 255 is the alpha channel the mask (white on transparent).
2. Levels 0 and 255 only: 255 is the object.
3. Nearly so: fewer than 0.5 % of the pixels, and fewer than 5 % of the white ones, have other
   levels (stray anti-aliasing of annotation tools). Levels above 127 are the object; the strays are
   counted and said.
4. 0 and one other level: class ids, the other level is the object, and it must be the same level in
   the whole set.
5. Anything else is refused: ids need ``mask_value="7"``, soft edges ``">127"``, colours
   ``"#ff0000"``, cut-outs ``"alpha"``. With an id chosen, level 255 is ignored (void).
"""

from collections import Counter
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.annotations.bundle import Bundle
from l4f_datagen.annotations.pictures import SUFFIXES, Picture, decode_picture
from l4f_datagen.annotations.truth import Mask, TruthItem, TruthMask, TruthOptions, TruthSet
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.core.masks import alpha_to_mask

MASK_FOLDERS = ("masks", "mask", "labels", "gt", "annotations")
IMAGE_FOLDERS = ("images", "image", "img", "imgs", "data", "jpegimages")
STRAY_OF_ALL = 0.005
STRAY_OF_WHITE = 0.05
STRAYS = "stray pixels neither 0 nor 255 cut at 127"


def matches(bundle: Bundle) -> bool:
    """Tell whether the bundle holds pictures."""
    if bundle.kind == "file":
        return (
            bundle.head(bundle.names[0])[:4]
            in (
                b"\x89PNG",
                b"\xff\xd8\xff\xe0",
                b"\xff\xd8\xff\xe1",
                b"RIFF",
                b"GIF8",
                b"II*\0",
                b"MM\0*",
            )
            or bundle.head(bundle.names[0])[:2] == b"BM"
        )
    return any(name.lower().endswith(SUFFIXES) for name in bundle.names)


def read(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """List the mask pictures of a folder; each is decoded when it is loaded.

    Raises:
        AnnotationRefused: no picture, or a mask value that is none.
    """
    rule = MaskRule(options, bundle.source)
    truth = TruthSet(bundle.source, "png", ())
    names = list(bundle.names)
    if bundle.kind != "file":
        names = mask_names(names)
        unused = len(bundle.names) - len(names)
        if unused:
            truth.tally["files beside the masks not read"] += unused
    if not names:
        raise AnnotationRefused(bundle.source, "no mask picture", "name the folder of masks")

    def item(name: str) -> TruthItem:
        def decode(_: tuple[int, int] | None) -> TruthMask:
            subject = bundle.subject(name)
            picture = decode_picture(bundle.read(name), subject)
            return rule.apply(picture, subject, truth.tally)

        return TruthItem(name, None, decode)

    truth.items = [item(name) for name in names]
    return truth


def mask_names(names: list[str]) -> list[str]:
    """Pick the masks among the files of a folder: ``masks/`` where there is one, never images."""
    pictures = [name for name in names if name.lower().endswith(SUFFIXES)]
    folders = {name: [part.lower() for part in PurePosixPath(name).parts[:-1]] for name in pictures}
    for wanted in MASK_FOLDERS:
        inside = [name for name in pictures if wanted in folders[name]]
        if inside and len(inside) < len(pictures):
            return inside
    return [
        name for name in pictures if not any(part in IMAGE_FOLDERS for part in folders[name])
    ] or pictures


class MaskRule:
    """The rule that turns levels into a mask, with what a set has shown of itself so far."""

    def __init__(self, options: TruthOptions, source: str) -> None:
        if options.category and options.category != ("*",):
            raise AnnotationRefused(
                source, "mask pictures have no class names", "give --mask-value, not --category"
            )
        self.exact_white = options.exact_white
        self.kind, self.number, self.colour = parse_mask_value(options.mask_value)
        self.object_level: tuple[int, str] | None = None

    def apply(self, picture: Picture, subject: str, tally: Counter[str]) -> TruthMask:
        """Turn one picture into a mask.

        Raises:
            AnnotationRefused: the picture needs a choice that was not made.
        """
        if self.exact_white:
            return TruthMask(_luminance(picture) == 255)
        if self.kind == "colour":
            return TruthMask(_equals_colour(picture, self.colour))
        if self.kind == "alpha":
            if picture.opacity is None:
                raise AnnotationRefused(subject, "no alpha channel", "choose another mask value")
            soft = _fraction(picture.opacity)
            return TruthMask(alpha_to_mask(soft, 0.5), alpha=soft)
        levels = _levels(picture, subject)
        if self.kind in ("threshold", "soft"):
            soft = _fraction(levels) if picture.fine is None else _fraction(picture.fine, 65535)
            return TruthMask(alpha_to_mask(soft, self.number), alpha=soft)
        if self.kind == "id":
            ignore = (levels == 255) if self.number != 255 else None
            if ignore is not None:
                tally["void pixels (level 255) ignored"] += int(ignore.sum())
            return TruthMask(levels == int(self.number), ignore)
        return TruthMask(self._plain(levels, picture, subject, tally))

    def _plain(
        self, levels: NDArray[np.uint8], picture: Picture, subject: str, tally: Counter[str]
    ) -> Mask:
        is_white = np.asarray(levels == 255)
        white = np.count_nonzero(is_white)
        strays = int(np.count_nonzero(levels) - white)
        if strays == 0:
            if white:
                self._settle(255, subject)
            return is_white
        used = np.flatnonzero(np.bincount(levels.reshape(-1), minlength=256))
        others = used[used != 0]
        if len(others) == 1:
            self._settle(int(others[0]), subject)
            return np.asarray(levels != 0)
        few = strays < STRAY_OF_ALL * levels.size and strays < STRAY_OF_WHITE * white
        if few and not picture.is_palette:
            self._settle(255, subject)
            tally[STRAYS] += strays
            return levels > 127
        shown = ", ".join(str(level) for level in used[:6]) + (" ..." if len(used) > 6 else "")
        kind = "class ids" if picture.is_palette else "grey levels"
        raise AnnotationRefused(
            subject,
            f"{len(used)} {kind} ({shown}) in a mask",
            "choose --mask-value, an id such as 1 or a threshold such as '>127'",
        )

    def _settle(self, level: int, subject: str) -> None:
        if self.object_level is None:
            self.object_level = (level, subject)
        elif self.object_level[0] != level:
            first, where = self.object_level
            raise AnnotationRefused(
                subject,
                f"the object has level {level} here and {first} in {where}",
                "choose --mask-value",
            )


def parse_mask_value(raw: str | None) -> tuple[str, float, tuple[int, int, int]]:
    """Split a mask value into its kind, its number and its colour.

    Raises:
        AnnotationRefused: none of ``7``, ``#ff0000``, ``>127``, ``>0.9``, ``alpha``, ``soft``.
    """
    none = (0, 0, 0)
    if raw is None:
        return "plain", 0.0, none
    value = raw.strip().lower()
    if value in ("alpha", "soft"):
        return value, 0.5, none
    try:
        if value.startswith("#") and len(value) == 7:
            red, green, blue = bytes.fromhex(value[1:])
            return "colour", 0.0, (red, green, blue)
        if value.startswith(">"):
            number = float(value[1:])
            number = number if number <= 1 and "." in value else number / 255
            if 0 <= number < 1:
                return "threshold", number, none
        elif 0 <= int(value) <= 255:
            return "id", int(value), none
    except ValueError:
        pass  # falls through to the one error below
    raise AnnotationRefused(
        f"mask value {raw!r:.40}", "not understood", "give 7, '#ff0000', '>127', '>0.9' or alpha"
    )


def _fraction(levels: NDArray[np.unsignedinteger], top: int = 255) -> NDArray[np.float32]:
    return (levels / np.float32(top)).astype(np.float32)


def _luminance(picture: Picture) -> NDArray[np.uint8]:
    if picture.grey is not None and not picture.is_palette:
        return picture.grey
    rgb = picture.rgb
    if rgb is None:
        raise ValueError("a picture holds grey levels or colours")
    weights = np.asarray([299, 587, 114], np.int64)  # ITU-R 601, as Pillow's L
    return ((rgb.astype(np.int64) @ weights + 500) // 1000).astype(np.uint8)


def _equals_colour(picture: Picture, colour: tuple[int, int, int]) -> Mask:
    if picture.rgb is None:
        grey = picture.grey
        same = colour[0] == colour[1] == colour[2]
        return (grey == colour[0]) & same if grey is not None else np.zeros(picture.size_hw, bool)
    return np.asarray((picture.rgb == np.asarray(colour, np.uint8)).all(axis=2))


def _levels(picture: Picture, subject: str) -> NDArray[np.uint8]:
    if picture.grey is None:
        raise AnnotationRefused(
            subject, "a coloured picture", "choose --mask-value, such as '#ff0000' or alpha"
        )
    grey, opacity = picture.grey, picture.opacity
    flat = opacity is not None and bool((grey == grey.flat[0]).all())
    if opacity is not None and flat and (opacity == 0).any() and (opacity == 255).any():
        return opacity
    return grey
