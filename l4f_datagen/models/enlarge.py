"""Bicubic enlargement as two matrix products, several times faster than the direct way."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

MAX_MATRIX_SIDE = 256
"""Beyond, the products' cost (cubic in the side) overtakes the direct way's (quadratic)."""


def enlarge(x: Float[Tensor, "batch c h w"], side: int) -> Float[Tensor, "batch c side side"]:
    """Return ``x`` enlarged to ``side`` x ``side``: bicubic, corners on corners.

    Interpolation is linear and separable: one matrix along the width, one along the height.
    """
    height, width = x.shape[2:]
    if max(height, width) > MAX_MATRIX_SIDE:
        return F.interpolate(x, size=(side, side), mode="bicubic", align_corners=True)
    down = interpolation_matrix(height, side, x.device, x.dtype)
    across = interpolation_matrix(width, side, x.device, x.dtype)
    return down @ (x @ across.T)


@lru_cache(maxsize=64)
def interpolation_matrix(
    side_in: int, side_out: int, device: torch.device, dtype: torch.dtype
) -> Float[Tensor, "side_out side_in"]:
    """Row k: what every input pixel gives to output pixel k."""
    # Unit vectors, enlarged along their length; not under inference_mode, as training reads the
    # cached matrix too, nor on whatever device or precision the caller has made the default.
    with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
        units = torch.eye(side_in, device="cpu", dtype=torch.float32)[None, :, :, None]
        rows = F.interpolate(units, size=(side_out, 1), mode="bicubic", align_corners=True)
        return rows[0, :, :, 0].T.contiguous().to(device=device, dtype=dtype)
