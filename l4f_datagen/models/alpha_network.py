"""The alpha network: the frozen generator's features in, a soft foreground matte out."""

from collections.abc import Mapping
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from l4f_datagen.models.generator import Features

READ_CHANNELS = 3  # of every 1x1 convolution (Labels4Free, sec. 3.2)
LEAKY_SLOPE = 0.2  # as in the authors' code, whose output the tests compare
# Beyond, two matrix products (cubic in the side) cost more than the direct way (quadratic).
MAX_MATRIX_SIDE = 256


def alpha_resolutions(resolution: int) -> list[int]:
    """Resolutions the alpha network reads: from size / 32, at least 8, up to the image's.

    >>> alpha_resolutions(64)
    [8, 16, 32, 64]
    """
    lowest = max(resolution // 32, 8)
    return [2**k for k in range(3, resolution.bit_length()) if lowest <= 2**k <= resolution]


class AlphaNetwork(nn.Module):
    """1x1 convolutions only, so that a pixel depends on the features at its own place.

    Every trunk activation is read by its own 1x1 convolution to three channels; from the lowest
    resolution up, what is carried is enlarged (bicubic, corners aligned), joined behind this
    resolution's six channels and merged to six; at the image's resolution both are added and one
    1x1 convolution with a sigmoid gives alpha (Labels4Free, sec. 3.2 and Fig. 3).

    ``channels`` is resolution -> trunk width, at least for ``resolutions``, those to read:
    ascending powers of two, last the image's. One alone is the paper's last-layer ablation.
    """

    def __init__(self, channels: Mapping[int, int], resolutions: list[int]) -> None:
        super().__init__()
        self.resolutions = list(resolutions)
        self.channels = {resolution: channels[resolution] for resolution in resolutions}
        width = 2 * READ_CHANNELS
        self.first, self.second = (
            nn.ModuleDict(
                {str(r): nn.Conv2d(c, READ_CHANNELS, 1) for r, c in self.channels.items()}
            )
            for _ in range(2)
        )
        middle = resolutions[1:-1]
        self.merge = nn.ModuleDict({str(r): nn.Conv2d(2 * width, width, 1) for r in middle})
        self.out = nn.Conv2d(width, 1, 1)

    def logits(self, features: Features) -> Float[Tensor, "batch 1 h w"]:
        """Return the matte before its sigmoid, ``batch 1 h w``, float32."""
        for resolution in self.resolutions:
            first, second = features[resolution]
            name = str(resolution)
            own = torch.cat([self.first[name](first), self.second[name](second)], dim=1)
            if resolution == self.resolutions[0]:
                carried = own
            elif resolution == self.resolutions[-1]:
                carried = own + enlarge(carried, resolution)
            else:
                both = torch.cat([own, enlarge(carried, resolution)], dim=1)
                carried = F.leaky_relu(self.merge[name](both), LEAKY_SLOPE)
        out: Tensor = self.out(carried)
        return out.float()

    def forward(self, features: Features) -> Float[Tensor, "batch 1 h w"]:
        """Return alpha, ``batch 1 h w``, float32 in [0, 1]."""
        return torch.sigmoid(self.logits(features))


def enlarge(x: Float[Tensor, "batch c h w"], side: int) -> Float[Tensor, "batch c side side"]:
    """Return ``x`` enlarged to ``side`` x ``side``: bicubic, corners on corners.

    Interpolation is linear and separable: one matrix along the width and one along the height, as
    two products, several times faster than the direct way.
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
