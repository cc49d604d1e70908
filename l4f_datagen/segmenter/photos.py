"""Photographs: the image files of a file, a folder or a zip, decoded as ``photo`` says.

Of the pictures a phone stores in one JPEG the first counts.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from l4f_datagen.annotations.bundle import Bundle, open_bundle
from l4f_datagen.annotations.truth import MAX_PIXELS, MAX_SIDE
from l4f_datagen.core.errors import InputRefused
from l4f_datagen.io.photo import FORMATS, opened, upright_rgb

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
TURNED = range(5, 9)
"""EXIF orientations that swap width and height."""

ENDINGS = " ".join(SUFFIXES)


@dataclass(frozen=True)
class Photo:
    """A decoded photograph.

    Attributes:
        image: uint8 ``h w 3``, RGB, upright.
        is_turned: whether the file stores it lying on its side.
    """

    image: NDArray[np.uint8]
    is_turned: bool = False


@dataclass(frozen=True)
class Photos:
    """The photographs of a file, a folder or a zip; each is decoded when it is asked for.

    Attributes:
        names: relative posix names, sorted.
        bundle: gives their bytes.
    """

    names: tuple[str, ...]
    bundle: Bundle

    def load(self, name: str) -> Photo:
        """Decode one.

        Raises:
            InputRefused: cannot be read, is no picture or too large a one.
        """
        return decode_photo(self.bundle.read(name), self.bundle.subject(name))


def open_photos(path: Path) -> Photos:
    """List the photographs of a file, of a folder and those below it, or of a zip.

    Raises:
        InputRefused: no such file, none in it, or a zip that is not read.
    """
    if path.is_dir() and not any(path.iterdir()):
        raise InputRefused(str(path), f"holds no image ({ENDINGS})", "name a folder of images")
    bundle = open_bundle(path)
    names = bundle.names
    if bundle.kind != "file":
        names = tuple(name for name in names if name.lower().endswith(SUFFIXES))
    if not names:
        raise InputRefused(str(path), f"holds no image ({ENDINGS})", "name a folder of images")
    return Photos(names, bundle)


def stems_of(photos: Photos) -> dict[str, str]:
    """Return name -> path without suffix, posix, under which its mask is written.

    Raises:
        InputRefused: two photographs that would share a mask.
    """
    stems = {name: PurePosixPath(name).with_suffix("").as_posix() for name in photos.names}
    seen: dict[str, str] = {}
    for name, stem in stems.items():
        if stem in seen:
            problem = f"{seen[stem]} and {name} would share one mask"
            raise InputRefused(photos.bundle.source, problem, "rename one of them")
        seen[stem] = name
    return stems


def decode_photo(data: bytes, subject: str) -> Photo:
    """Decode the bytes of an image file; its size is checked before pixels are.

    Raises:
        InputRefused: no picture, damaged, too large, several pictures, or of an unknown kind.
    """
    with opened(data, subject, FORMATS) as image:
        _check(image, subject)
        is_turned = _is_turned(image)
        return Photo(np.asarray(upright_rgb(image, subject)), is_turned)


def _check(image: Image.Image, subject: str) -> None:
    if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
        size = f"{image.width} x {image.height}"
        problem = f"is {size} pixels, at most {MAX_PIXELS >> 20} Mi are read"
        raise InputRefused(subject, problem, "shrink it")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise InputRefused(subject, f"holds {frames} pictures", "save the one you mean")


def _is_turned(image: Image.Image) -> bool:
    if image.format != "TIFF":  # which Pillow turns as it reads, and forgets that it has
        image.load()  # a PNG keeps its EXIF anywhere, and damage is no fault of that
    with suppress(Exception):  # broken EXIF turns nothing
        return image.getexif().get(ExifTags.Base.Orientation) in TURNED
    return False
