"""Refine: a soft alpha that follows its image, between alpha network and filters.

1x1 convolutions on features give smooth edges and can miss thin parts; the image itself knows where
they are. ``guided`` lets the colours of the picture correct the matte (``colour_model``) and then
applies the guided filter (He et al. 2010) with the image as guide: on any device, a few percent
of what the generator costs. ``matting`` is closed-form matting (Levin et al. 2008) by pymatting, in
an unknown band around the edge. Both have one setting for all domains.
"""

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor

from l4f_datagen.core.errors import UsageError
from l4f_datagen.models.devices import one_thread
from l4f_datagen.rendering.colour_model import REFERENCE_PX, box, products, scaled, with_colours

Method = Literal["none", "guided", "matting"]
RADIUS_PX, EPS = 8, 1e-3
"""Of the guided filter at 256 px, behind the colours: 4 and 12 are worse on Faces and Cats."""
BAND_PX = 4
"""Half the unknown band: 3 helped all four classes of the custom set, 6 harmed two of them."""
CERTAIN = 0.95
"""Alpha above it is object, below its complement background, outside of the band."""
MAX_MATTING_PX = 512
"""Longer sides are solved at this size: time and memory grow with the pixels of the image."""


@one_thread()
def guided(
    images: Float[Tensor, "batch 3 h w"], alphas: Float[Tensor, "batch 1 h w"]
) -> tuple[Float[Tensor, "batch 1 h w"], Bool[Tensor, " batch"]]:
    """Correct alphas by the colours and the edges of their images.

    Sides of 512 px and more are fitted at half the size or less, and the fit is applied at full
    size (fast guided filter, He and Sun 2015). The number of threads changes no byte.

    Args:
        images: in [0, 1].
        alphas: in [0, 1], any float dtype.

    Returns:
        float32 in [0, 1], and which were refined: alphas without a pixel that is certainly object,
        or without one that is certainly background, stay as they are.
    """
    # Planes apart: twice as fast as with the channels of a pixel together.
    images, alphas = images.float().contiguous(), alphas.float().contiguous()
    if images.device.type != "cpu" or len(images) < 2:
        return _guided(images, alphas)
    # One by one they stay in the cache: at 64 px 1.2 ms an image in place of 1.5 in a batch of 32.
    pairs = zip(images.split(1), alphas.split(1), strict=True)
    fitted, certain = zip(*(_guided(*pair) for pair in pairs), strict=True)
    return torch.cat(fitted), torch.cat(certain)


def _guided(
    images: Float[Tensor, "batch 3 h w"], alphas: Float[Tensor, "batch 1 h w"]
) -> tuple[Float[Tensor, "batch 1 h w"], Bool[Tensor, " batch"]]:
    certain = (alphas >= CERTAIN).flatten(1).any(1) & (alphas <= 1 - CERTAIN).flatten(1).any(1)
    shrink = max(1, max(images.shape[2:]) // REFERENCE_PX)
    small, coarse = images, alphas
    if shrink > 1:
        small, coarse = (
            F.interpolate(m, scale_factor=1 / shrink, mode="area") for m in (small, coarse)
        )
    slopes, offsets = _linear_fit(small, with_colours(small, coarse))
    if shrink > 1:
        size = tuple(images.shape[2:])
        slopes, offsets = (F.interpolate(m, size, mode="bilinear") for m in (slopes, offsets))
    fitted = ((slopes * images).sum(dim=1, keepdim=True) + offsets).clamp(0, 1)
    return torch.where(certain.view(-1, 1, 1, 1), fitted, alphas), certain


def _linear_fit(
    images: Float[Tensor, "batch 3 h w"], alphas: Float[Tensor, "batch 1 h w"]
) -> tuple[Float[Tensor, "batch 3 h w"], Float[Tensor, "batch 1 h w"]]:
    """Fit alpha as a linear function of the colours in each window (He et al. 2010, eq. 19 to 21).

    Returns:
        Slopes and offset of each pixel, the means over all windows that hold it.
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
    slopes = torch.cat(
        [
            c_rr * red + c_rg * green + c_rb * blue,
            c_rg * red + c_gg * green + c_gb * blue,
            c_rb * red + c_gb * green + c_bb * blue,
        ],
        dim=1,
    )
    slopes = slopes / determinant
    offsets = mean_alpha - (slopes * mean_image).sum(dim=1, keepdim=True)
    both = box(torch.cat([slopes, offsets], dim=1), radius)
    return both[:, :3], both[:, 3:]


def matting(image: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Solve alpha anew in a band around the edge and wherever it is undecided.

    Args:
        image: uint8 ``h w 3``.
        alpha: float32 ``h w`` in [0, 1].

    Returns:
        float32 ``h w`` in [0, 1]; None where no pixel is certainly object or none is certainly
        background.

    Raises:
        UsageError: pymatting is not installed.
    """
    known = _known(alpha)
    if not (known == 1).any() or not (known == 0).any():
        return None
    height, width = alpha.shape
    shrink = MAX_MATTING_PX / max(height, width)
    if shrink >= 1:
        solved = _solve(image, known)
    else:
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
        levels = Image.fromarray(known.astype(np.float32)).resize(size, Image.Resampling.NEAREST)
        coarse = Image.fromarray(_solve(small, np.asarray(levels, np.float64)))
        solved = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR), np.float32)
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


def _known(alpha: NDArray[np.float32]) -> NDArray[np.float64]:
    """1 where alpha is certainly object, 0 where background, 0.5 in the unknown band."""
    inside = alpha > 0.5
    edge = scaled(BAND_PX, alpha.shape)
    to_edge = np.where(
        inside, ndimage.distance_transform_edt(inside), ndimage.distance_transform_edt(~inside)
    )
    far = to_edge > edge
    known = np.full(alpha.shape, 0.5)
    known[far & (alpha >= CERTAIN)] = 1
    known[far & (alpha <= 1 - CERTAIN)] = 0
    return known


def _solve(image: NDArray[np.uint8], known: NDArray[np.float64]) -> NDArray[np.float32]:
    try:
        from pymatting import estimate_alpha_cf
    except ImportError as error:
        problem = f"pymatting is not installed ({error})"
        raise UsageError("refine: matting", problem, "pip install pymatting") from error
    solved: NDArray[Any] = estimate_alpha_cf(image / 255.0, known)
    return solved.astype(np.float32)
