"""Photo: an image file from anywhere, turned upright and into RGB, or refused in one line.

EXIF orientation is applied; 16-bit grey is scaled to 8 bits; CMYK, palettes and grey become RGB;
transparent pixels are shown on black. Of several images in one file the first counts.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
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
"""What files of a format begin with, whatever their names end in."""
FORMATS = tuple(STARTS)
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
"""What the names of photographs end in; other files are ignored, and counted."""
MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N")
REMEDY = "remove or replace it"
MAX_PIXELS = 64_000_000
"""Of an image in a store of photographs."""


@contextmanager
def opened(
    source: Path | bytes, subject: str, formats: tuple[str, ...] | None = None
) -> Iterator[Image.Image]:
    """Open an image for the block, which checks its size before it decodes the pixels.

    Args:
        source: a file or its bytes.
        subject: names it in the refusal.
        formats: those of ``FORMATS`` that are read; None: all that Pillow knows.

    Raises:
        InputRefused: no image, or one that is damaged, as far as the block reads it.
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
    """Decode an opened image as RGB, turned as its EXIF says.

    Raises:
        InputRefused: pixels of a kind that no camera writes.
    """
    if image.mode not in (*MODES, *WIDE):
        problem = f"has pixels of kind {image.mode}"
        raise InputRefused(subject, problem, "save it as RGB or grey with 8 or 16 bits")
    image.load()
    with suppress(Exception):  # broken EXIF says nothing about the orientation
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode in WIDE:  # Pillow would clip them
        levels = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(np.rint(levels / 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        shown = image.convert("RGBA")
        black = Image.new("RGBA", shown.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, shown).convert("RGB")
    return image.convert("RGB")
