"""The loss terms of Labels4Free, one function each (sec. 3.3; weights are the recipe's)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

HIDDEN_BORDER = 1 / 16
"""Share of the side that the second discriminator does not see at each border. Convolutions that
pad with zeros draw a frame there that muted twins lack (digits: 2 px of 32): without this it counts
as object, and every sample touches the border."""

Alpha = Float[Tensor, "batch 1 h w"]
Logits = Float[Tensor, " batch"]


def composite(
    fg_image: Float[Tensor, "batch 3 h w"], bg_image: Float[Tensor, "batch 3 h w"], alpha: Alpha
) -> Float[Tensor, "batch 3 h w"]:
    """Alpha-over in [-1, 1] space: ``alpha * fg + (1 - alpha) * bg``."""
    return alpha * fg_image + (1 - alpha) * bg_image


def rest_image(
    fg_image: Float[Tensor, "batch 3 h w"], bg_image: Float[Tensor, "batch 3 h w"], alpha: Alpha
) -> Float[Tensor, "batch 3 h/2 w/2"]:
    """Return the image without its object as ``seen_as_ground``: ``alpha * bg + (1 - alpha) * fg``.

    A part of the object that alpha leaves out stays in it.
    """
    return seen_as_ground(composite(bg_image, fg_image, alpha))


def seen_as_ground(images: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 3 h/2 w/2"]:
    """Return what the second discriminator sees: half the side, and a border of zeros.

    At half the side the fine difference between ground that the trunk draws and ground that the
    muted trunk draws counts little.
    """
    small = F.avg_pool2d(images, 2)
    edge = round(HIDDEN_BORDER * small.shape[-1])
    return F.pad(small[..., edge:-edge, edge:-edge], [edge] * 4) if edge else small


def realism_loss(fake_logits: Logits) -> Float[Tensor, ""]:
    """Non-saturating loss of the alpha network: mean softplus(-D(composite))."""
    return F.softplus(-fake_logits).mean()


def discriminator_loss(real_logits: Logits, fake_logits: Logits) -> Float[Tensor, ""]:
    """Logistic loss: mean softplus(-D(real)) + mean softplus(D(composite))."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def r1_penalty(real_logits: Logits, reals: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, ""]:
    """Mean squared norm of the discriminator's gradient at the reals (Mescheder et al. 2018)."""
    (slope,) = torch.autograd.grad(real_logits.sum(), reals, create_graph=True)
    return slope.square().sum(dim=(1, 2, 3)).mean()


def binarization_loss(alpha: Alpha) -> Float[Tensor, ""]:
    """Mean of min(alpha, 1 - alpha): 0 for a hard matte, 0.5 at most."""
    return torch.minimum(alpha, 1 - alpha).mean()


def fg_coverage_loss(alpha: Alpha, min_fg_coverage: float) -> Float[Tensor, ""]:
    """Hinge on every sample's mean alpha below ``min_fg_coverage``."""
    return F.relu(min_fg_coverage - alpha.mean(dim=(1, 2, 3))).mean()


def bg_coverage_loss(alpha: Alpha, min_bg_coverage: float) -> Float[Tensor, ""]:
    """Hinge on every sample's mean 1 - alpha below ``min_bg_coverage``."""
    return F.relu(min_bg_coverage - (1 - alpha).mean(dim=(1, 2, 3))).mean()


def area_loss(alpha: Alpha) -> Float[Tensor, ""]:
    """Mean alpha: a constant grad_norm towards a smaller matte."""
    return alpha.mean()
