"""Mask rule: which pixels of a mask image are the object, and which are not scored.

Without a choice the rules are, in this order:

1. Grey levels count, an alpha channel does not, with two exceptions. Where the grey is one flat
   level, the alpha channel is the mask (white on transparent). Where transparent pixels are white,
   either could be the object: refused.
2. Levels 0 and white (255, or 65535 in a 16-bit file) only: white is the object.
3. Nearly so: fewer than 0.5 % of the pixels, and fewer than 5 % of the white ones, have other
   levels (stray anti-aliasing of annotation tools). Levels above the middle are the object; the
   strays are counted.
4. 0 and one other level: class ids, the other level is the object, and it must be the same level in
   the whole set.
5. Anything else is refused: ids need ``mask_value="7"``, soft edges ``">127"``, colours
   ``"#ff0000"``, cut-outs ``"alpha"``. With an id chosen, level 255 of an 8-bit file is void.

Levels or colours of ``ignore_value`` are not scored and not looked at.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.core.errors import AnnotationRefused, InputRefused
from l4f_datagen.core.masks import alpha_to_mask
from l4f_datagen.io.photo import Planes, mask_planes

from .bundle import Bundle
from .drawing import Canvas, Mask
from .records import Size, broken
from .truth import TruthItem, TruthMask, TruthOptions, TruthSet

# The paper's own truth has up to 60 such pixels of 262,144, some 0.06 % of the white ones.
STRAY_OF_ALL = 0.005
STRAY_OF_WHITE = 0.05
STRAYS = "stray pixels neither 0 nor 255 cut at 127"
VOID_LEVEL = 255  # of class ids, since VOC 2007


class MaskEntry(NamedTuple):
    """An image of a set."""

    name: str
    where: str  # its place, for errors
    # Its masks with the place of each; without a mask nobody annotated the image.
    masks: Sequence[tuple[str, Callable[[], bytes]]]


def truth_from_masks(
    bundle: Bundle, format_name: str, entries: Sequence[MaskEntry], options: TruthOptions
) -> TruthSet:
    """Truth of mask images, decoded when they are loaded; several masks of one image are joined."""
    rule = MaskRule(options, bundle.source)
    truth = TruthSet(bundle.source, format_name, ())

    def item(entry: MaskEntry) -> TruthItem:
        def decode(fallback: Size | None) -> TruthMask:
            parts = [
                rule.apply(mask_image(fetch(), where), where, truth.tally)
                for where, fetch in entry.masks
            ]
            if not parts:
                return TruthMask(Canvas(fallback, entry.where, truth.tally).empty())
            return parts[0] if len(parts) == 1 else _union(parts, entry.where)

        return TruthItem(entry.name, None, decode)

    missing = [entry.name for entry in entries if not entry.masks]
    truth.unannotated = len(missing)
    skip = options.unannotated == "skip"
    truth.left_out = tuple(missing) if skip else ()
    truth.items = [item(entry) for entry in entries if entry.masks or not skip]
    return truth


def _union(parts: list[TruthMask], where: str) -> TruthMask:
    if len({part.mask.shape for part in parts}) > 1:
        raise broken(where, "its masks differ in size", "export them again")
    mask = np.logical_or.reduce([part.mask for part in parts])
    voids = [part.ignore for part in parts if part.ignore is not None]
    return TruthMask(mask, np.logical_or.reduce(voids) & ~mask if voids else None)


class MaskValue(NamedTuple):
    """A parsed mask value: its kind, its level or fraction, its colour."""

    kind: str
    number: float = 0.0
    colour: tuple[int, int, int] = (0, 0, 0)


class MaskRule:
    """The rule of one set, with the object's level as far as the set has shown it."""

    def __init__(self, options: TruthOptions, source: str) -> None:
        named = options.ignore_category or options.category not in ((), ("*",))
        if named:
            problem = "mask images have no class names"
            raise broken(source, problem, "give --mask-value, not --category")
        self.exact_white = options.exact_white
        self.value = parse_mask_value(options.mask_value)
        self.void = [parse_mask_value(value) for value in options.ignore_value]
        if any(value.kind not in ("id", "colour") for value in self.void):
            problem = f"ignore value {options.ignore_value!r:.40}"
            raise broken(source, problem, "give an id such as 3 or a colour '#ff0000'")
        self.object_level: tuple[int, str] | None = None

    def apply(self, planes: Planes, where: str, tally: Counter[str]) -> TruthMask:
        """Turn one image into a mask."""
        ignore = self._ignored(planes, tally)
        decoded = self._decode(planes, where, ignore, tally)
        if ignore is None:
            return decoded
        return TruthMask(decoded.mask & ~ignore, ignore, decoded.alpha)

    def _ignored(self, planes: Planes, tally: Counter[str]) -> Mask | None:
        void = self.void
        if self.value.kind == "id" and self.value.number != VOID_LEVEL and planes.top == 255:
            void = [*void, MaskValue("id", VOID_LEVEL)]
        if not void:
            return None
        ignore = np.zeros(planes.size_hw, np.bool_)
        for value in void:
            found = _equals(planes, value)
            name = f"level {value.number:g}"
            if value.kind == "colour":
                name = "colour #" + bytes(value.colour).hex()
            tally[f"void pixels ({name}) ignored"] += int(found.sum())
            ignore |= found
        return ignore if ignore.any() else None

    def _decode(
        self, planes: Planes, where: str, ignore: Mask | None, tally: Counter[str]
    ) -> TruthMask:
        kind, number, _ = self.value
        if self.exact_white:
            return TruthMask(_grey(planes) == planes.top)
        if kind == "colour":
            return TruthMask(_equals(planes, self.value))
        if kind == "alpha":
            if planes.opacity is None:
                raise broken(where, "no alpha channel", "choose another mask value")
            soft = (planes.opacity / np.float32(255)).astype(np.float32)
            return TruthMask(alpha_to_mask(soft, 0.5), alpha=soft)
        levels = _levels(planes, where, strict=kind == "plain")
        if kind == "id":
            return TruthMask(np.asarray(levels == int(number)))
        if kind in ("threshold", "level", "soft"):
            in_8_bits = kind == "level" and levels.max() <= 255  # in a file of 16, too
            top = 255 if in_8_bits else planes.top
            soft = (levels / np.float32(top)).astype(np.float32)
            return TruthMask(alpha_to_mask(soft, number), alpha=soft)
        return TruthMask(self._plain(levels, planes, where, ignore, tally))

    def _plain(
        self,
        levels: NDArray[np.unsignedinteger],
        planes: Planes,
        where: str,
        ignore: Mask | None,
        tally: Counter[str],
    ) -> Mask:
        scored = levels if ignore is None else levels[~ignore]
        histogram = np.bincount(scored.reshape(-1))
        used = np.flatnonzero(histogram)
        counts = histogram[used]
        top = planes.top
        white = int(counts[used == top].sum())
        strays = int(counts[(used != 0) & (used != top)].sum())
        others = used[used != 0]
        if len(others) == 1:
            self._settle(255 if others[0] == top else int(others[0]), where)
        if len(others) <= 1:
            return np.asarray(levels != 0)
        few = strays < STRAY_OF_ALL * scored.size and strays < STRAY_OF_WHITE * white
        if few and not planes.is_palette:
            self._settle(255, where)
            tally[STRAYS] += strays
            return np.asarray(levels > top // 2)
        kind = "class ids" if planes.is_palette else "grey levels"
        shown = ", ".join(str(level) for level in used[:6]) + (" ..." if len(used) > 6 else "")
        choice = "an id such as 1 or a threshold such as '>127' or '>0'"
        remedy = f"choose --mask-value, {choice}, and --ignore-value for void levels"
        raise broken(where, f"{len(used)} {kind} ({shown}) in a mask", remedy)

    def _settle(self, level: int, where: str) -> None:
        if self.object_level is None:
            self.object_level = (level, where)
        elif self.object_level[0] != level:
            first, place = self.object_level
            problem = f"the object has level {level} here and {first} in {place}"
            raise broken(where, problem, "choose --mask-value, such as '>0'")


def parse_mask_value(raw: str | None) -> MaskValue:
    """Split a mask value into its parts."""
    if raw is None:
        return MaskValue("plain")
    value = raw.strip().lower()
    if value in ("alpha", "soft"):
        return MaskValue(value, 0.5)
    try:
        if value.startswith("#") and len(value) == 7:
            red, green, blue = bytes.fromhex(value[1:])
            return MaskValue("colour", colour=(red, green, blue))
        if value.startswith(">"):
            number = float(value[1:])
            kind = "level" if number > 1 or "." not in value else "threshold"
            if kind == "level":  # of 8 bits, or of 16 above 255
                number /= 255 if number <= 255 else 65535
            if 0 <= number < 1:
                return MaskValue(kind, number)
        elif 0 <= int(value) <= 65535:
            return MaskValue("id", int(value))
    except ValueError:
        pass  # falls through to the one error below
    remedy = "give 7, '#ff0000', '>127', '>0.9' or alpha"
    raise broken(f"mask value {raw!r:.40}", "not understood", remedy)


def _grey(planes: Planes) -> NDArray[np.unsignedinteger]:
    """Grey levels; of colours their luminance."""
    if planes.grey is not None and not planes.is_palette:
        return planes.grey
    weights = np.asarray([299, 587, 114], np.int64)  # ITU-R 601, as Pillow's L
    return ((planes.colours().astype(np.int64) @ weights + 500) // 1000).astype(np.uint8)


def _equals(planes: Planes, value: MaskValue) -> Mask:
    """Pixels of one id, or of one colour."""
    if value.kind == "colour":
        return np.asarray((planes.colours() == np.asarray(value.colour, np.uint8)).all(axis=2))
    if planes.grey is None:
        return np.zeros(planes.size_hw, np.bool_)
    return np.asarray(planes.grey == int(value.number))


def _levels(planes: Planes, where: str, *, strict: bool) -> NDArray[np.unsignedinteger]:
    """Levels that tell the object: the grey ones, or the alpha channel where the grey is flat."""
    grey, opacity = planes.grey, planes.opacity
    if grey is None:
        problem = "a coloured image"
        raise broken(where, problem, "choose --mask-value, such as '#ff0000' or alpha")
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
