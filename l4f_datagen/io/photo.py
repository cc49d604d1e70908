"""Image files: the one decoder for photographs, masks and mattes, and the encoder of PNG.

EXIF orientation is applied to every image. A photograph becomes RGB: 16-bit grey is scaled to 8
bits, CMYK, palettes and grey are converted, transparent pixels are shown on black. A mask becomes
`Planes`, which keep ids, 16-bit levels and the alpha channel as they are. The first frame of a file
counts.
"""

import io
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import deflate
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
}  # what files of a format begin with, whatever their names end in
FORMATS = tuple(STARTS)
SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jpg", ".jpeg")
MAX_PIXELS = 1 << 26  # 8192 x 8192: a decoded RGBA image takes 256 MiB, whatever its header says
MAX_SIDE = 1 << 16  # what a JPEG's header can say at most, and one
MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N")
REMEDY = "remove or replace it"


@contextmanager
def opened(
    source: Path | bytes, subject: str, formats: tuple[str, ...] | None = None
) -> Iterator[Image.Image]:
    """Open an image for the block; its size is checked before any pixel is decoded.

    ``subject`` names it in the refusal. Only ``formats`` are read, None: all that Pillow knows.
    InputRefused for what is no image, larger than the limits, or damaged, as far as it is read.
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
                if max(image.size) > MAX_SIDE or image.width * image.height > MAX_PIXELS:
                    most = "64 MP" if max(image.size) <= MAX_SIDE else f"{MAX_SIDE} a side"
                    problem = f"is {image.width} x {image.height} pixels, at most {most} are read"
                    raise InputRefused(subject, problem, "shrink it")
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
    except Exception as error:  # Pillow's decoders raise many kinds of errors on foreign bytes
        said = isinstance(error, OSError) and error.strerror  # without the path
        reason = " ".join((said or str(error)).split())[:120] or type(error).__name__
        problem = f"is {'damaged' if start else 'not a readable image'} ({reason})"
        raise InputRefused(subject, problem, REMEDY) from error


def upright_rgb(image: Image.Image, subject: str) -> Image.Image:
    """Decode an opened image as RGB, turned as its EXIF says; other kinds of pixels are refused."""
    if image.mode not in (*MODES, *WIDE):
        problem = f"has pixels of kind {image.mode}"
        raise InputRefused(subject, problem, "save it as RGB or grey with 8 or 16 bits")
    _load_upright(image)
    if image.mode in WIDE:  # Pillow would clip them
        levels = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(np.rint(levels / 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        shown = image.convert("RGBA")
        black = Image.new("RGBA", shown.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, shown).convert("RGB")
    return image.convert("RGB")


def _load_upright(image: Image.Image) -> None:
    image.load()
    with suppress(Exception):  # broken EXIF holds no orientation
        ImageOps.exif_transpose(image, in_place=True)


def upright_size_hw(data: bytes, subject: str) -> tuple[int, int]:
    """Return height and width of an image as it is shown, from its header alone."""
    with opened(data, subject, FORMATS) as image:
        width, height = image.size
        with suppress(Exception):  # broken EXIF holds no orientation
            if image.getexif().get(0x0112) in (5, 6, 7, 8):  # the sides are swapped
                return width, height
        return height, width


@dataclass(frozen=True)
class Planes:
    """A decoded mask image: its levels, colours and alpha channel, nothing scaled or blended."""

    # ``h w`` levels or palette ids, uint16 of a 16-bit file; None where the image has colours.
    grey: NDArray[np.uint8] | NDArray[np.uint16] | None
    rgb: NDArray[np.uint8] | None = None  # ``h w 3``; None where it is plainly grey
    opacity: NDArray[np.uint8] | None = None  # ``h w`` alpha channel
    is_palette: bool = False  # the grey levels are palette ids

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width."""
        plane = np.asarray(self.grey if self.grey is not None else self.rgb)
        return plane.shape[0], plane.shape[1]

    @property
    def top(self) -> int:
        """Level of white: 255, or 65535 in a 16-bit file."""
        return 65535 if self.grey is not None and self.grey.dtype == np.uint16 else 255

    def colours(self) -> NDArray[np.uint8]:
        """The image as uint8 ``h w 3``."""
        if self.rgb is not None:
            return self.rgb
        grey = np.asarray(self.grey)
        if grey.dtype == np.uint16:
            grey = np.rint(grey / 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)


def mask_planes(data: bytes, subject: str) -> Planes:
    """Decode the bytes of a mask image, turned as its EXIF says.

    InputRefused as in ``opened``, or for pixels of another kind than grey, palette or RGB.
    """
    with opened(data, subject, FORMATS) as image:
        mode = image.mode
        if mode not in ("1", "L", "LA", "P", "RGB", "RGBA", *WIDE):
            problem = f"has pixels of kind {mode}"
            raise InputRefused(subject, problem, "save the mask as an 8-bit or 16-bit PNG")
        # Pillow keeps the upper byte of 16-bit colours: levels below 256 would read as black.
        is_cut = mode in ("LA", "RGB", "RGBA") and ";16" in str(getattr(image, "tile", ""))
        _load_upright(image)
        if mode == "P":  # class ids, except where the used colours are plain black and white
            ids, rgba = np.asarray(image), np.asarray(image.convert("RGBA"))
            rgb = rgba[:, :, :3]
            used = rgb.reshape(-1, 3)[np.unique(ids, return_index=True)[1]]
            is_plain = bool(np.isin(used, (0, 255)).all() and (used == used[:, :1]).all())
            shown = rgba[:, :, 3] if "transparency" in image.info else None
            return Planes(rgb[:, :, 0] if is_plain else ids, rgb, shown, not is_plain)
        if mode in WIDE:
            levels = np.asarray(image)
            if levels.min() < 0 or levels.max() > 65535:
                raise InputRefused(subject, "levels outside 16 bits", "save it with 8 or 16 bits")
            return Planes(levels.astype(np.uint16))
        if mode in ("1", "L"):
            return Planes(np.asarray(image.convert("L")))
        pixels = np.asarray(image)
        rgb, red = pixels[:, :, :3], pixels[:, :, 0]
        if is_cut and not (pixels if mode == "RGB" else pixels[:, :, :-1]).any():
            raise InputRefused(subject, "16-bit colours near black", "save it as 16-bit grey")
        opacity = None if mode == "RGB" else pixels[:, :, -1]
        if mode == "LA" or (rgb == red[:, :, None]).all():
            return Planes(red, opacity=opacity)
        return Planes(None, rgb, opacity)


Pixels = NDArray[Any]
Filter = Literal["none", "up", "average"]

FILTER_TYPES: dict[Filter, int] = {"none": 0, "up": 2, "average": 3}
"""Byte before each row (PNG specification, 9.2)."""
COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # channels to colour type: grey, RGB, RGBA
LEVEL = 1
"""On 64 images of toy-cars 58 us an image. Levels 2 and 6 take 94 and 107 us for files 1 % larger,
level 12 takes 591 us for files 0.5 % smaller."""
CHUNK_BYTES = 2**18  # filtered at once: the rows and what comes of them stay in a core's cache
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encode_pngs(images: Sequence[Pixels] | Pixels, filter_name: Filter) -> list[bytes]:
    """Encode images of one size and kind as PNG; the same pixels give the same bytes.

    ``images`` are uint8 or uint16 ``h w``, or uint8 ``h w 3`` or ``h w 4``, a list or one array.
    Of the filters "average" is best for images, "up" for mattes, "none" for masks.

    An encoder that takes small images one by one spends its time on everything but pixels; on large
    ones deflating takes the time. Both let other threads run. Faster deflaters than libdeflate
    exist, but their output depends on the CPU and on uninitialised memory; that of one version of
    libdeflate depends on the pixels alone.
    """
    if len(images) == 0:
        return []
    height, width, *rest = images[0].shape
    channels = rest[0] if rest else 1
    depth = images[0].itemsize
    head = struct.pack(">IIBBBBB", width, height, 8 * depth, COLOUR_TYPES[channels], 0, 0, 0)
    before, after = SIGNATURE + _chunk(b"IHDR", head), _chunk(b"IEND", b"")
    step = max(1, CHUNK_BYTES // images[0].nbytes)
    files = []
    for start in range(0, len(images), step):
        stack = np.stack(list(images[start : start + step]))
        rows: NDArray[np.uint8] = stack.astype(">u2").view(np.uint8) if depth == 2 else stack
        rows = rows.reshape(len(stack), height, width * channels * depth)
        for filtered in _filter_rows(rows, filter_name, channels * depth):
            data = deflate.zlib_compress(filtered.data, LEVEL)
            files.append(before + _chunk(b"IDAT", data) + after)
    return files


def _filter_rows(rows: NDArray[np.uint8], name: Filter, pixel_bytes: int) -> NDArray[np.uint8]:
    """Filter ``n h bytes``; the rows come back with their filter's number: ``n h 1+bytes``."""
    number, height, length = rows.shape
    filtered = np.empty((number, height, 1 + length), np.uint8)
    filtered[:, :, 0] = FILTER_TYPES[name]
    out = filtered[:, :, 1:]
    if name == "none":
        out[:] = rows
    elif name == "up":
        out[:, :1] = rows[:, :1]
        np.subtract(rows[:, 1:], rows[:, :-1], out=out[:, 1:])
    else:
        # Less the mean of left and above, rounded down: of bytes, without a carry. Outside is 0.
        above, left = np.zeros_like(rows), np.zeros_like(rows)
        above[:, 1:] = rows[:, :-1]
        left[:, :, pixel_bytes:] = rows[:, :, :-pixel_bytes]
        np.subtract(rows, (above & left) + ((above ^ left) >> 1), out=out)
    return filtered


def _chunk(kind: bytes, data: bytes | bytearray) -> bytes:
    checksum = deflate.crc32(data, deflate.crc32(kind))
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)))
