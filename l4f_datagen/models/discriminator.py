"""The StyleGAN2 discriminator: residual blocks, minibatch standard deviation, one logit."""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from l4f_datagen.models.layers import ACT_GAIN, LEAKY_SLOPE, EqualLinear, Made, Planes, blur


class EqualConv2d(nn.Module):
    """Plain convolution with equalised learning rate.

    ``activate`` adds a bias and a leaky ReLU times sqrt(2). ``down`` halves the resolution, and the
    variance: two such branches are summed.
    """

    def __init__(
        self, c_in: int, c_out: int, kernel: int, *, down: bool = False, activate: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(c_out)) if activate else None
        # Positive factors pass through leaky ReLU, so all of them sit on weight and bias.
        scale = 1 / math.sqrt(2) if down else 1.0
        self.bias_gain = scale * ACT_GAIN if activate else scale
        self.weight_gain = self.bias_gain / math.sqrt(c_in * kernel**2)
        self.kernel, self.down = kernel, down

    def forward(self, x: Planes) -> Made:
        """Return ``batch c_out h w``, half the size with ``down``."""
        weight = (self.weight * self.weight_gain).to(x.dtype)
        bias = None if self.bias is None else (self.bias * self.bias_gain).to(x.dtype)
        if not self.down:
            x = F.conv2d(x, weight, bias, padding=self.kernel // 2)
        elif self.kernel == 1:  # low-pass and decimate first: the convolution commutes with both
            x = F.conv2d(blur(x, 1.0, pad=1, stride=2), weight, bias)
        else:
            x = F.conv2d(blur(x, 1.0, pad=2), weight, bias, stride=2)
        return x if bias is None else F.leaky_relu(x, LEAKY_SLOPE)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a 1x1 skip, halving the resolution."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv0 = EqualConv2d(c_in, c_in, 3)
        self.conv1 = EqualConv2d(c_in, c_out, 3, down=True)
        self.skip = EqualConv2d(c_in, c_out, 1, down=True, activate=False)

    def forward(self, x: Planes) -> Made:
        """Return ``batch c_out h/2 w/2``."""
        out: Tensor = self.conv1(self.conv0(x)) + self.skip(x)
        return out


def minibatch_stddev(x: Float[Tensor, "batch c h w"], group: int = 4) -> Tensor:
    """Append one channel: the mean standard deviation over groups of samples."""
    batch, channels, height, width = x.shape
    while batch % group:
        group -= 1
    stats = x.float().reshape(group, -1, channels, height, width)  # group n c h w
    stats = (stats.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))  # n
    stats = stats.reshape(-1, 1, 1, 1).repeat(group, 1, height, width).to(x.dtype)
    return torch.cat([x, stats], dim=1)


class Discriminator(nn.Module):
    """Square image -> one logit per sample; ``channels`` is resolution -> width."""

    def __init__(self, resolution: int, channels: Mapping[int, int]) -> None:
        super().__init__()
        self.resolution, self.channels = resolution, dict(channels)
        self.from_rgb = EqualConv2d(3, channels[resolution], 1)
        sides = [2**k for k in range(int(math.log2(resolution)), 2, -1)]
        blocks = [ResidualBlock(channels[side], channels[side // 2]) for side in sides]
        self.blocks = nn.Sequential(*blocks)
        self.conv = EqualConv2d(channels[4] + 1, channels[4], 3)
        self.fc = EqualLinear(channels[4] * 16, channels[4], activate=True)
        self.out = EqualLinear(channels[4], 1)

    def forward(
        self, image: Float[Tensor, "batch 3 h w"], group: int = 4
    ) -> Float[Tensor, " batch"]:
        """Return one logit per image, float32; images are nominally in [-1, 1].

        ``group`` images share the minibatch statistic; with 1 a logit is its own image's alone.
        """
        x = self.blocks(self.from_rgb(image))
        x = self.conv(minibatch_stddev(x, group))
        logits: Tensor = self.out(self.fc(x.flatten(1).float()))
        return logits.squeeze(1).float()
