"""Mask rule: which pixels of a mask image are the object, and which are not scored.

Without a choice the rules are, in this order:

1. Grey levels count, an alpha channel does not, with two exceptions. Where the grey is one flat
   level, the alpha channel is the mask (white on transparent). Where transparent pixels are white,
   either could be the object: refused.
2. Levels 0 and white (255, or 65535 in a 16-bit file) only: white is the object.
3. Nearly so: fewer than 0.5 % of the pixels, and fewer than 5 % of the white ones, have other
   levels (stray anti-aliasing of tools). Levels above the middle are the object, strays counted.
4. 0 and one other level: class ids; the other one is the object, the same level in the whole set.
5. Anything else is refused: ids need ``mask_value="7"``, soft edges ``">127"``, colours
   ``"#ff0000"``, cut-outs ``"alpha"``. With an id chosen, level 255 of an 8-bit file is void.

Levels or colours of ``ignore_value`` are not scored and not looked at.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.core.errors import AnnotationRefused, InputRefused
from l4f_datagen.core.masks import Mask, alpha_to_mask
from l4f_datagen.io.photo import Planes, mask_planes

from .bundle import Bundle
from .drawing import Canvas
from .records import Size, broken
from .truth import TruthItem, TruthMask, TruthSet

# The paper's own truth has up to 60 such pixels of 262,144, some 0.06 % of the white ones.
STRAY_OF_ALL = 0.005
STRAY_OF_WHITE = 0.05
VOID_LEVEL = 255  # of class ids, since VOC 2007

Levels = NDArray[np.unsignedinteger]


class MaskEntry(NamedTuple):
    """An image of a set."""

    name: str
    where: str  # its place, for errors
    # Its masks with the place of each; without a mask nobody annotated the image.
    masks: Sequence[tuple[str, Callable[[], bytes]]]


def truth_from_masks(bundle: Bundle, entries: Sequence[MaskEntry]) -> TruthSet:
    """Truth of mask images, decoded when they are loaded; several masks of one image are joined."""
    rule = MaskRule(bundle)

    def item(entry: MaskEntry) -> TruthItem:
        def decode(fallback: Size | None) -> TruthMask:
            parts = [rule.apply(mask_image(read(), where), where) for where, read in entry.masks]
            if len(parts) < 2:
                empty = Canvas(fallback, entry.where, bundle.tally).empty
                return parts[0] if parts else TruthMask(empty())
            if len({part.mask.shape for part in parts}) > 1:
                raise broken(entry.where, "its masks differ in size", "export them again")
            mask = np.logical_or.reduce([part.mask for part in parts])
            voids = [part.ignore for part in parts if part.ignore is not None]
            return TruthMask(mask, np.logical_or.reduce(voids) & ~mask if voids else None)

        return TruthItem(entry.name, None, decode)

    missing = tuple(entry.name for entry in entries if not entry.masks)
    skip = bundle.options.unannotated == "skip"
    items = [item(entry) for entry in entries if entry.masks or not skip]
    truth = TruthSet(bundle.source, "", items, bundle.tally, unannotated=len(missing))
    truth.left_out = missing if skip else ()
    return truth


class MaskValue(NamedTuple):
    """A parsed mask value: its kind, and its level, fraction or colour 0xrrggbb."""

    kind: str
    number: float = 0.0

    def equals(self, planes: Planes) -> Mask:
        """Pixels of the id or of the colour."""
        if self.kind == "colour":
            colour = np.frombuffer(int(self.number).to_bytes(3), np.uint8)
            return np.asarray((planes.colours() == colour).all(axis=2))
        if planes.grey is None:
            return np.zeros(planes.size_hw, np.bool_)
        return np.asarray(planes.grey == int(self.number))


class MaskRule:
    """The rule of one set, with the object's level as far as the set has shown it."""

    def __init__(self, bundle: Bundle) -> None:
        options, self.tally = bundle.options, bundle.tally
        if options.ignore_category or options.category not in ((), ("*",)):
            remedy = "give --mask-value, not --category"
            raise broken(bundle.source, "mask images have no class names", remedy)
        self.exact_white = options.exact_white
        self.value = parse_mask_value(options.mask_value)
        self.void = [parse_mask_value(value) for value in options.ignore_value]
        if any(value.kind not in ("id", "colour") for value in self.void):
            problem = f"ignore value {options.ignore_value!r:.40}"
            raise broken(bundle.source, problem, "give an id such as 3 or a colour '#ff0000'")
        self.object_level: tuple[int, str] | None = None

    def apply(self, planes: Planes, where: str) -> TruthMask:
        """Turn one image into a mask."""
        void = self.void
        if self.value.kind == "id" and self.value.number != VOID_LEVEL and planes.top == 255:
            void = [*void, MaskValue("id", VOID_LEVEL)]
        ignore = np.zeros(planes.size_hw, np.bool_)
        for value in void:
            found = value.equals(planes)
            is_colour, number = value.kind == "colour", int(value.number)
            name = f"colour #{number:06x}" if is_colour else f"level {number}"
            self.tally[f"void pixels ({name}) ignored"] += int(found.sum())
            ignore |= found
        mask, soft = self._decode(planes, where, ignore)
        return TruthMask(mask & ~ignore, ignore if ignore.any() else None, soft)

    def _decode(
        self, planes: Planes, where: str, ignore: Mask
    ) -> tuple[Mask, NDArray[np.float32] | None]:
        """The object, and alpha where the levels are soft."""
        kind, number = self.value
        if self.exact_white:
            grey = np.asarray(planes.grey)
            if planes.grey is None or planes.is_palette:  # luminance: ITU-R 601, as Pillow's L
                grey = (planes.colours() @ np.asarray([299, 587, 114], np.int64) + 500) // 1000
            return np.asarray(grey == planes.top), None
        if kind == "colour":
            return self.value.equals(planes), None
        if kind == "alpha":
            if planes.opacity is None:
                raise broken(where, "no alpha channel", "choose another mask value")
            soft = (planes.opacity / np.float32(255)).astype(np.float32)
            return alpha_to_mask(soft, 0.5), soft
        levels = _levels(planes, where, strict=kind == "plain")
        if kind == "id":
            return levels == int(number), None
        if kind in ("threshold", "level", "soft"):
            in_8_bits = kind == "level" and levels.max() <= 255  # in a file of 16, too
            soft = (levels / np.float32(255 if in_8_bits else planes.top)).astype(np.float32)
            return alpha_to_mask(soft, number), soft
        return self._plain(levels, planes, where, ignore), None

    def _plain(self, levels: Levels, planes: Planes, where: str, ignore: Mask) -> Mask:
        """The object by the rules for those who do not choose."""
        scored, top = levels[~ignore] if self.void else levels.reshape(-1), planes.top
        histogram = np.bincount(scored)
        used = np.flatnonzero(histogram)
        others, strays = used[used != 0], int(histogram[1:top].sum())
        is_cut = len(others) > 1
        many = strays >= STRAY_OF_ALL * scored.size
        many |= strays >= STRAY_OF_WHITE * int(histogram[top:].sum())
        if is_cut and (many or planes.is_palette):
            kind = "class ids" if planes.is_palette else "grey levels"
            shown = ", ".join(map(str, used[:6])) + (" ..." if len(used) > 6 else "")
            choice = "an id such as 1 or a threshold such as '>127' or '>0'"
            remedy = f"choose --mask-value, {choice}, and --ignore-value for void levels"
            raise broken(where, f"{len(used)} {kind} ({shown}) in a mask", remedy)
        if len(others):
            level = 255 if is_cut or others[0] == top else int(others[0])
            self.object_level = self.object_level or (level, where)
            first, place = self.object_level
            if first != level:
                problem = f"the object has level {level} here and {first} in {place}"
                raise broken(where, problem, "choose --mask-value, such as '>0'")
        self.tally["stray pixels neither 0 nor 255 cut at 127"] += is_cut * strays
        return np.asarray(levels > (top // 2 if is_cut else 0))


def parse_mask_value(raw: str | None) -> MaskValue:
    """Split a mask value into its parts."""
    if raw is None:
        return MaskValue("plain")
    value = raw.strip().lower()
    if value in ("alpha", "soft"):
        return MaskValue(value, 0.5)
    if re.fullmatch("#[0-9a-f]{6}", value):
        return MaskValue("colour", int(value[1:], 16))
    if re.fullmatch("[0-9]{1,5}", value) and int(value) <= 65535:
        return MaskValue("id", int(value))
    if re.fullmatch(r">([0-9]+\.?|[0-9]*\.[0-9]+)", value):
        number, kind = float(value[1:]), "threshold"
        if number > 1 or "." not in value:  # a level of 8 bits, or of 16 above 255
            number, kind = number / (255 if number <= 255 else 65535), "level"
        if number < 1:
            return MaskValue(kind, number)
    examples = "give 7, '#ff0000', '>127', '>0.9' or alpha"
    raise broken(f"mask value {raw!r:.40}", "not understood", examples)


def _levels(planes: Planes, where: str, *, strict: bool) -> Levels:
    """Levels that tell the object: the grey ones, or the alpha channel where the grey is flat."""
    grey, opacity = planes.grey, planes.opacity
    if grey is None:
        raise broken(where, "a coloured image", "choose --mask-value, such as '#ff0000' or alpha")
    if opacity is None:
        return grey
    hidden = opacity <= 127
    if (grey == grey.flat[0]).all() and hidden.any() and not hidden.all():
        return opacity
    # A few transparent pixels are strays: the paper's own truth has up to four.
    if strict and (hidden & (grey > planes.top // 2)).sum() >= STRAY_OF_ALL * grey.size:
        problem = "its transparent pixels are white: the object may be white or opaque"
        raise broken(where, problem, f"choose --mask-value {planes.top} (white) or alpha (opaque)")
    return grey


def mask_image(data: bytes, where: str) -> Planes:
    """Decode a mask image, see `l4f_datagen.io.photo.mask_planes`."""
    try:
        return mask_planes(data, where)
    except InputRefused as error:
        raise AnnotationRefused(error.subject, error.problem, error.remedy) from error


def object_mask(data: bytes, where: str) -> Mask:
    """Pixels of the one object that a tool wrote as an image of its own; bool ``h w``.

    Tools write white on black, the class colour on transparent, or black on transparent: the object
    is what is opaque and not black, and where everything opaque is black, what is opaque.
    """
    planes = mask_image(data, where)
    if planes.grey is None or planes.is_palette:
        drawn = (planes.colours() > 0).any(axis=2)
    else:
        drawn = planes.grey > 0
    opaque = planes.opacity is None or planes.opacity > 127
    if np.all(opaque):
        return np.asarray(drawn)
    return np.asarray(drawn & opaque if (drawn & opaque).any() else opaque)
