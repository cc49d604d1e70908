"""Augmentation: the images as other cameras would have taken them.

Every random number comes from the stream that is passed in; pixels outside an image have the weight
0, so that the loss ignores them.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Stream = np.random.RandomState


@dataclass(frozen=True)
class Augmentation:
    """How far an image may be changed. All values were chosen once and never tuned.

    Attributes:
        mirror: share of images mirrored left to right.
        moved: share of images zoomed and shifted; the others stay as sharp as they are.
        zoom: smallest and largest zoom, below 1 the image is smaller than its frame.
        shift: largest shift, a share of the side.
        gain: smallest and largest factor of a colour, about mid-grey (contrast and colour).
        lift: largest brightness added to a colour, of the range [-1, 1].
        blurred: share of images blurred a little.
        grain: largest standard deviation of the noise, of the range [-1, 1].
    """

    mirror: float = 0.5
    moved: float = 0.5
    zoom: tuple[float, float] = (0.75, 1.35)
    shift: float = 0.08
    gain: tuple[float, float] = (0.8, 1.2)
    lift: float = 0.15
    blurred: float = 0.3
    grain: float = 0.08


def augment(
    image: Float[Tensor, "batch 3 h w"],
    alpha: Float[Tensor, "batch 1 h w"],
    stream: Stream,
    how: Augmentation,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return image ``batch 3 h w``, alpha and weight ``batch 1 h w``, each image changed by itself.

    Images are in [-1, 1], the result may leave the range a little; ``stream`` is that of the step.
    """
    image, alpha, weight = move(image, alpha, stream, how)
    image = recolour(image, stream, how)
    return add_grain(soften(image, stream, how), stream, how), alpha, weight


def move(
    image: Float[Tensor, "batch 3 h w"],
    alpha: Float[Tensor, "batch 1 h w"],
    stream: Stream,
    how: Augmentation,
) -> tuple[Tensor, Tensor, Tensor]:
    """Mirror, zoom and shift; beyond the image its edge is repeated, with weight 0."""
    batch = len(image)
    mirrored = stream.rand(batch) < how.mirror
    moved = stream.rand(batch) < how.moved
    low, high = np.log(how.zoom)
    zoom = np.where(moved, np.exp(stream.uniform(low, high, batch)), 1.0)
    # The grid runs from -1 to 1 over the side: a share of the side is twice as much of it.
    shift = np.where(moved, stream.uniform(-2 * how.shift, 2 * how.shift, (2, batch)), 0.0)
    theta = np.zeros((batch, 2, 3), np.float32)
    theta[:, 0, 0] = np.where(mirrored, -1, 1) / zoom
    theta[:, 1, 1] = 1 / zoom
    theta[:, :, 2] = shift.T
    grid = F.affine_grid(
        torch.from_numpy(theta).to(image.device), list(image.shape), align_corners=False
    )
    planes = torch.cat([image, alpha], dim=1)
    planes = F.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    inside = (grid.abs() <= 1).all(dim=3)[:, None].to(image.dtype)
    return planes[:, :3], planes[:, 3:].clamp(0, 1), inside


def recolour(
    image: Float[Tensor, "batch 3 h w"], stream: Stream, how: Augmentation
) -> Float[Tensor, "batch 3 h w"]:
    """Change contrast and brightness, each colour by itself."""
    gain = stream.uniform(*how.gain, (len(image), 3, 1, 1)).astype(np.float32)
    lift = stream.uniform(-how.lift, how.lift, (len(image), 3, 1, 1)).astype(np.float32)
    return image * torch.from_numpy(gain).to(image) + torch.from_numpy(lift).to(image)


def soften(
    image: Float[Tensor, "batch 3 h w"], stream: Stream, how: Augmentation
) -> Float[Tensor, "batch 3 h w"]:
    """Blur some images by a mean over 3 x 3 pixels."""
    blurred = torch.from_numpy(stream.rand(len(image), 1, 1, 1) < how.blurred).to(image.device)
    soft = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return torch.where(blurred, soft, image)


def add_grain(
    image: Float[Tensor, "batch 3 h w"], stream: Stream, how: Augmentation
) -> Float[Tensor, "batch 3 h w"]:
    """Add noise, of another strength in each image."""
    strength = stream.uniform(0, how.grain, (len(image), 1, 1, 1)).astype(np.float32)
    # Drawn on the CPU: the same numbers on every device.
    draw = torch.Generator().manual_seed(int(stream.randint(2**31)))
    noise = torch.randn(image.shape, generator=draw)
    return image + (torch.from_numpy(strength) * noise).to(image)
