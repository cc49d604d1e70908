"""Backgrounds: a folder of the user's pictures, checked at the door, one chosen for each key."""

import hashlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from l4f_datagen.core.errors import InputRefused, UsageError
from l4f_datagen.io.photo import opened, upright_rgb
from l4f_datagen.recipe import OutputPart

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
"""What the suffixes stand for, whichever of them a file has; nothing else is decoded."""
MAX_PIXELS = 64_000_000


@dataclass(frozen=True)
class Backgrounds:
    """Pictures that were all readable when the folder was opened.

    Attributes:
        folder: where they lie.
        names: paths below the folder, sorted.
        sha256: of names and contents; stands for the folder in the recipe's hash.
    """

    folder: Path
    names: tuple[str, ...]
    sha256: str

    def picture(self, key: str, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the picture of a key, uint8 ``h w 3``: scaled to cover ``size_hw``, then cropped.

        Which one it is depends on the key and the number of pictures alone.

        Raises:
            InputRefused: it cannot be read any more.
        """
        digest = hashlib.sha256(key.encode()).digest()
        name = self.names[int.from_bytes(digest[:8], "big") % len(self.names)]
        height, width = size_hw
        picture = _read(self.folder / name)
        return np.asarray(ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS))


def backgrounds_of(output: OutputPart) -> Backgrounds | None:
    """Open the folder the recipe names; None where it asks for none.

    Raises:
        InputRefused: see ``open_backgrounds``.
    """
    folder = output.composites_folder
    return None if folder is None else open_backgrounds(Path(folder))


def refuse_among_backgrounds(output: OutputPart, out: Path) -> None:
    """Refuse a dataset whose own pictures would be backgrounds once it is resumed.

    Raises:
        UsageError: ``out`` is the folder of backgrounds, or lies below it.
    """
    folder = output.composites_folder
    if folder is None:
        return
    if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(folder)):
        problem = f"lies in the folder of backgrounds {folder}, and its pictures would count there"
        raise UsageError(str(out), problem, "choose a folder outside of it")


def open_backgrounds(folder: Path) -> Backgrounds:
    """Read every picture below a folder once, to the last byte.

    Raises:
        InputRefused: no folder, no picture in it, or one that is broken or above 64 megapixels.
    """
    # For the threads that read pictures again: a filter that one of them lifts, as the decoder
    # does, lifts those of the others.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    if not folder.is_dir():
        raise InputRefused(str(folder), "is no folder", "name a folder of background pictures")
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file()
    )
    if not names:
        endings = " ".join(sorted(SUFFIXES))
        raise InputRefused(
            str(folder), f"holds no picture ({endings})", "name a folder of background pictures"
        )
    digest = hashlib.sha256()
    for name in names:
        _read(folder / name)
        with (folder / name).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{content}  {name}\n".encode(errors="surrogateescape"))  # any file name
    return Backgrounds(folder, tuple(names), digest.hexdigest())


def _read(path: Path) -> Image.Image:
    with opened(path, str(path), FORMATS) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            size = f"{picture.width} x {picture.height}"
            raise InputRefused(str(path), f"is {size} pixels, at most 64 MP", "shrink it")
        return upright_rgb(picture, str(path))
