"""Photographs: image files of anybody, turned upright and into RGB, or refused in one line.

EXIF orientation is applied; 16-bit grey is scaled to 8 bits; CMYK, palettes and grey become RGB;
transparent pixels are shown on black. Of the pictures a phone stores in one JPEG the first counts.
"""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from l4f_datagen.annotations.bundle import Bundle, open_bundle
from l4f_datagen.annotations.truth import MAX_PIXELS, MAX_SIDE
from l4f_datagen.errors import InputRefused

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N")
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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of is checked or refused here
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check(image, subject)
                is_turned = image.getexif().get(ExifTags.Base.Orientation) in TURNED
                return Photo(_rgb(ImageOps.exif_transpose(image)), is_turned)
    except InputRefused:
        raise
    except Exception as error:  # Pillow's decoders raise at will on foreign bytes
        reason = " ".join(str(error).split())[:80].replace("<_io.BytesIO object at ", "")
        problem = "is damaged" if _known_start(data) else "is not a readable image"
        named = f" ({reason})" if _known_start(data) and reason else f" ({ENDINGS})"
        raise InputRefused(subject, problem + named, "remove or replace it") from error


def _check(image: Image.Image, subject: str) -> None:
    if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
        size = f"{image.width} x {image.height}"
        problem = f"is {size} pixels, at most {MAX_PIXELS >> 20} Mi are read"
        raise InputRefused(subject, problem, "shrink it")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise InputRefused(subject, f"holds {frames} pictures", "save the one you mean")
    if image.mode not in (*MODES, *WIDE):
        problem = f"has pixels of kind {image.mode}"
        raise InputRefused(subject, problem, "save it as RGB or grey with 8 or 16 bits")


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in WIDE:
        levels = np.asarray(image).astype(np.int64).clip(0, 65535)
        grey = np.rint(levels / 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        shown = image.convert("RGBA")
        black = Image.new("RGBA", shown.size, (0, 0, 0, 255))
        return np.asarray(Image.alpha_composite(black, shown).convert("RGB"))
    return np.asarray(image.convert("RGB"))


def _known_start(data: bytes) -> bool:
    starts = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"BM", b"II*\0", b"MM\0*", b"GIF8")
    return data.startswith(starts)
