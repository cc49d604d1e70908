"""Why a training starts again: collapses, noticed within 100 steps, and the size of its object."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from statistics import fmean

from l4f_datagen.core.errors import InputRefused, L4FError
from l4f_datagen.recipe import TrainingPart
from l4f_datagen.training.losses import RestartScales
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

    Where ``goes_on``, the next attempt starts with the networks of this one, their mattes parted at
    0.5; it alone has the changed setting, whole from its first step, and after a collapse it is as
    if it had not been. Else the next attempt starts anew, and the change stays.
    """

    words: str  # completes "collapsed: "
    setting: str  # what the next attempt changes, a field of ``RestartScales``
    factor: float  # by how much
    advice: str = ""  # for the user, after the last attempt
    goes_on: bool = False


LESS_AREA, MORE_AREA = (f"raise alpha.training.{side}_coverage_weight" for side in ("bg", "fg"))
SLOWER, HARDER = "lower alpha.training.learning_rate", "raise alpha.training.binarization_weight"
OWN_REALS = "use reals like the generator's images (alpha.training.reals=generator always is)"
KINDS = {
    "not-a-number": Kind(
        "the loss is not a number", "learning_rate", 0.5, f"{SLOWER}, or take bf16 for fp16"
    ),
    "all-white": Kind("the matte is all white", "area", 2.0, LESS_AREA),
    "all-black": Kind("the matte is all black", "area", 0.5, MORE_AREA),
    "swinging": Kind("the matte swings from white to black", "learning_rate", 0.5, SLOWER),
    "beaten": Kind(
        "the discriminator recognises every composite", "d_learning_rate", 0.5, OWN_REALS
    ),
    "grey": Kind("the matte stays grey", "binarization", 2.0, HARDER),
    # No failure: the first attempt has measured the object. With a limit of .8 x .625 its pixels
    # compete for the area: at their best level the mattes of skin lesions then have mIoU .80
    # against .69, those of toy cars .940 against .932.
    SMALLER: Kind("the object fills less than half of the image", "coverage_limit", 0.625),
    # Mattes that are grey near the limit let the discriminators judge little but that they are
    # grey; with this weight from the start most first networks never leave it. New discriminators
    # have .856 on portraits in place of .955.
    LARGER: Kind("the object fills half of the image", "binarization", 4.0, goes_on=True),
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
        way = (value > extreme) - (value < extreme)
        if way != side and abs(value - extreme) > SWING:
            turns, side, extreme = turns + 1, way, value
        elif way == side:
            extreme = value
    return turns


def size_after(failures: Sequence[str], measure: Callable[[], float]) -> str | None:
    """Name the kind of the next attempt by the object's share of the image; None: none follows.

    A small object has one attempt, a large one ``LARGER_ATTEMPTS`` in a row. Collapses before do
    not count, and one within a row has lost its mattes: the object is measured again.
    """
    row = len(list(takewhile(lambda name: name == LARGER, reversed(failures))))
    if SMALLER in failures or row == LARGER_ATTEMPTS:
        return None
    return SMALLER if not row and measure() < LARGE else LARGER


def scales_after(failures: Sequence[str]) -> RestartScales:
    """Return what the restarts have changed so far, see ``Kind``."""
    scales = RestartScales()
    for place, name in enumerate(failures, 1):
        kind, is_last = KINDS[name], place == len(failures)
        if is_last or not kind.goes_on:
            changed = {kind.setting: getattr(scales, kind.setting) * kind.factor}
            scales = replace(scales, **changed, at_once=kind.goes_on)
    return scales


def check_attempts(
    failures: Sequence[str], attempts: int, coverage: float, photographs: str | None
) -> None:
    """Raise ``Collapsed`` where so many attempts have collapsed; ``coverage`` is the last's.

    The user's ``photographs`` are the cause where the discriminator recognised every composite in
    every attempt: ``PhotographsRefused``.
    """
    collapses = [name for name in failures if name not in (SMALLER, LARGER)]
    if len(collapses) < attempts:
        return
    if photographs is not None and set(collapses) == {"beaten"}:
        problem = (
            "the discriminator recognises every composite beside these photographs: "
            "they show another class, or do not look like the generator's images"
        )
        remedy = "use photographs of what the generator draws, or --reals generator"
        raise PhotographsRefused(photographs, problem, remedy)
    *before, kind = (KINDS[name] for name in collapses)
    mean = "" if math.isnan(coverage) else f" (mean alpha {coverage:.3f})"
    problem = f"collapsed: {kind.words}{mean}"
    if before:
        earlier = ", then ".join(one.words for one in before)
        problem += f" in attempt {len(collapses)}, after: {earlier}"
    raise Collapsed("alpha training", problem, kind.advice)
