"""Mask pictures: bytes of an image file to grey levels, colours and opacity, within limits."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.annotations.truth import checked_size
from l4f_datagen.core.errors import AnnotationRefused

FORMATS = ("PNG", "BMP", "TIFF", "WEBP", "GIF", "JPEG")
SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        grey: uint8 ``h w`` levels or palette ids; None where the picture is coloured.
        rgb: uint8 ``h w 3``; None where it is plainly grey.
        opacity: uint8 ``h w`` alpha channel, None without one.
        is_palette: the grey levels are palette ids.
        fine: uint16 ``h w`` levels of a 16-bit picture.
    """

    grey: NDArray[np.uint8] | None
    rgb: NDArray[np.uint8] | None = None
    opacity: NDArray[np.uint8] | None = None
    is_palette: bool = False
    fine: NDArray[np.uint16] | None = None

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width."""
        plane = self.grey if self.grey is not None else self.rgb
        if plane is None:
            raise ValueError("a picture holds grey levels or colours")
        return plane.shape[0], plane.shape[1]


def decode_picture(data: bytes, subject: str) -> Picture:
    """Decode the bytes of an image file.

    Raises:
        AnnotationRefused: no picture, broken, too large, or of a kind no mask comes in.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sizes are checked here, before pixels are decoded
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                checked_size(image.height, image.width, subject)
                image.load()
                return _planes(image, subject)
    except AnnotationRefused:
        raise
    except Exception as error:  # Pillow's decoders raise at will on foreign bytes
        what = "cut or broken" if data[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0") else "no picture"
        raise AnnotationRefused(subject, what, "export or copy the mask again") from error


def _planes(image: Image.Image, subject: str) -> Picture:
    mode = image.mode
    if mode == "P":
        return _palette(image)
    if mode in ("I", "I;16", "I;16B", "I;16L"):
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 65535:
            raise AnnotationRefused(subject, "levels outside 16 bits", "save an 8-bit mask")
        if levels.max() <= 255:
            return Picture(levels.astype(np.uint8))  # ids in a wide file
        fine = levels.astype(np.uint16)
        return Picture(np.rint(fine / 257).astype(np.uint8), fine=fine)
    if mode in ("1", "L"):
        return Picture(np.asarray(image.convert("L")))
    if mode == "LA":
        planes = np.asarray(image)
        return Picture(planes[:, :, 0], opacity=planes[:, :, 1])
    if mode not in ("RGB", "RGBA"):
        raise AnnotationRefused(subject, f"a picture of mode {mode}", "save it as a PNG mask")
    planes = np.asarray(image)
    rgb = planes[:, :, :3]
    opacity = planes[:, :, 3] if mode == "RGBA" else None
    red = planes[:, :, 0]
    if np.array_equal(red, planes[:, :, 1]) and np.array_equal(red, planes[:, :, 2]):
        return Picture(red, opacity=opacity)
    return Picture(None, rgb, opacity)


def _palette(image: Image.Image) -> Picture:
    """Palette pictures are class ids, but for those whose colours are plain black and white."""
    ids = np.asarray(image)
    rgba = np.asarray(image.convert("RGBA"))
    rgb = rgba[:, :, :3]
    opacity = rgba[:, :, 3] if "transparency" in image.info else None
    first = np.unique(ids, return_index=True)[1]
    used = rgb.reshape(-1, 3)[first]
    if np.isin(used, (0, 255)).all() and (used == used[:, :1]).all():
        return Picture(rgb[:, :, 0], rgb, opacity)
    return Picture(ids, rgb, opacity, is_palette=True)


def object_pixels(picture: Picture) -> NDArray[np.bool_]:
    """Pixels of the one object a tool wrote as a picture of its own: anything not black or clear.

    Tools write white on black, white on clear, or the class colour on clear; where the levels are
    flat the alpha channel tells, where they are not they do.

    Returns:
        bool ``h w``.
    """
    opacity = picture.opacity
    clear = opacity is not None and bool((opacity == 0).any())
    if picture.rgb is not None:
        drawn = (picture.rgb > 0).any(axis=2)
    else:
        drawn = np.asarray(picture.grey) > 0
    if opacity is not None and clear and (drawn.all() or not drawn.any()):
        return np.asarray(opacity > 127)
    return np.asarray(drawn)
