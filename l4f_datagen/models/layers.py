"""Layers of StyleGAN2 (Karras et al. 2020), written from the paper: pure torch, CPU or GPU.

Parameter names and storage follow the field's convention: weights are stored raw and scaled when
used (equalised learning rate), ``affine`` biases hold the +1, and an up-sampling convolution is a
stride-2 transposed convolution followed by the [1, 3, 3, 1] low-pass filter.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

FILTER = (1.0, 3.0, 3.0, 1.0)  # StyleGAN2, app. B; all public networks have it
LEAKY_SLOPE = 0.2  # as in NVIDIA's codes
ACT_GAIN = math.sqrt(2)  # keeps the variance through a leaky ReLU of slope 0.2
EPS = 1e-8  # as in NVIDIA's codes, whose images would otherwise differ in the last bits
# Bound of float16 activations, as in NVIDIA's ADA code; with ``prenormalize`` no sum of products
# can then pass 65504.
FP16_CLAMP = 256.0

Planes = Float[Tensor, "batch c_in h w"]
Made = Float[Tensor, "batch c_out h2 w2"]
Weight = Float[Tensor, "c_out c_in k k"]
Styles = Float[Tensor, "batch c_in"]
Factor = Float[Tensor, "batch c_out 1 1"]


class EqualLinear(nn.Module):
    """Fully connected layer with equalised learning rate.

    ``rate`` multiplies that of weight and bias (0.01 in the mapping network); ``bias`` is its start
    (1 for the affine layers of styles); ``activate`` ends in a leaky ReLU times sqrt(2).
    """

    def __init__(
        self, c_in: int, c_out: int, *, bias: float = 0.0, rate: float = 1.0, activate: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in) / rate)
        self.bias = nn.Parameter(torch.full((c_out,), bias / rate))
        self.weight_gain, self.bias_gain = rate / math.sqrt(c_in), rate
        self.activate = activate

    def forward(self, x: Styles) -> Float[Tensor, "batch c_out"]:
        """Return ``batch c_out``."""
        out = F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)
        return F.leaky_relu(out, LEAKY_SLOPE) * ACT_GAIN if self.activate else out


def low_pass(gain: float) -> Float[Tensor, "1 1 4 4"]:
    """Return the separable [1, 3, 3, 1] filter as a 4 by 4 kernel whose sum is ``gain``."""
    row = torch.tensor(FILTER)
    kernel = torch.outer(row, row)
    return (kernel / kernel.sum() * gain)[None, None]


def blur(x: Planes, gain: float, pad: int, stride: int = 1) -> Float[Tensor, "batch c_in h2 w2"]:
    """Low-pass every channel, zero padding, optionally keeping each second pixel."""
    kernel = low_pass(gain).to(x).expand(x.shape[1], 1, -1, -1)
    return F.conv2d(x, kernel, padding=pad, stride=stride, groups=x.shape[1])


def upsample_rgb(x: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 3 h2 w2"]:
    """Double an image with the [1, 3, 3, 1] filter (zero insertion, gain 4)."""
    kernel = low_pass(4.0).to(x).expand(x.shape[1], 1, -1, -1)
    # Zero insertion followed by a symmetric filter is the transposed convolution with that filter.
    return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


def modulated_conv2d(x: Planes, weight: Weight, styles: Styles, up: bool = False) -> Made:
    """Convolve with weights scaled per sample by ``styles`` (StyleGAN2, eq. 1); ``up`` doubles.

    The scale moves to the activations, so that one plain convolution serves the whole batch;
    `demodulation` follows it as one factor per sample and output channel.
    """
    x = x * styles.to(x.dtype)[:, :, None, None]
    weight = weight.to(x.dtype)
    if not up:
        return F.conv2d(x, weight, padding=weight.shape[2] // 2)
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # batch c_out 2h+1 2w+1
    return blur(x, 4.0, pad=1)


def demodulation(weight: Weight, styles: Styles) -> Factor:
    """Factor that gives each output of a modulated convolution unit variance (eq. 3)."""
    power = styles.float().square() @ weight.float().square().sum(dim=(2, 3)).t()  # batch c_out
    return (power + EPS).rsqrt()[:, :, None, None]


def prenormalize(weight: Weight, styles: Styles) -> tuple[Weight, Styles, Factor]:
    """Scale weight and styles for float16, and return the factor that undoes it afterwards.

    Styles are at most 1, a weight at most 1 / sqrt(fan in): from activations within
    ``FP16_CLAMP`` the convolution reaches 256 sqrt(512 * 9) = 17,400 at most, and 31,000 where it
    doubles the resolution (4 of 9 taps meet, then the low-pass has gain 4).
    """
    fan_in = weight[0].numel()
    weight_top = weight.abs().amax(dim=(1, 2, 3)).clamp(min=EPS) * math.sqrt(fan_in)  # c_out
    style_top = styles.float().abs().amax(dim=1).clamp(min=EPS)  # batch
    factor = (style_top[:, None] * weight_top)[:, :, None, None]
    return weight / weight_top[:, None, None, None], styles / style_top[:, None], factor


def bounded(x: Planes, clamp: float | None) -> Planes:
    """Clip activations at the checkpoint's bound, float16 at ``FP16_CLAMP`` in any case."""
    if x.dtype == torch.float16:
        clamp = min(clamp or FP16_CLAMP, FP16_CLAMP)
    return x if clamp is None else x.clamp(-clamp, clamp)


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU and (for some checkpoints) a clamp.

    ``resolution`` is that of the output; ``up`` doubles it first; ``clamp`` bounds the absolute
    output (None: no bound), which networks of NVIDIA's ADA code really reach.
    """

    noise_const: Tensor

    def __init__(
        self, c_in: int, c_out: int, w_dim: int, resolution: int, *, up: bool, clamp: float | None
    ) -> None:
        super().__init__()
        self.up, self.clamp = up, clamp
        self.affine = EqualLinear(w_dim, c_in, bias=1.0)
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(c_out))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def forward(
        self, x: Planes, w: Float[Tensor, "batch w_dim"], noise: Float[Tensor, "nb 1 h2 w2"] | None
    ) -> Made:
        """Return ``batch c_out h w``; ``noise`` is added to every channel, None adds nothing."""
        weight: Tensor = self.weight
        styles = self.affine(w)
        # Leaky ReLU lets positive factors through, so the gain joins scale, bias and noise, and one
        # pass over the activations does for demodulation and bias.
        scale = demodulation(weight, styles) * ACT_GAIN
        if x.dtype == torch.float16:
            weight, styles, factor = prenormalize(weight, styles)
            scale = scale * factor
        x = modulated_conv2d(x, weight, styles, self.up)
        bias = self.bias.reshape(1, -1, 1, 1) * ACT_GAIN
        x = torch.addcmul(bias.to(x.dtype), x, scale.to(x.dtype))
        if noise is not None:
            shift = (noise * (self.noise_strength * ACT_GAIN)).to(x.dtype)
            x = x + shift if torch.is_grad_enabled() else x.add_(shift)
        x = F.leaky_relu(x, LEAKY_SLOPE, inplace=not torch.is_grad_enabled())
        return bounded(x, self.clamp)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to RGB without demodulation (the tRGB of the skip architecture)."""

    def __init__(self, c_in: int, w_dim: int, *, clamp: float | None) -> None:
        super().__init__()
        self.clamp = clamp
        self.affine = EqualLinear(w_dim, c_in, bias=1.0)
        self.weight = nn.Parameter(torch.randn(3, c_in, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.weight_gain = 1 / math.sqrt(c_in)

    def forward(self, x: Planes, w: Float[Tensor, "batch w_dim"]) -> Float[Tensor, "batch 3 h w"]:
        """Return this resolution's RGB contribution, ``batch 3 h w``."""
        x = modulated_conv2d(x, self.weight, self.affine(w) * self.weight_gain)
        return bounded(x + self.bias.to(x.dtype).reshape(1, -1, 1, 1), self.clamp)
