"""Refine: a soft alpha that follows its image, between alpha network and filters.

1x1 convolutions on features give smooth edges and can miss thin parts; the image itself knows where
they are. ``guided`` lets the colours of the picture correct the matte (``colour_model``) and then
applies the guided filter (He et al. 2010) with the image as guide: on any device, a few percent
of what the generator costs. ``matting`` is closed-form matting (Levin et al. 2008) by pymatting, in
an unknown band around the edge. Both have one setting for all domains.
"""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor

from l4f_datagen.core.errors import InputRefused, UsageError
from l4f_datagen.core.sample import alpha_to_uint8
from l4f_datagen.io.disk import write_atomically
from l4f_datagen.io.photo import SUFFIXES, opened, upright_rgb
from l4f_datagen.models.devices import one_thread
from l4f_datagen.rendering.colour_model import REFERENCE_PX, box, products, scaled, with_colours

Method = Literal["none", "guided", "matting"]
RADIUS_PX, EPS = 8, 1e-3  # of the guided filter at 256 px: 4 and 12 are worse on Faces and Cats
BAND_PX = 4  # half the unknown band: 3 helped all four classes of the custom set, 6 harmed two
CERTAIN = 0.95  # alpha above it is object, below its complement background, outside of the band
MAX_MATTING_PX = 512  # longer sides are solved at this size: time and memory grow with the pixels


@one_thread()
def guided(
    images: Float[Tensor, "batch 3 h w"], alphas: Float[Tensor, "batch 1 h w"]
) -> tuple[Float[Tensor, "batch 1 h w"], Bool[Tensor, " batch"]]:
    """Correct alphas by the colours and the edges of their images; all in [0, 1].

    Sides of 512 px and more are fitted at half the size or less, and the fit is applied at full
    size (fast guided filter, He and Sun 2015). The number of threads changes no byte.

    Returns float32, and which were refined: alphas without a pixel that is certainly object, or
    without one that is certainly background, stay as they are.
    """
    # Planes apart: twice as fast as with the channels of a pixel together.
    images, alphas = images.float().contiguous(), alphas.float().contiguous()
    if images.device.type == "cpu" and len(images) > 1:
        # One by one they stay in the cache: at 64 px 1.2 ms an image, 1.5 in a batch of 32.
        pairs = zip(images.split(1), alphas.split(1), strict=True)
        fitted, certain = zip(*(guided(*pair) for pair in pairs), strict=True)
        return torch.cat(fitted), torch.cat(certain)
    sure = (alphas >= CERTAIN).flatten(1).any(1) & (alphas <= 1 - CERTAIN).flatten(1).any(1)
    size = tuple(images.shape[2:])
    shrink = max(1, max(size) // REFERENCE_PX)
    small, coarse = images, alphas
    if shrink > 1:
        small, coarse = (
            F.interpolate(m, scale_factor=1 / shrink, mode="area") for m in (small, coarse)
        )
    slopes, offsets = _linear_fit(small, with_colours(small, coarse))
    if shrink > 1:
        slopes, offsets = (F.interpolate(m, size, mode="bilinear") for m in (slopes, offsets))
    refined = ((slopes * images).sum(dim=1, keepdim=True) + offsets).clamp(0, 1)
    return torch.where(sure.view(-1, 1, 1, 1), refined, alphas), sure


def _linear_fit(
    images: Float[Tensor, "batch 3 h w"], alphas: Float[Tensor, "batch 1 h w"]
) -> tuple[Float[Tensor, "batch 3 h w"], Float[Tensor, "batch 1 h w"]]:
    """Fit alpha as a linear function of the colours in each window (He et al. 2010, eq. 19 to 21).

    Returns slopes and offset of each pixel, the means over all windows that hold it.
    """
    radius = scaled(RADIUS_PX, tuple(images.shape[2:]))
    stacked = torch.cat([images, alphas, images * alphas, products(images)], dim=1)
    mean_image, mean_alpha, crossed, squares = box(stacked, radius).split((3, 1, 3, 6), dim=1)
    covariance = crossed - mean_image * mean_alpha
    rr, rg, rb, gg, gb, bb = (squares - products(mean_image)).split(1, dim=1)
    rr, gg, bb = rr + EPS, gg + EPS, bb + EPS
    # The inverse of the symmetric matrix of variances by its cofactors.
    c_rr, c_rg, c_rb = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    c_gg, c_gb, c_bb = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    determinant = c_rr * rr + c_rg * rg + c_rb * rb
    red, green, blue = covariance.split(1, dim=1)
    rows = ((c_rr, c_rg, c_rb), (c_rg, c_gg, c_gb), (c_rb, c_gb, c_bb))
    slopes = torch.cat([r * red + g * green + b * blue for r, g, b in rows], dim=1) / determinant
    offsets = mean_alpha - (slopes * mean_image).sum(dim=1, keepdim=True)
    both = box(torch.cat([slopes, offsets], dim=1), radius)
    return both[:, :3], both[:, 3:]


def matting(image: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Solve alpha anew in a band around the edge and wherever it is undecided.

    ``image`` is uint8 ``h w 3``, alphas are float32 ``h w`` in [0, 1]; None where no pixel is
    certainly object or none is certainly background. UsageError without pymatting.
    """
    inside = alpha > 0.5
    distance = ndimage.distance_transform_edt
    far = np.where(inside, distance(inside), distance(~inside)) > scaled(BAND_PX, alpha.shape)
    known = np.full(alpha.shape, 0.5)
    known[far & (alpha >= CERTAIN)] = 1
    known[far & (alpha <= 1 - CERTAIN)] = 0
    if not (known == 1).any() or not (known == 0).any():
        return None
    try:
        from pymatting import estimate_alpha_cf
    except ImportError as error:
        problem = f"pymatting is not installed ({error})"
        raise UsageError("refine: matting", problem, "pip install pymatting") from error
    height, width = alpha.shape
    shrink = MAX_MATTING_PX / max(height, width)
    guide, levels = image, known
    if shrink < 1:
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        guide = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
        small = Image.fromarray(known.astype(np.float32)).resize(size, Image.Resampling.NEAREST)
        levels = np.asarray(small, np.float64)
    solved = np.asarray(estimate_alpha_cf(guide / 255.0, levels), np.float32)
    if shrink < 1:
        large = Image.fromarray(solved).resize((width, height), Image.Resampling.BILINEAR)
        solved = np.asarray(large, np.float32)
    return np.where(known == 0.5, solved.clip(0, 1), known).astype(np.float32)


def refine_alpha(
    image: NDArray[np.uint8], alpha: NDArray[np.float32], method: Method
) -> NDArray[np.float32]:
    """Refine one alpha, as the renderer does: ``image`` uint8 ``h w 3``, alpha float32 ``h w``."""
    if method == "matting":
        solved = matting(image, alpha)
        return alpha if solved is None else solved
    if method == "none":
        return alpha
    guide = torch.tensor(image).permute(2, 0, 1)[None].float() / 255
    refined, _ = guided(guide, torch.tensor(alpha)[None, None])
    return np.asarray(refined[0, 0].numpy(), np.float32)


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
