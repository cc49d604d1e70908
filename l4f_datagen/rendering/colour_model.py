"""Colours of one picture: what its object and its ground look like, learnt from its own matte.

The alpha network says roughly where the object is; the picture knows which of its colours are
object. One quadratic function of a pixel's colour is fitted to the matte by least squares, its
answer joins the matte as evidence, and the fit is repeated on the result. The softer the matte, the
less it knows of the place, and the more colour counts; the better the colours explain the matte,
the more they count, too. Ground in shadow counts as ground. One setting for all domains and sizes:
what grabs the missing fins of a fish leaves a car alone whose windows are as dark as its shadow.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

REFERENCE_PX = 256
"""The side that every length here and in ``refine`` is written for; they grow with the image."""
PRIOR_PX = 4
"""Radius over which the matte is averaged: edges of 1x1 convolutions are so far off the true ones
(toy cars, toy fish at 64 px: 1 px)."""
NEAR_PX = 24
"""Pixels so near to the object teach its colours and the ground's; the rest count a tenth."""
FAR_WEIGHT = 0.1
FITS = 2
"""One alone takes .0004 mIoU from toy fish, a third changes nothing."""
RIDGE = 1e-4
LEAST_WEIGHT, SOFTNESS_WEIGHT, MAX_WEIGHT = 0.5, 6.0, 4.0
"""Colour counts .5 + 6 x indecision of the matte, 4 at most. Indecision is 0 for hard masks and .05
on toy cars. With 1 in place of .5, toy cars lose .0003 mIoU and Cats win as much; with .25, Cats
and toy fish lose .0002. With 3 in place of 6 nothing changes by more than .0001."""
SHADE, SHADED_SHARE = 0.65, 0.3
"""Ground may lie in the object's shadow: for so much of it, its colours times this are ground, too.
Without it toy cars lose .0007 mIoU and toy fish .0006; three shades give the same as one."""
FIT_POWER = 4
"""Colour counts as much as the fourth power of what it explains of the matte (``explained``: .95 on
toy fish, .83 on toy cars, .63 on faces), and the matte is averaged in the same share. With 0, all
fits alike, refining costs toy cars .0044 mIoU and skin lesions .002, with 4 .0006 and nothing;
toy fish win .012 with either; the worst image of each domain loses half as much. With 2, Faces and
Cats win .0006 more and toy cars lose .001 more."""
BALANCE = 0.3
"""Share of the base rate that is taken out of the colours' odds. Without, toy fish win .0006 mIoU,
but their worst image loses .049 by refining in place of .024."""
CLAMP = 0.02
"""Neither matte nor colour is surer than this, so that either can overrule the other."""
PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


def box(maps: Tensor, radius: int) -> Tensor:
    """Mean over windows of ``2 radius + 1``, cut at the border; maps ``n c h w``.

    Sums are taken in one order for every pixel, so that no number of threads changes a byte.
    """
    for dim in (2, 3):
        side = maps.shape[dim]
        reach = min(radius, side - 1)
        padded = torch.nn.functional.pad(
            maps, (0, 0, reach, reach) if dim == 2 else (reach, reach, 0, 0)
        )
        total = padded.narrow(dim, 0, side).clone()
        for shift in range(1, 2 * reach + 1):
            total += padded.narrow(dim, shift, side)
        places = torch.arange(side, device=maps.device)
        counts = (places + reach + 1).clamp(max=side) - (places - reach).clamp(min=0)
        maps = total / (counts.view(-1, 1) if dim == 2 else counts)
    return maps


def products(images: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 6 h w"]:
    """Return the products of each pair of channels."""
    return torch.cat([images[:, a : a + 1] * images[:, b : b + 1] for a, b in PAIRS], dim=1)


def scaled(pixels: float, size_hw: tuple[int, ...]) -> int:
    """Turn a length at the reference size into pixels of an image, at least 1."""
    return max(1, round(pixels * max(size_hw) / REFERENCE_PX))


def indecision(alphas: Float[Tensor, "batch 1 h w"]) -> Float[Tensor, "batch 1 1 1"]:
    """0 for a hard matte, 1 for one that is the same grey everywhere, whatever it covers."""
    undecided = torch.minimum(alphas, 1 - alphas).mean(dim=(2, 3), keepdim=True)
    covered = alphas.mean(dim=(2, 3), keepdim=True)
    return undecided / torch.minimum(covered, 1 - covered).clamp(min=1e-4)


def with_colours(
    images: Float[Tensor, "batch 3 h w"],
    alphas: Float[Tensor, "batch 1 h w"],
    *,
    any_fit: bool = False,
) -> Float[Tensor, "batch 1 h w"]:
    """Join each matte with what its picture's colours say.

    Args:
        images: float32 in [0, 1].
        alphas: float32 in [0, 1].
        any_fit: let colours count in full that explain little of the matte: for mattes so soft
            that nothing explains them.

    Returns:
        float32 in [0, 1].
    """
    size = tuple(images.shape[2:])
    count, pixels = len(images), size[0] * size[1]
    near: Bool[Tensor, "batch 1 h w"] = box((alphas > 0.5).float(), scaled(NEAR_PX, size)) > 0.02
    weights = (near * (1 - FAR_WEIGHT) + FAR_WEIGHT).view(count, 1, pixels)
    weights = weights / weights.sum(dim=2, keepdim=True)
    ones = torch.ones_like(images[:, :1])
    colours = torch.cat([images, products(images), ones], dim=1).reshape(count, 10, pixels)
    if images.device.type != "mps":  # which has no float64
        # So that how a library sums, which differs with the size of a batch, hardly counts.
        colours, weights = colours.double(), weights.double()
    weighted = colours * weights
    ridge = torch.full((10,), RIDGE, device=images.device, dtype=colours.dtype)
    ridge[-1] = RIDGE * 1e-6  # the constant is free
    moments = weighted @ colours.transpose(1, 2) + torch.diag(ridge)
    # What a shade makes of a colour, its products and the constant.
    powers = torch.tensor([1] * 3 + [2] * 6 + [0], device=images.device, dtype=colours.dtype)
    shade = SHADE**powers
    averaged = box(alphas, scaled(PRIOR_PX, size))
    prior = _logit(averaged)
    trust = (LEAST_WEIGHT + SOFTNESS_WEIGHT * indecision(alphas)).clamp(max=MAX_WEIGHT)
    joined = alphas
    for number in range(FITS):
        flat = joined.reshape(count, pixels, 1).to(colours.dtype)
        ground = (weighted * (1 - flat.transpose(1, 2))) @ colours.transpose(1, 2)
        shaded = SHADED_SHARE * shade * ground * shade[:, None]
        factor = torch.linalg.cholesky_ex(moments + shaded).L
        fitted = torch.cholesky_solve(weighted @ flat, factor).transpose(1, 2) @ colours
        if number == 0 and not any_fit:
            share = explained(fitted, flat.transpose(1, 2), weights).to(images.dtype) ** FIT_POWER
            share = share.view(count, 1, 1, 1)
            trust = trust * share
            prior = _logit(share * averaged + (1 - share) * alphas)
        likely = fitted.to(images.dtype).view(count, 1, *size)
        base = _logit(weights @ flat).to(images.dtype).view(count, 1, 1, 1)
        joined = torch.sigmoid(prior + trust * (_logit(likely) - BALANCE * base))
    return joined


def explained(
    fitted: Float[Tensor, "batch 1 n"],
    alphas: Float[Tensor, "batch 1 n"],
    weights: Float[Tensor, "batch 1 n"],
) -> Float[Tensor, "batch 1"]:
    """Return how much of the alphas' weighted variance a fit explains, in [0, 1].

    As a share of what two levels explain, one for each side of 0.5: a blurred matte is explained in
    full by colours that part it as its own mask does.
    """

    def mean(values: Tensor) -> Tensor:
        return (weights * values).sum(dim=2, keepdim=True)

    inside = (alphas > 0.5).to(alphas.dtype)
    covered, level = mean(inside), mean(alphas)
    high = mean(inside * alphas) / covered.clamp(min=1e-9)
    low = mean((1 - inside) * alphas) / (1 - covered).clamp(min=1e-9)
    two_levels = low + inside * (high - low)
    spread = mean((alphas - level).square())
    by_fit, by_mask = (spread - mean((alphas - one).square()) for one in (fitted, two_levels))
    return (by_fit / by_mask.clamp(min=1e-9)).clamp(0, 1)[..., 0]


def _logit(share: Tensor) -> Tensor:
    return torch.logit(share.clamp(CLAMP, 1 - CLAMP))
