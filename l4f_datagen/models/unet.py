"""A small U-Net (Ronneberger et al. 2015) in plain torch."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn


def conv_pair(c_in: int, c_out: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for width in (c_in, c_out):
        conv = nn.Conv2d(width, c_out, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Image in, one logit a pixel out; sides must be multiples of ``stride``.

    ``width`` is that of full resolution, doubled at each of ``depth`` levels.
    """

    def __init__(self, width: int = 16, depth: int = 4) -> None:
        super().__init__()
        self.width, self.depth = width, depth
        self.stride = 1 << (depth - 1)  # what the sides of an image must be multiples of, px
        widths = [width * 2**level for level in range(depth)]
        self.down = nn.ModuleList(map(conv_pair, [3, *widths], widths))
        upward = zip(widths[:0:-1], widths[-2::-1], strict=True)
        self.up = nn.ModuleList(conv_pair(below + beside, beside) for below, beside in upward)
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 1 h w"]:
        """Return logits ``batch 1 h w``; images in [-1, 1]."""
        x, beside = image, []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            beside.append(x)
        for block, skip in zip(self.up, beside[-2::-1], strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = block(torch.cat([x, skip], dim=1))
        logits: Tensor = self.out(x)
        return logits


def to_tensor(images: NDArray[np.uint8]) -> Float[Tensor, "batch 3 h w"]:
    """Turn ``n h w 3`` bytes into ``n 3 h w`` floats in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
