"""The loss terms of Labels4Free (sec. 3.3), and their weights at a step.

Weights are the recipe's own, or relative to the discriminator's gradient. Its size at a pixel of
alpha depends on the domain and on how far the discriminator has come; the gradients of
binarisation, area and coverage are 1 / pixels each. ``balance: auto`` measures the first (sum of
|d realism / d alpha| over the pixels, divided by those of the object) and divides by it, so that
one set of weights means the same everywhere: that of an object over a quarter of the image. Hinges
keep each image's mean alpha in the coverage range.

Area has a penalty besides: alpha keeps a pixel if its realism is worth more. The penalty is low
while the batches' mean alpha is below the object's estimated share, and rises steeply above it.
Without it the matte goes on growing after the object is found: shadow and surroundings, too, make a
composite a little more real.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from l4f_datagen.recipe import TrainingPart
from l4f_datagen.training.object_size import PAPER_COVERAGE, CoverageRange

HIDDEN_BORDER = 1 / 16
"""Share of the side that the second discriminator does not see at each border. Convolutions that
pad with zeros draw a frame there that muted twins lack (digits: 2 px of 32): without this it counts
as object, and every sample touches the border."""
GRAD_NORM_MEMORY, COVERAGE_MEMORY = 0.9, 0.8
HINGE_WEIGHT = 3.0
PENALTY_FROM, PENALTY_TO, HIGHEST_PENALTY = 1.08, 1.33, 20.0
"""Mean alpha, by the object's share, where the area penalty starts to rise and is highest."""
TWO_SIDED_WEIGHTS = {"binarization": 0.6, "area": 0.2, "fg_coverage": 1.2, "bg_coverage": 6.0}
TWO_SIDED_PULL = 1.6
"""What the two discriminators' gradients by alpha add up to, in absolute value: that of skin
lesions, where the weights above were found. Without this measure the same weights fill half of
every image of blood cells, whose discriminators pull four times as hard."""
PAPER_R1_GAMMA = 10.0
TWO_SIDED_R1_GAMMA = 1.0
"""At 64 px, as in pretraining; with the paper's 10 the discriminators see a third as much of faint
rims (their gradient on skin lesions is .7, against 1.6 to 2.4)."""

Images = Float[Tensor, "batch 3 h w"]
Halved = Float[Tensor, "batch 3 h/2 w/2"]
Alpha = Float[Tensor, "batch 1 h w"]
Logits = Float[Tensor, " batch"]
Loss = Float[Tensor, ""]


def composite(fg_image: Images, bg_image: Images, alpha: Alpha) -> Images:
    """Alpha-over in [-1, 1] space: ``alpha * fg + (1 - alpha) * bg``."""
    return alpha * fg_image + (1 - alpha) * bg_image


def rest_image(fg_image: Images, bg_image: Images, alpha: Alpha) -> Halved:
    """Return the image without its object as ``seen_as_ground``: ``alpha * bg + (1 - alpha) * fg``.

    A part of the object that alpha leaves out stays in it.
    """
    return seen_as_ground(composite(bg_image, fg_image, alpha))


def seen_as_ground(images: Images) -> Halved:
    """Return what the second discriminator sees: half the side, and a border of zeros.

    At half the side the fine difference between ground that the trunk draws and ground that the
    muted trunk draws counts little.
    """
    small = F.avg_pool2d(images, 2)
    edge = round(HIDDEN_BORDER * small.shape[-1])
    return F.pad(small[..., edge:-edge, edge:-edge], [edge] * 4) if edge else small


def realism_loss(fake_logits: Logits) -> Loss:
    """Non-saturating loss of the alpha network: mean softplus(-D(composite))."""
    return F.softplus(-fake_logits).mean()


def discriminator_loss(real_logits: Logits, fake_logits: Logits) -> Loss:
    """Logistic loss: mean softplus(-D(real)) + mean softplus(D(composite))."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def r1_penalty(real_logits: Logits, reals: Images) -> Loss:
    """Mean squared norm of the discriminator's gradient at the reals (Mescheder et al. 2018)."""
    (slope,) = torch.autograd.grad(real_logits.sum(), reals, create_graph=True)
    return slope.square().sum(dim=(1, 2, 3)).mean()


def binarization_loss(alpha: Alpha) -> Loss:
    """Mean of min(alpha, 1 - alpha): 0 for a hard matte, 0.5 at most."""
    return torch.minimum(alpha, 1 - alpha).mean()


def coverage_loss(alpha: Alpha, least: float) -> Loss:
    """Hinge on every sample's mean alpha below ``least``; of background with 1 - alpha."""
    return F.relu(least - alpha.mean(dim=(1, 2, 3))).mean()


@dataclass(frozen=True)
class RestartScales:
    """What a restart changes, as factors on the recipe's values."""

    area: float = 1.0
    binarization: float = 1.0
    learning_rate: float = 1.0
    d_learning_rate: float = 1.0
    coverage_limit: float = 1.0
    at_once: bool = False  # no ramp: alpha has chosen before


UNCHANGED = RestartScales()


@dataclass(frozen=True)
class LossBalance:
    """What is kept from step to step, unless ``balance`` is fixed."""

    grad_norm: float  # running mean of the sum of |d realism / d alpha|
    coverage: float  # running mean of alpha


@dataclass(frozen=True)
class Weights:
    """Factors of one step's loss terms, and the coverage hinges' limits."""

    adversarial: float
    binarization: float
    area: float
    fg_coverage: float
    bg_coverage: float
    coverage: CoverageRange
    rest: float  # of the second discriminator's loss

    def loss(self, slope: Alpha, alpha: Alpha, rest_slope: Alpha | None = None) -> Loss:
        """Return a sum with the gradient of the weighted losses.

        ``slope`` is d realism / d alpha, ``rest_slope`` likewise of the second discriminator's
        loss. Their products with alpha stand for those losses, so that one backward pass goes
        through each discriminator.
        """
        pull = self.adversarial * slope
        if rest_slope is not None:
            pull = pull + self.rest * rest_slope
        return (
            (pull * alpha).sum()
            + self.binarization * binarization_loss(alpha)
            + self.area * alpha.mean()
            + self.fg_coverage * coverage_loss(alpha, self.coverage.lower)
            + self.bg_coverage * coverage_loss(1 - alpha, 1 - self.coverage.upper)
        )


def weights_at(
    config: TrainingPart,
    coverage: CoverageRange,
    step: int,
    balance: LossBalance,
    scales: RestartScales,
) -> Weights:
    """Return the weights of a step, 0 for the first.

    ``coverage`` is from ``coverage_range``, ``balance`` what has been measured so far (not used
    with ``balance: fixed``), ``scales`` what restarts have changed.
    """
    hardening, area, penalty = config.binarization_weight, config.area_weight, 1.0
    fg, bg = HINGE_WEIGHT, HINGE_WEIGHT
    if config.balance == "fixed":
        pull, fg, bg = 1.0, hardening, 0.0
    elif config.balance == "auto":
        # The gradient at a pixel of the object comes to a common size.
        pull = coverage.share / PAPER_COVERAGE / balance.grad_norm
        over = (balance.coverage / coverage.share - PENALTY_FROM) / (PENALTY_TO - PENALTY_FROM)
        penalty = 1 + (HIGHEST_PENALTY - 1) * min(max(over, 0.0), 1.0)
    else:  # two-sided: a recipe's own weights are factors
        pull, own, usual = TWO_SIDED_PULL / balance.grad_norm, TWO_SIDED_WEIGHTS, TrainingPart()
        hardening = own["binarization"] * (hardening / usual.binarization_weight)
        area = own["area"] * (area / usual.area_weight)
        fg, bg = own["fg_coverage"], own["bg_coverage"]
    ramp = 1.0  # alpha chooses before it hardens
    if config.binarization_ramp and not scales.at_once:
        ramp = min(1.0, (step + 1) / config.binarization_ramp)
    return Weights(
        adversarial=config.adversarial_weight * pull,
        binarization=hardening * scales.binarization * ramp,
        area=area * scales.area * penalty,
        fg_coverage=fg if config.fg_coverage_weight is None else config.fg_coverage_weight,
        bg_coverage=bg if config.bg_coverage_weight is None else config.bg_coverage_weight,
        coverage=replace(coverage, upper=coverage.upper * scales.coverage_limit),
        rest=config.rest_weight * pull,
    )


def r1_gamma(config: TrainingPart, side: int) -> float:
    """Return the weight of R1 for images of a side in px: the recipe's own, or see there."""
    if config.r1_gamma is not None:
        return config.r1_gamma
    if config.balance != "two-sided":
        return PAPER_R1_GAMMA
    return min(PAPER_R1_GAMMA, TWO_SIDED_R1_GAMMA * (side / 64) ** 2)


def learning_rate_share(config: TrainingPart, step: int) -> float:
    """Share of the alpha network's learning rate at a step: whole, then falling to a twentieth."""
    start = config.decay_from * config.steps
    if step < start:
        return 1.0
    return max(0.05, 1 - (step - start) / (config.steps - start))


def next_balance(balance: LossBalance | None, grad_norm: float, coverage: float) -> LossBalance:
    """Return the balance after a step that measured these two; None before the first."""
    grad_norm = max(grad_norm, 1e-6)
    if balance is None:
        return LossBalance(grad_norm, coverage)
    return LossBalance(
        GRAD_NORM_MEMORY * balance.grad_norm + (1 - GRAD_NORM_MEMORY) * grad_norm,
        COVERAGE_MEMORY * balance.coverage + (1 - COVERAGE_MEMORY) * coverage,
    )
