"""Photographs of a store, checked before any work begins, and brought to a generator's canvas."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.io.photo import FORMATS, SUFFIXES, opened, upright_rgb

logger = logging.getLogger(__name__)

Fit = Literal["crop", "pad"]
Box = tuple[int, int, int, int]  # left, top, right, bottom, in px of the canvas

SMALLEST = 0.5  # of the generator's image: smaller ones, enlarged, are recognised by their blur
UNUSABLE_SHARE = 0.05  # so many may be damaged or too small and are skipped; more are a mistake
NAMED = 5  # unusable photographs named in the log
CUT = 0.01  # share of its area from which a photograph counts as cut: below, sizes were rounded
TURNED = range(5, 9)  # EXIF orientations that swap width and height


@dataclass(frozen=True)
class Store:
    """Photographs that can be counted and read by number; errors as in ``photo.opened``."""

    source: str  # what the user named
    count: int
    subject: Callable[[int], str]  # number -> name for messages
    encoded: Callable[[int], Path | bytes]  # number -> image file, or its bytes
    ignored: Mapping[str, int] = field(default_factory=dict)  # ending -> files that are not read

    def __len__(self) -> int:
        return self.count

    def size(self, number: int) -> tuple[int, int]:
        """Return width and height, upright, from the header alone."""
        with opened(self.encoded(number), self.subject(number), FORMATS) as image:
            # A PNG keeps its EXIF anywhere: to find it, all pixels would be decoded.
            stored = image.format != "PNG" and image.getexif().get(ExifTags.Base.Orientation)
            return image.size[::-1] if stored in TURNED else image.size

    def read(self, number: int) -> NDArray[np.uint8]:
        """Return a photograph, ``h w 3`` RGB, upright."""
        subject = self.subject(number)
        with opened(self.encoded(number), subject, FORMATS) as image:
            return np.asarray(upright_rgb(image, subject))


def fit_image(
    image: NDArray[np.uint8], side: int, crop: Box | None = None, fit: Fit = "crop"
) -> NDArray[np.uint8]:
    """Bring a photograph ``h w 3`` to a square canvas, ``side side 3``.

    ``crop`` is the part of the canvas that the generator draws in, None: all of it. The rest is
    black, as in the images of LSUN-Car's generator, which are 4:3. The fit ``crop`` cuts the middle
    of the photograph to the aspect of that part and fills it; ``pad`` keeps the photograph whole,
    centred on black.
    """
    height, width = image.shape[:2]
    left, top, right, bottom = crop or (0, 0, side, side)
    scale = enlargement((width, height), side, crop, fit)
    if fit == "pad":
        size = max(1, round(width * scale)), max(1, round(height * scale))
        left, top = (side - size[0]) // 2, (side - size[1]) // 2
        middle = (0.0, 0.0, float(width), float(height))
    else:
        size = right - left, bottom - top
        x, y = (width - size[0] / scale) / 2, (height - size[1] / scale) / 2
        middle = (x, y, width - x, height - y)
    canvas = Image.new("RGB", (side, side))
    fitted = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, box=middle)
    canvas.paste(fitted, (left, top))
    return np.asarray(canvas)


def enlargement(
    size: tuple[int, int], side: int, crop: Box | None = None, fit: Fit = "crop"
) -> float:
    """Factor that `fit_image` enlarges a photograph of ``(width, height)`` by."""
    left, top, right, bottom = crop or (0, 0, side, side)
    if fit == "pad":
        return side / max(size)
    return max((right - left) / size[0], (bottom - top) / size[1])


@dataclass(frozen=True)
class Photographs:
    """The usable photographs of a store, on the canvas of a generator; see ``fit_image``."""

    store: Store
    numbers: Sequence[int]  # of the usable ones in the store
    side: int
    crop: Box | None = None
    fit: Fit = "crop"
    _damaged: set[int] = field(default_factory=set, compare=False)

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self, place: int) -> NDArray[np.uint8]:
        """Return one photograph, ``side side 3``.

        Damage that no header shows costs one warning, and the next photograph is taken;
        InputRefused where more than ``UNUSABLE_SHARE`` are damaged.
        """
        while True:
            number = self.numbers[place % len(self.numbers)]
            try:
                image = self.store.read(number)
            except InputRefused as error:
                if number not in self._damaged:
                    self._damaged.add(number)
                    if len(self._damaged) > UNUSABLE_SHARE * len(self):
                        raise
                    logger.warning("%s; the next photograph is used in its place", error)
                place += 1
            else:
                return fit_image(image, self.side, self.crop, self.fit)


def check_photographs(
    store: Store, side: int, *, crop: Box | None = None, fit: Fit = "crop", batch: int = 1
) -> Photographs:
    """Read the header of every photograph, report what is found, and leave out what is unusable.

    ``side``, ``crop`` and ``fit`` as in ``fit_image``; fewer photographs than a ``batch``, those of
    one training step, cost a warning. InputRefused where more than ``UNUSABLE_SHARE`` are
    unreadable or smaller than half the image.
    """
    left, top, right, bottom = crop or (0, 0, side, side)
    drawn = right - left, bottom - top
    wanted = f"{drawn[0]} x {drawn[1]}"
    sizes: dict[int, tuple[int, int]] = {}
    errors = []
    for number in range(len(store)):
        try:
            width, height = store.size(number)
            if enlargement((width, height), side, crop, fit) > 1 / SMALLEST:
                problem = f"is {width} x {height} pixels, the generator draws {wanted}"
                remedy = "take photographs of at least half of either side"
                raise InputRefused(store.subject(number), problem, remedy)
        except InputRefused as error:
            errors.append(error)
        else:
            sizes[number] = width, height
    unusable = f"{len(errors)} of {len(store)} photographs cannot be used"
    if len(errors) > UNUSABLE_SHARE * len(store):
        if len(store) == 1:
            raise errors[0]
        problem = f"{unusable}, the first: {errors[0].subject} {errors[0].problem}"
        raise InputRefused(store.source, problem, errors[0].remedy)
    for refusal in errors[:NAMED]:
        logger.warning("%s", refusal)
    if errors:
        logger.warning("%s: %s and are skipped", store.source, unusable)
    if store.ignored:
        ignored = f"ignored are {counted_endings(store.ignored)}; images end in"
        logger.warning("%s: %s %s", store.source, ignored, " ".join(SUFFIXES))
    if len(sizes) < batch:
        few = f"{len(sizes)} photograph{'' if len(sizes) == 1 else 's'}"
        risk = "a discriminator soon knows them by heart; take some hundreds"
        logger.warning("%s: %s, fewer than a batch of %d: %s", store.source, few, batch, risk)
    shape = Fraction(1) if fit == "pad" else Fraction(*drawn)
    ratios = np.array([width / height / float(shape) for width, height in sizes.values()])
    lost = 1 - np.minimum(ratios, 1 / ratios)
    cut = lost[lost > CUT]
    if len(cut):
        count = f"{len(cut)} of {len(sizes)} photographs"
        shares = f"{100 * np.mean(cut):.0f} % on average, {100 * np.max(cut):.0f} % at most"
        if fit == "pad":
            words = f"{count} get black bars ({shares} of the canvas)"
            logger.warning("%s: %s", store.source, words)
        else:
            loss = f"cut to {shape.numerator}:{shape.denominator} ({shares} of their area)"
            words = f"the middle of {count} is {loss}; alpha.fit=pad keeps them whole"
            logger.info("%s: %s", store.source, words)
    return Photographs(store, list(sizes), side, crop, fit)


def counted_endings(ignored: Mapping[str, int]) -> str:
    """Return "3 .heic, 1 .txt"."""
    return ", ".join(f"{count} {ending}" for ending, count in sorted(ignored.items()))
