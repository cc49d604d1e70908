"""Photo: a picture file of anybody, turned upright and into RGB, or refused in one line.

EXIF orientation is applied; 16-bit grey is scaled to 8 bits; CMYK, palettes and grey become RGB;
transparent pixels are shown on black. Of several pictures in one file the first counts.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from l4f_datagen.core.errors import InputRefused

STARTS = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG",),
    "WEBP": (b"RIFF",),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*"),
    "GIF": (b"GIF8",),
}
"""What files of a format begin with, however they end."""
FORMATS = tuple(STARTS)
MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N")
REMEDY = "remove or replace it"
MAX_PIXELS = 64_000_000
SMALLEST = 0.5
"""Of the generator's side: smaller pictures, enlarged, give themselves away by their blur."""


@contextmanager
def opened(
    source: Path | bytes, subject: str, formats: tuple[str, ...] | None = None
) -> Iterator[Image.Image]:
    """Open a picture for the block, which checks its size before it takes the pixels.

    Args:
        source: a file or its bytes.
        subject: names it in the refusal.
        formats: those of ``FORMATS`` that are read; None: all that Pillow knows.

    Raises:
        InputRefused: no picture, or one that is damaged, as far as the block reads it.
    """
    known, start = formats or FORMATS, b""
    try:
        with (
            warnings.catch_warnings(),
            source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as stream,
        ):
            warnings.simplefilter("ignore")  # what Pillow warns of is checked or refused
            start = stream.read(4)
            with Image.open(stream, formats=formats) as image:
                yield image
    except InputRefused:
        raise
    except Image.DecompressionBombError as error:
        raise InputRefused(subject, "is far beyond 64 megapixels", "shrink it") from error
    except UnidentifiedImageError as error:  # its text names an address in memory
        problem = f"is not a readable image (known are {', '.join(known)})"
        if start.startswith(tuple(mark for name in known for mark in STARTS[name])):
            problem = "is damaged"
        raise InputRefused(subject, problem, REMEDY) from error
    except Exception as error:  # Pillow's decoders raise at will on foreign bytes
        said = isinstance(error, OSError) and error.strerror  # without the path
        reason = " ".join((said or str(error)).split())[:120] or type(error).__name__
        problem = f"is {'damaged' if start else 'not a readable image'} ({reason})"
        raise InputRefused(subject, problem, REMEDY) from error


def upright_rgb(image: Image.Image, subject: str) -> Image.Image:
    """Decode an opened picture as RGB, turned as its EXIF says.

    Raises:
        InputRefused: pixels of a kind that no camera and no painter writes.
    """
    if image.mode not in (*MODES, *WIDE):
        problem = f"has pixels of kind {image.mode}"
        raise InputRefused(subject, problem, "save it as RGB or grey with 8 or 16 bits")
    image.load()
    with suppress(Exception):  # broken EXIF says nothing of how the picture was held
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode in WIDE:  # Pillow would clip them
        levels = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(np.rint(levels / 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        shown = image.convert("RGBA")
        black = Image.new("RGBA", shown.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, shown).convert("RGB")
    return image.convert("RGB")


def read_square(path: Path, side: int) -> NDArray[np.uint8]:
    """Read an image file as ``side side 3`` uint8; see ``fit_square``."""
    return fit_square(path, side, str(path))


def fit_square(source: Path | bytes, side: int, subject: str) -> NDArray[np.uint8]:
    """Return an image as ``side side 3`` uint8, whole and centred on black (letterboxed).

    LSUN-Car's generator draws 4:3 pictures between black bars; its reals must look the same.

    Raises:
        InputRefused: not an image, larger than 64 megapixels, or far smaller than ``side``.
    """
    with opened(source, subject) as image:
        size = f"{image.width} x {image.height}"
        if image.width * image.height > MAX_PIXELS:
            raise InputRefused(subject, f"is {size} pixels, at most 64 MP", "shrink it")
        if max(image.size) < SMALLEST * side:
            problem = f"is {size} pixels, the generator draws {side} x {side}"
            raise InputRefused(subject, problem, "take pictures of at least half that side")
        whole = upright_rgb(image, subject)
    scale = side / max(whole.size)
    width, height = (max(1, round(length * scale)) for length in whole.size)
    fitted = whole.resize((width, height), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (side, side))
    canvas.paste(fitted, ((side - width) // 2, (side - height) // 2))
    return np.asarray(canvas)
