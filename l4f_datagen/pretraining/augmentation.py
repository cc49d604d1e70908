"""Adaptive discriminator augmentation (Karras et al. 2020, "Training GANs with Limited Data").

Every image that the discriminator sees, real or generated, passes the same kinds of random
transforms. Each transform is applied with probability p, so the generator does not learn it as
long as p stays below 0.8 (sec. 2.2). The discriminator's certainty about real images steers p.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

TARGET_SIGN = 0.6  # wanted mean sign of the logits of real images (sec. 3.1)
ADJUST_INTERVAL = 4  # steps between two changes of p (sec. 3.1)
MAX_P = 0.8  # above it the transforms begin to appear in generated images (fig. 4)
# The rest: appendix B.
ZOOM_STD = 0.2  # of the base-2 logarithm of zoom and stretch
MAX_SHIFT = 0.125  # and standard deviation of the second shift, as a share of the side
BRIGHTNESS_STD, CONTRAST_STD, SATURATION_STD = 0.2, 0.5, 1.0  # the last two: base-2 logarithm


class Transforms(NamedTuple):
    """One random transform an image."""

    geometry: Tensor  # ``batch 2 3``, output position to input position, in halves of the side
    color: Tensor  # ``batch 3 4``, RGB and 1 to RGB

    def rows(self, picked: list[int]) -> "Transforms":
        """Return the transforms of some images of the batch."""
        return Transforms(self.geometry[picked], self.color[picked])


@dataclass
class AdaptiveP:
    """The probability of each transform, and the signs of real logits since its last change."""

    p: float = 0.0
    sign_sum: float = 0.0
    count: int = 0

    def adjust(self, images: int, ada_kimg: float) -> None:
        """Move p after ``images`` images; from 0 to 1 it takes ``ada_kimg`` thousand images."""
        overfits = self.sign_sum / max(1, self.count) > TARGET_SIGN
        change = images / (ada_kimg * 1000)
        self.p = min(MAX_P, max(0.0, self.p + (change if overfits else -change)))
        self.sign_sum, self.count = 0.0, 0


def draw_transforms(batch: int, p: float, side: int, draw: torch.Generator) -> Transforms | None:
    """Draw one transform an image from ``draw``; None where p is 0."""
    if p <= 0:
        return None
    return Transforms(_geometry(batch, p, side, draw)[:, :2], _color(batch, p, draw)[:, :3])


def augment(
    images: Float[Tensor, "batch 3 h w"], transforms: Transforms | None
) -> Float[Tensor, "batch 3 h w"]:
    """Transform images in [-1, 1]; None returns them as they are.

    What a shift or a rotation brings in from outside is the mirrored image, as in the paper.
    """
    if transforms is None:
        return images
    geometry, color = (part.to(images.device) for part in transforms)
    images = images.float()
    grid = F.affine_grid(geometry, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    colored = color[:, :, :3] @ moved.flatten(2) + color[:, :, 3:]  # batch 3 pixels
    return colored.reshape(moved.shape).contiguous(memory_format=torch.channels_last)


def _geometry(batch: int, p: float, side: int, draw: torch.Generator) -> Tensor:
    """Return ``batch 3 3``, in the paper's order (appendix B)."""
    one, none = torch.ones(batch), torch.zeros(batch)

    def affine(*entries: Tensor) -> Tensor:
        return torch.stack([*entries, none, none, one], dim=1).reshape(batch, 3, 3)

    def scaling(x: Tensor, y: Tensor) -> Tensor:
        return affine(x, none, none, none, y, none)

    def rotation(angle: Tensor) -> Tensor:
        return affine(angle.cos(), -angle.sin(), none, angle.sin(), angle.cos(), none)

    def translation(x: Tensor, y: Tensor) -> Tensor:
        return affine(one, none, x, none, one, y)

    def chosen(values: Tensor, neutral: float, chance: float = p) -> Tensor:
        return torch.where(torch.rand(batch, generator=draw) < chance, values, neutral)

    def angle() -> Tensor:
        # Two rotations share the probability, so that the chance of none at all is 1 - p.
        turn = (torch.rand(batch, generator=draw) * 2 - 1) * math.pi
        return chosen(turn, 0.0, 1 - math.sqrt(1 - p))

    def zoom() -> Tensor:
        return chosen(torch.exp2(torch.randn(batch, generator=draw) * ZOOM_STD), 1.0)

    def pixels() -> Tensor:
        # Whole pixels of a [-1, 1] range: a shift that needs no interpolation.
        shift = (torch.rand(batch, generator=draw) * 2 - 1) * MAX_SHIFT
        return torch.round(chosen(shift, 0.0) * side) * 2 / side

    mirror = chosen(-one, 1.0, p / 2)
    quarter = torch.randint(0, 4, (batch,), generator=draw) * (math.pi / 2)
    matrix = scaling(mirror, one) @ rotation(chosen(quarter, 0.0))
    matrix = matrix @ translation(pixels(), pixels())
    both = zoom()
    matrix = matrix @ scaling(both, both) @ rotation(angle())
    stretch = zoom()
    matrix = matrix @ scaling(stretch, 1 / stretch) @ rotation(angle())
    parts = [chosen(torch.randn(batch, generator=draw) * 2 * MAX_SHIFT, 0.0) for _ in range(2)]
    return matrix @ translation(*parts)


def _color(batch: int, p: float, draw: torch.Generator) -> Tensor:
    """Return ``batch 4 4``: brightness, contrast, luma flip, hue, saturation (appendix B)."""

    def chosen(values: Tensor, neutral: float) -> Tensor:
        return torch.where(torch.rand(batch, generator=draw) < p, values, neutral)

    def factor(std: float) -> Tensor:
        return chosen(torch.exp2(torch.randn(batch, generator=draw) * std), 1.0)[:, None, None]

    eye = torch.eye(4)
    colors = torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0]))
    luma = torch.tensor([1.0, 1.0, 1.0, 0.0]) / math.sqrt(3)  # the grey axis
    grey = torch.outer(luma, luma)
    brightness = eye.repeat(batch, 1, 1)
    brightness[:, :3, 3] = chosen(torch.randn(batch, generator=draw) * BRIGHTNESS_STD, 0.0)[:, None]
    contrast = eye - colors + colors * factor(CONTRAST_STD)
    flip = chosen(torch.randint(0, 2, (batch,), generator=draw).float(), 0.0)[:, None, None]
    turn = chosen((torch.rand(batch, generator=draw) * 2 - 1) * math.pi, 0.0)[:, None, None]
    axis = 1 / math.sqrt(3)
    cross = torch.tensor([[0.0, -axis, axis], [axis, 0.0, -axis], [-axis, axis, 0.0]])
    hue = eye.repeat(batch, 1, 1)  # Rodrigues' formula
    hue[:, :3, :3] = torch.eye(3) + turn.sin() * cross + (1 - turn.cos()) * (cross @ cross)
    saturation = eye - colors + grey + (colors - grey) * factor(SATURATION_STD)
    return saturation @ hue @ (eye - 2 * grey * flip) @ contrast @ brightness
