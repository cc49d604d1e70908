"""The weights of one step: the recipe's own, or held in balance with the discriminator's pull.

What the discriminator pulls at a pixel of alpha depends on the domain and on how far it has come;
binarisation, area and coverage pull with 1 / pixels each. ``balance: auto`` measures the first
(sum of |d realism / d alpha| over the pixels, shared out over those of the object) and divides by
it, so that one set of weights means the same everywhere: that of an object over a quarter of the
picture. Hinges keep each picture's mean alpha in the bracket of ``object_size``.

Area has a price besides: alpha keeps a pixel if its realism is worth more. A low price always
holds: ground that nobody misses is let go. It rises steeply once the batches' mean alpha is larger
than the object's measured share. Without it the matte creeps on after the object is found: shadow
and surroundings, too, make a composite a little more real.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from l4f_datagen.recipe import TrainingPart
from l4f_datagen.training import losses
from l4f_datagen.training.object_size import Bracket

PULL_MEMORY, COVERAGE_MEMORY = 0.9, 0.8
HINGE_WEIGHT = 3.0
PRICE_FROM, PRICE_TO = 1.08, 1.33
"""Mean alpha, by the object's share, where the price of area starts to rise and is highest."""
HIGHEST_PRICE = 20.0
PAPER_COVERAGE = 0.25


@dataclass(frozen=True)
class Knobs:
    """What a restart changes, as factors on the recipe's values."""

    area: float = 1.0
    binarization: float = 1.0
    learning_rate: float = 1.0
    d_learning_rate: float = 1.0


UNCHANGED = Knobs()


@dataclass(frozen=True)
class Forces:
    """What ``balance: auto`` keeps from step to step.

    Attributes:
        pull: running mean of the discriminator's pull on alpha.
        coverage: running mean of alpha.
    """

    pull: float
    coverage: float


@dataclass(frozen=True)
class Weights:
    """Factors of one step's loss terms, and the coverage hinges' limits."""

    adversarial: float
    binarization: float
    area: float
    fg_coverage: float
    bg_coverage: float
    bracket: Bracket

    def loss(
        self, slope: Float[Tensor, "batch 1 h w"], alpha: Float[Tensor, "batch 1 h w"]
    ) -> Float[Tensor, ""]:
        """Return a sum with the gradient of the weighted losses.

        Args:
            slope: d realism / d alpha; its product with alpha stands for the realism loss, so
                that the discriminator is walked back through once.
            alpha: with the graph of the alpha network.
        """
        return (
            self.adversarial * (slope * alpha).sum()
            + self.binarization * losses.binarization_loss(alpha)
            + self.area * losses.area_loss(alpha)
            + self.fg_coverage * losses.fg_coverage_loss(alpha, self.bracket.lower)
            + self.bg_coverage * losses.bg_coverage_loss(alpha, 1 - self.bracket.upper)
        )


def fixed_bracket(config: TrainingPart) -> Bracket:
    """The recipe's limits; the paper's quarter where it names none."""
    lower, outer = config.min_fg_coverage, config.min_bg_coverage
    lower = PAPER_COVERAGE if lower is None else lower
    upper = 1 - (PAPER_COVERAGE if outer is None else outer)
    return Bracket(lower, upper, share=upper)


def weights_at(
    config: TrainingPart, bracket: Bracket, step: int, forces: Forces, knobs: Knobs
) -> Weights:
    """Return the weights of a step.

    Args:
        config: the recipe's training part.
        bracket: from ``coverage_bracket`` or ``fixed_bracket``.
        step: 0 for the first.
        forces: what has been measured so far; not looked at with ``balance: fixed``.
        knobs: what restarts have changed.
    """
    fixed = config.balance == "fixed"
    fg_default = config.binarization_weight if fixed else HINGE_WEIGHT
    bg_default = 0.0 if fixed else HINGE_WEIGHT
    fg, bg = config.fg_coverage_weight, config.bg_coverage_weight
    return Weights(
        adversarial=config.adversarial_weight * (1.0 if fixed else object_pull(forces, bracket)),
        binarization=config.binarization_weight * knobs.binarization * ramp(config, step),
        area=config.area_weight * knobs.area * (1.0 if fixed else price(forces, bracket)),
        fg_coverage=fg_default if fg is None else fg,
        bg_coverage=bg_default if bg is None else bg,
        bracket=bracket,
    )


def ramp(config: TrainingPart, step: int) -> float:
    """Share of the binarisation weight at a step: alpha is to choose before it hardens."""
    return min(1.0, (step + 1) / config.binarization_ramp) if config.binarization_ramp else 1.0


def learning_rate_share(config: TrainingPart, step: int) -> float:
    """Share of the alpha network's learning rate at a step: whole, then falling to a twentieth."""
    start = config.decay_from * config.steps
    if step < start:
        return 1.0
    return max(0.05, 1 - (step - start) / (config.steps - start))


def object_pull(forces: Forces, bracket: Bracket) -> float:
    """Return the factor that brings the pull on a pixel of the object to that of the balance."""
    return bracket.share / PAPER_COVERAGE / forces.pull


def price(forces: Forces, bracket: Bracket) -> float:
    """Return the price of area as a factor on ``area_weight``, 1 to ``HIGHEST_PRICE``."""
    over = (forces.coverage / bracket.share - PRICE_FROM) / (PRICE_TO - PRICE_FROM)
    return 1 + (HIGHEST_PRICE - 1) * min(max(over, 0.0), 1.0)


def next_forces(forces: Forces | None, pull: float, coverage: float) -> Forces:
    """Return the forces after a step.

    Args:
        forces: before it; None before the first, which only measures.
        pull: sum of |d realism / d alpha| over the batch's pixels, as measured.
        coverage: mean alpha of the batch.
    """
    pull = max(pull, 1e-6)
    if forces is None:
        return Forces(pull, coverage)
    return Forces(
        PULL_MEMORY * forces.pull + (1 - PULL_MEMORY) * pull,
        COVERAGE_MEMORY * forces.coverage + (1 - COVERAGE_MEMORY) * coverage,
    )
