"""Refine masks of any origin by their images: folders in, soft alphas and masks out."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.core.errors import InputRefused, UsageError
from l4f_datagen.core.sample import alpha_to_uint8
from l4f_datagen.io.disk import write_atomically
from l4f_datagen.io.photo import SUFFIXES, opened, upright_rgb
from l4f_datagen.rendering.refine import Method, refine_alpha


def refine_files(
    images: Path, masks: Path, out: Path, method: Method, done: Callable[[], object]
) -> dict[str, int]:
    """Refine every mask of a folder, and of those in it, by the image of the same name.

    A mask may be hard or soft, grey or RGB: its brightness is alpha. Images without a mask are left
    out. Writes ``alpha/NAME.png``, 8 bits, and ``masks/NAME.png``, 255 where the refined alpha is
    above one half; calls ``done`` after each.

    Returns ``masks``, how many were read, and ``unchanged``, those whose refined mask is the one
    given, such as empty and full ones. UsageError for a mask without an image or two files of one
    name, InputRefused for a mask of another size than its image.
    """
    pictured, masked = _by_stem(images), _by_stem(masks)
    alone = sorted(masked.keys() - pictured.keys())
    if alone:
        problem = f"{len(alone)} masks have no image of the same name, such as {alone[0]}"
        raise UsageError(os.fspath(masks), problem, "name images and masks alike")
    unchanged = 0
    for stem, path in masked.items():
        image, given = _read(pictured[stem]), _read(path)
        if image.shape != given.shape:
            size, wanted = given.shape[1::-1], image.shape[1::-1]
            problem = f"is {size[0]} x {size[1]} px, its image {wanted[0]} x {wanted[1]}"
            raise InputRefused(os.fspath(path), problem, "give masks of the size of their images")
        before = given.max(axis=2).astype(np.float32) / 255
        after = refine_alpha(image, before, method)
        unchanged += bool(np.array_equal(before > 0.5, after > 0.5))
        mask = (after > 0.5).astype(np.uint8) * np.uint8(255)
        for folder, levels in (("alpha", alpha_to_uint8(after)), ("masks", mask)):
            buffer = io.BytesIO()
            Image.fromarray(levels).save(buffer, "PNG", compress_level=1)
            write_atomically(out / folder / f"{stem}.png", buffer.getvalue())
        done()
    return {"masks": len(masked), "unchanged": unchanged}


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UsageError(os.fspath(folder), "is not a folder", "name a folder of images")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if path.suffix.lower() in SUFFIXES and not any(p.startswith(".") for p in place.parts):
            stem = place.with_suffix("").as_posix()
            if stem in found:
                problem = f"has two files of one name, {found[stem].name} and {path.name}"
                raise UsageError(os.fspath(folder), problem, "remove one of them")
            found[stem] = path
    if not found:
        raise UsageError(os.fspath(folder), "contains no image", "name a folder of images")
    return found


def _read(path: Path) -> NDArray[np.uint8]:
    with opened(path, os.fspath(path)) as image:
        return np.asarray(upright_rgb(image, os.fspath(path)))
