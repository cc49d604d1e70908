"""The weights of one step: the recipe's own, or relative to the discriminator's gradient.

The size of the discriminator's gradient at a pixel of alpha depends on the domain and on how far
the discriminator has come; the gradients of binarisation, area and coverage are 1 / pixels each.
``balance: auto`` measures the first (sum of |d realism / d alpha| over the pixels, divided by those
of the object) and divides by it, so that one set of weights means the same everywhere: that of an
object over a quarter of the image. Hinges keep each image's mean alpha in the coverage range.

Area has a penalty besides: alpha keeps a pixel if its realism is worth more. The penalty is low
while the batches' mean alpha is below the object's estimated share, and rises steeply above it.
Without it the matte goes on growing after the object is found: shadow and surroundings, too, make a
composite a little more real.
"""

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import AlphaPart, TrainingPart
from l4f_datagen.training import losses
from l4f_datagen.training.object_size import CoverageRange, estimated_range

GRAD_NORM_MEMORY, COVERAGE_MEMORY = 0.9, 0.8
HINGE_WEIGHT = 3.0
PENALTY_FROM, PENALTY_TO = 1.08, 1.33
"""Mean alpha, by the object's share, where the area penalty starts to rise and is highest."""
HIGHEST_PENALTY = 20.0
TWO_SIDED_FG, TWO_SIDED_BG = 0.05, 0.2
"""Least coverage of either side, of every image. Mean alpha rises to the upper limit whatever the
object's size, so that lies above the largest objects' (faces cover .69, Labels4Free sec. 4). Where
the object turns out smaller, the training starts again with .5 (``collapse.SMALLER``)."""
TWO_SIDED_WEIGHTS = {"binarization": 0.6, "area": 0.2, "fg_coverage": 1.2, "bg_coverage": 6.0}
TWO_SIDED_PULL = 1.6
"""What the two discriminators' gradients by alpha add up to, in absolute value: that of skin
lesions, where the weights above were found. Without this measure the same weights fill half of
every image of blood cells, whose discriminators pull four times as hard."""
PAPER_R1_GAMMA = 10.0
TWO_SIDED_R1_GAMMA = 1.0
"""At 64 px, as in pretraining; with the paper's 10 the discriminators see a third as much of faint
rims (their gradient on skin lesions is .7, against 1.6 to 2.4)."""
PAPER_COVERAGE = 0.25
"""Least coverage of either side in the paper's training (Labels4Free, sec. 3.3)."""


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
    """What ``balance: auto`` keeps from step to step.

    Attributes:
        grad_norm: running mean of the sum of |d realism / d alpha|.
        coverage: running mean of alpha.
    """

    grad_norm: float
    coverage: float


@dataclass(frozen=True)
class Weights:
    """Factors of one step's loss terms, and the coverage hinges' limits."""

    adversarial: float
    binarization: float
    area: float
    fg_coverage: float
    bg_coverage: float
    coverage: CoverageRange
    rest: float = 0.0

    def loss(
        self,
        slope: Float[Tensor, "batch 1 h w"],
        alpha: Float[Tensor, "batch 1 h w"],
        rest_slope: Float[Tensor, "batch 1 h w"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return a sum with the gradient of the weighted losses.

        Args:
            slope: d realism / d alpha; its product with alpha stands for the realism loss, so
                that one backward pass goes through the discriminator.
            alpha: with the graph of the alpha network.
            rest_slope: likewise of the second discriminator's loss, with ``two-sided``.
        """
        pull = self.adversarial * slope
        if rest_slope is not None:
            pull = pull + self.rest * rest_slope
        return (
            (pull * alpha).sum()
            + self.binarization * losses.binarization_loss(alpha)
            + self.area * losses.area_loss(alpha)
            + self.fg_coverage * losses.fg_coverage_loss(alpha, self.coverage.lower)
            + self.bg_coverage * losses.bg_coverage_loss(alpha, 1 - self.coverage.upper)
        )


def coverage_range(part: AlphaPart, generator: Generator) -> CoverageRange:
    """Return the coverage limits of a training: the recipe's, or estimated from the generator."""
    if part.training.balance == "auto":
        return estimated_range(part, generator)
    return fixed_range(part.training)


def fixed_range(config: TrainingPart) -> CoverageRange:
    """Return the recipe's limits; where it names none, the paper's or those of two-sided."""
    two_sided = config.balance == "two-sided"
    lower, outer = config.min_fg_coverage, config.min_bg_coverage
    if lower is None:
        lower = TWO_SIDED_FG if two_sided else PAPER_COVERAGE
    if outer is None:
        outer = TWO_SIDED_BG if two_sided else PAPER_COVERAGE
    upper = 1 - outer
    return CoverageRange(lower, upper, share=upper)


def weights_at(
    config: TrainingPart,
    coverage: CoverageRange,
    step: int,
    balance: LossBalance,
    scales: RestartScales,
) -> Weights:
    """Return the weights of a step.

    Args:
        config: the recipe's training part.
        coverage: from ``coverage_range``.
        step: 0 for the first.
        balance: what has been measured so far; not used with ``balance: fixed``.
        scales: what restarts have changed.
    """
    if config.balance == "two-sided":
        return two_sided_weights(config, coverage, step, scales, balance)
    fixed = config.balance == "fixed"
    fg_default = config.binarization_weight if fixed else HINGE_WEIGHT
    bg_default = 0.0 if fixed else HINGE_WEIGHT
    fg, bg = config.fg_coverage_weight, config.bg_coverage_weight
    adversarial = 1.0 if fixed else adversarial_scale(balance, coverage)
    area = 1.0 if fixed else area_penalty(balance, coverage)
    return Weights(
        adversarial=config.adversarial_weight * adversarial,
        binarization=config.binarization_weight * scales.binarization * ramp(config, step, scales),
        area=config.area_weight * scales.area * area,
        fg_coverage=fg_default if fg is None else fg,
        bg_coverage=bg_default if bg is None else bg,
        coverage=coverage,
    )


def two_sided_weights(
    config: TrainingPart,
    coverage: CoverageRange,
    step: int,
    scales: RestartScales,
    balance: LossBalance,
) -> Weights:
    """Return the weights of a step with two discriminators; a recipe's own weights are factors."""
    pull = TWO_SIDED_PULL / balance.grad_norm
    own = TWO_SIDED_WEIGHTS
    fg, bg = config.fg_coverage_weight, config.bg_coverage_weight
    hardening = config.binarization_weight / TrainingPart().binarization_weight
    area = config.area_weight / TrainingPart().area_weight
    return Weights(
        adversarial=config.adversarial_weight * pull,
        binarization=own["binarization"]
        * hardening
        * scales.binarization
        * ramp(config, step, scales),
        area=own["area"] * area * scales.area,
        fg_coverage=own["fg_coverage"] if fg is None else fg,
        bg_coverage=own["bg_coverage"] if bg is None else bg,
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


def ramp(config: TrainingPart, step: int, scales: RestartScales = UNCHANGED) -> float:
    """Share of the binarisation weight at a step: alpha chooses before it hardens."""
    if scales.at_once or not config.binarization_ramp:
        return 1.0
    return min(1.0, (step + 1) / config.binarization_ramp)


def learning_rate_share(config: TrainingPart, step: int) -> float:
    """Share of the alpha network's learning rate at a step: whole, then falling to a twentieth."""
    start = config.decay_from * config.steps
    if step < start:
        return 1.0
    return max(0.05, 1 - (step - start) / (config.steps - start))


def adversarial_scale(balance: LossBalance, coverage: CoverageRange) -> float:
    """Return the factor that brings the gradient at a pixel of the object to a common size."""
    return coverage.share / PAPER_COVERAGE / balance.grad_norm


def area_penalty(balance: LossBalance, coverage: CoverageRange) -> float:
    """Return the penalty of area as a factor on ``area_weight``, 1 to ``HIGHEST_PENALTY``."""
    over = (balance.coverage / coverage.share - PENALTY_FROM) / (PENALTY_TO - PENALTY_FROM)
    return 1 + (HIGHEST_PENALTY - 1) * min(max(over, 0.0), 1.0)


def next_balance(balance: LossBalance | None, grad_norm: float, coverage: float) -> LossBalance:
    """Return the balance after a step.

    Args:
        balance: before it; None before the first, which only measures.
        grad_norm: sum of |d realism / d alpha| over the batch's pixels, as measured.
        coverage: mean alpha of the batch.
    """
    grad_norm = max(grad_norm, 1e-6)
    if balance is None:
        return LossBalance(grad_norm, coverage)
    return LossBalance(
        GRAD_NORM_MEMORY * balance.grad_norm + (1 - GRAD_NORM_MEMORY) * grad_norm,
        COVERAGE_MEMORY * balance.coverage + (1 - COVERAGE_MEMORY) * coverage,
    )
