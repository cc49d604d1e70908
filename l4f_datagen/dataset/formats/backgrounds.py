"""Cut-outs and composites: the object's own colours, and the user's images behind it.

At a soft edge a pixel mixes object and background. Pasted over another background as it is, it
carries a rim of the old one. So the colours of both are estimated from the pixels around (blur
fusion, Forte 2021, "Approximate Fast Foreground Colour Estimation"), with box filters alone.
"""

import hashlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy import ndimage

from l4f_datagen.core.errors import InputRefused, UsageError
from l4f_datagen.core.sample import Sample
from l4f_datagen.io.download import file_hash
from l4f_datagen.io.photo import opened, upright_rgb
from l4f_datagen.recipe import OutputPart

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
"""Formats of these suffixes; a file may have any of the suffixes, nothing else is decoded."""


@dataclass(frozen=True)
class Backgrounds:
    """Images below a folder that could all be read when it was opened."""

    folder: Path
    names: tuple[str, ...]
    sha256: str  # of names and contents, part of the recipe's hash

    def image(self, key: str, size_hw: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return the image of a key, uint8 ``h w 3``: scaled to cover ``size_hw``, then cropped.

        The key and the number of images decide which. InputRefused where it cannot be read.
        """
        digest = hashlib.sha256(key.encode()).digest()
        name = self.names[int.from_bytes(digest[:8], "big") % len(self.names)]
        height, width = size_hw
        image = _read(self.folder / name)
        return np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS))


def backgrounds_of(output: OutputPart) -> Backgrounds | None:
    """Read every image below the folder that a recipe names (None: none) once, to the last byte.

    InputRefused for no folder, no image in it, or one that is broken or above 64 megapixels.
    """
    if output.composites_folder is None:
        return None
    folder = Path(output.composites_folder)
    # Once for all threads that read the images again: warning filters are shared, and a thread
    # that restores them, as the decoder does, would undo those of the others.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    if not folder.is_dir():
        raise InputRefused(str(folder), "is not a folder", "name a folder of background images")
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file()
    )
    if not names:
        problem = f"contains no image ({' '.join(sorted(SUFFIXES))})"
        raise InputRefused(str(folder), problem, "name a folder of background images")
    digest = hashlib.sha256()
    for name in names:
        _read(folder / name)
        line = f"{file_hash(folder / name)}  {name}\n"
        digest.update(line.encode(errors="surrogateescape"))  # any file name
    return Backgrounds(folder, tuple(names), digest.hexdigest())


def refuse_among_backgrounds(output: OutputPart, out: Path) -> None:
    """Refuse (UsageError) a dataset whose own images would be backgrounds once it is resumed."""
    folder = output.composites_folder
    if folder and Path(os.path.realpath(out)).is_relative_to(os.path.realpath(folder)):
        where = f"is inside the folder of backgrounds {folder}"
        problem = f"{where}: its images would become backgrounds"
        raise UsageError(str(out), problem, "choose a folder outside of it")


def _read(path: Path) -> Image.Image:
    with opened(path, str(path), FORMATS) as image:
        return upright_rgb(image, str(path))


def composite_rgb(sample: Sample, background: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Lay the object over a background of its size: ``alpha * object + (1 - alpha) * background``.

    The composite of Labels4Free (sec. 3.1), here of bytes rounded half to even, with the soft matte
    and with the object's own colours in place of the image's.
    """
    image = sample.image
    if background is None or background.dtype != np.uint8 or background.shape != image.shape:
        came = "none" if background is None else f"{background.dtype} {background.shape}"
        raise ValueError(f"{sample.key}: expected background uint8 {image.shape}, got {came}")
    alpha = sample.alpha[:, :, None]
    colours = foreground_rgb(image, sample.alpha)
    mixed: NDArray[np.uint8] = np.rint(alpha * colours + (1 - alpha) * background).astype(np.uint8)
    return mixed


Floats = NDArray[np.float64]

WINDOWS = (0.18, 0.06, 0.02)
"""Sides of the windows as shares of the longer side; the paper has two, of 181 and 13 px."""
PURITY = 4
"""Pixels count by this power of their alpha, so that mixed ones count little. On the composite of
the tests at 256 px the error of colours at the edge is 61 levels as they are, and 11, 5 and 2 with
powers 1, 2 and 4."""
LEAST = 1e-4  # a window that holds less of the object (or background) says nothing of its colour


def foreground_rgb(image: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Estimate the colours of the object, uint8 ``h w 3``.

    They are the image's own where alpha is 1 and far from the object, estimated where alpha is less
    and just outside of the object, so that scaling a cut-out mixes in no background.
    """
    matte = alpha[:, :, None].astype(np.float64)
    pixels = image.astype(np.float64)
    near, far = pixels, pixels
    for share in WINDOWS:
        side = 2 * max(1, round(share * max(alpha.shape) / 2)) + 1
        near = _mean(near, matte**PURITY, side, pixels)
        far = _mean(far, (1 - matte) ** PURITY, side, pixels)
        near = (near + matte * (pixels - matte * near - (1 - matte) * far)).clip(0, 255)
    return np.rint(near).astype(np.uint8)


def _mean(colours: Floats, weights: Floats, side: int, otherwise: Floats) -> Floats:
    """Weighted mean of the colours in a window round each pixel."""
    size = (side, side, 1)
    total = ndimage.uniform_filter(weights, size, mode="nearest")
    mean = ndimage.uniform_filter(colours * weights, size, mode="nearest")
    return np.where(total > LEAST, mean / np.maximum(total, LEAST), otherwise)
