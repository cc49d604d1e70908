"""Collapses of a training: noticed within 100 steps, answered by a restart with a new setting."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from l4f_datagen.core.errors import InputRefused, L4FError
from l4f_datagen.recipe import TrainingPart
from l4f_datagen.training.balance import RestartScales
from l4f_datagen.training.object_size import CoverageRange
from l4f_datagen.training.state import StepFacts

WINDOW = 20
WHITE, BLACK = 0.985, 0.005
SETTLED = 80
"""Steps after which alpha has had time to come near its range."""
SWING, SWINGS = 0.3, 4
BEATEN = 0.05
"""Of the logistic loss: the discriminator is certain of every image."""
GREY = 0.8
"""Share of the largest possible indecision, min(mean, 1 - mean)."""
SMALLER, LARGER = "smaller", "larger"
"""Why a training goes on that has not collapsed: the first attempt has measured its object."""
LARGE = 0.45
"""Share of the image from which an object is large: those of toy portraits cover .60, as parted at
a limit of .8 (true .64), of close-ups .52 (.54), and those of toys, lesions and blood cells .18 to
.37. Threes of MNIST have .50 (.09) and become small again as the networks go on."""
LARGER_ATTEMPTS = 2
"""How often the networks of a large object go on. With 1, one seed of portraits misses
shoulders (recall .89, mIoU .842 after self-training, refined, in place of .955 with 2)."""


class Collapsed(L4FError):
    """The training collapsed in every attempt (exit 1)."""


class PhotographsRefused(Collapsed, InputRefused):
    """The user's photographs do not look like what the generator draws (exit 4)."""


@dataclass(frozen=True)
class Kind:
    """One reason to start again.

    Attributes:
        words: completes "collapsed: ".
        setting: what a restart changes, a field of ``RestartScales``.
        factor: by how much.
        advice: for the user, after the last restart.
        at_once: whether the binarisation weight is whole from the first step on.
    """

    words: str
    setting: str
    factor: float
    advice: str = ""
    at_once: bool = False


KINDS: dict[str, Kind] = {
    "not-a-number": Kind(
        "the loss is not a number",
        "learning_rate",
        0.5,
        "lower alpha.training.learning_rate, or use bf16 or fp32 where the precision is fp16",
    ),
    "all-white": Kind(
        "the matte is all white",
        "area",
        2.0,
        "raise alpha.training.bg_coverage_weight or min_bg_coverage in the recipe",
    ),
    "all-black": Kind(
        "the matte is all black",
        "area",
        0.5,
        "raise alpha.training.fg_coverage_weight or min_fg_coverage in the recipe",
    ),
    "swinging": Kind(
        "the matte swings between too white and too black",
        "learning_rate",
        0.5,
        "lower alpha.training.learning_rate",
    ),
    "beaten": Kind(
        "the discriminator recognises every composite",
        "d_learning_rate",
        0.5,
        "use reals that look like the generator's images (reals: generator always does)",
    ),
    "grey": Kind(
        "the matte stays grey",
        "binarization",
        2.0,
        "raise alpha.training.binarization_weight in the recipe",
    ),
    # No failure: the first attempt has measured the object. With a limit of .8 x .625 its pixels
    # compete for the area: at their best level the mattes of skin lesions then have mIoU .80
    # against .69, those of toy cars .940 against .932.
    SMALLER: Kind("the object fills less than half of the image", "coverage_limit", 0.625),
    # The networks go on from these mattes, parted at 0.5. Mattes that are grey near the limit let
    # the discriminators judge little but that they are grey; with this weight from the start most
    # first networks never leave it. New discriminators have .856 on portraits in place of .955.
    LARGER: Kind("the object fills half of the image", "binarization", 4.0, at_once=True),
}


def diagnose(
    recent: Sequence[StepFacts], limits: CoverageRange, config: TrainingPart
) -> str | None:
    """Name the collapse that the last steps show, or None."""
    if not recent:
        return None
    last = recent[-1]
    numbers = (last.d_loss, last.realism, last.binarization, last.alpha_coverage)
    if not all(map(math.isfinite, numbers)):
        return "not-a-number"
    window = recent[-WINDOW:]
    coverage = fmean(facts.alpha_coverage for facts in window)
    if len(window) == WINDOW or last.step >= config.steps:
        settled = config.balance == "auto" and last.step >= SETTLED
        if coverage > ((1 + limits.upper) / 2 if settled else WHITE):
            return "all-white"
        if coverage < (limits.lower / 4 if settled else BLACK):
            return "all-black"
    if len(window) < WINDOW:
        return None
    if swings([facts.alpha_coverage for facts in recent]) >= SWINGS:
        return "swinging"
    if fmean(facts.d_loss for facts in window) < BEATEN:
        return "beaten"
    hardened = last.step >= max(SETTLED, config.binarization_ramp) + WINDOW
    grey = fmean(facts.binarization for facts in window)
    if hardened and config.binarization_weight and grey > GREY * min(coverage, 1 - coverage):
        return "grey"
    return None


def swings(coverage: Sequence[float]) -> int:
    """Count the turns of more than ``SWING`` up or down."""
    turns, side, extreme = 0, 0, coverage[0]
    for value in coverage[1:]:
        if side >= 0 and value < extreme - SWING:
            turns, side, extreme = turns + 1, -1, value
        elif side <= 0 and value > extreme + SWING:
            turns, side, extreme = turns + 1, 1, value
        elif (side > 0 and value > extreme) or (side < 0 and value < extreme):
            extreme = value
    return turns


def is_measured(failures: Sequence[str]) -> bool:
    """Whether the attempt after these is the last for an object of the size that was measured.

    An attempt that went on from mattes of a large object and collapsed has lost them.
    """
    return SMALLER in failures or list(failures[-LARGER_ATTEMPTS:]) == [LARGER] * LARGER_ATTEMPTS


def scales_after(failures: Sequence[str]) -> RestartScales:
    """Return what the restarts have changed so far; what ``LARGER`` changes, the next alone."""
    scales = RestartScales()
    for kind in [name for name in failures[:-1] if name != LARGER] + list(failures[-1:]):
        name, factor = KINDS[kind].setting, KINDS[kind].factor
        scales = replace(scales, **{name: getattr(scales, name) * factor})
        scales = replace(scales, at_once=KINDS[kind].at_once)
    return scales


def collapsed(
    failures: Sequence[str], coverage: float, *, photographs: str | None = None
) -> Collapsed:
    """Return the error that ends a training after its last attempt.

    Args:
        failures: kinds of collapse, one an attempt.
        coverage: mean alpha at the end.
        photographs: the user's reals; they are the cause where the discriminator recognised every
            composite in every attempt.
    """
    if photographs is not None and set(failures) == {"beaten"}:
        problem = (
            "the discriminator recognises every composite beside these photographs: "
            "they show another class, or do not look like the generator's images"
        )
        remedy = "use photographs of what the generator draws, or --reals generator"
        return PhotographsRefused(photographs, problem, remedy)
    kind = KINDS[failures[-1]]
    mean = "" if math.isnan(coverage) else f" (mean alpha {coverage:.3f})"
    problem = f"collapsed: {kind.words}{mean}"
    if len(failures) > 1:
        earlier = ", then ".join(KINDS[name].words for name in failures[:-1])
        problem += f" in attempt {len(failures)}, after: {earlier}"
    return Collapsed("alpha training", problem, kind.advice)
