import math

import pytest

from l4f_datagen.recipe import TrainingPart
from l4f_datagen.training.collapse import (
    KINDS,
    LARGER,
    SMALLER,
    Collapsed,
    check_attempts,
    diagnose,
    scales_after,
    size_after,
    swings,
)
from l4f_datagen.training.losses import RestartScales
from l4f_datagen.training.object_size import CoverageRange
from l4f_datagen.training.state import StepFacts

LIMITS = CoverageRange(0.1, 0.4, share=0.2)
AUTO, FIXED = TrainingPart(balance="auto"), TrainingPart(balance="fixed")


def history(coverage, *, first=1, d_loss=1.3, binarization=0.02, realism=0.7):
    return [
        StepFacts(first + k, d_loss, realism, binarization, value)
        for k, value in enumerate(coverage)
    ]


@pytest.mark.parametrize("config", [AUTO, FIXED])
@pytest.mark.parametrize(
    ("recent", "kind"),
    [
        (history([0.999] * 20), "all-white"),
        (history([0.001] * 20), "all-black"),
        (history([0.3] * 10 + [math.nan]), "not-a-number"),
        (history([0.3], d_loss=math.inf), "not-a-number"),
        (history(([0.1] * 5 + [0.6] * 5) * 4), "swinging"),
        (history([0.3] * 20, d_loss=0.01), "beaten"),
        (history([0.3] * 40, first=200, binarization=0.29), "grey"),
        ([], None),
        (history([0.999] * 19), None),
        (history([0.3] * 40), None),
        (history([0.3] * 40, first=300), None),
        (history([0.98 - 0.02 * k for k in range(40)]), None),  # on its way down, once
        (history([0.5 + 0.1 * (-1) ** k for k in range(40)]), None),
        (history([0.3] * 40, binarization=0.29), None),  # not yet ramped in
        (history([0.3] * 40, d_loss=0.1), None),
        (history([0.75] * 40, first=20), None),
    ],
)
def test_what_is_a_collapse_and_what_is_none(recent, kind, config):
    assert diagnose(recent, LIMITS, config) == kind


def test_far_outside_the_limits_once_settled():
    white = history([0.75] * 40, first=200)
    assert (diagnose(white, LIMITS, AUTO), diagnose(white, LIMITS, FIXED)) == ("all-white", None)
    black = history([0.02] * 40, binarization=0.0, first=200)
    assert diagnose(black, LIMITS, AUTO) == "all-black"


def test_a_collapse_shows_within_a_hundred_steps_of_its_onset():
    recent, steps = history([0.3] * 40, first=60), 0
    while diagnose(recent[-40:], LIMITS, AUTO) is None:
        steps += 1
        recent += history([1.0], first=100 + steps)
    assert steps <= 20


def test_the_last_steps_of_a_short_run_count_too():
    assert diagnose(history([0.999] * 3), LIMITS, TrainingPart(steps=3)) == "all-white"


def test_swings_count_turns():
    assert swings([0.5] * 10) == 0
    assert swings([0.1, 0.6, 0.1, 0.6]) == 3
    assert swings([0.1, 0.3, 0.5, 0.7, 0.9]) == 1


ONCE_LARGER = RestartScales(binarization=4.0, at_once=True)


@pytest.mark.parametrize(
    ("failures", "scales", "sizes"),
    [
        ([], RestartScales(), (SMALLER, LARGER)),
        (["all-white", "all-white", "swinging"], RestartScales(4.0, 1.0, 0.5), (SMALLER, LARGER)),
        (["grey"], RestartScales(binarization=2.0), (SMALLER, LARGER)),
        (["grey", SMALLER], RestartScales(binarization=2.0, coverage_limit=0.625), (None, None)),
        ([SMALLER, "grey"], RestartScales(binarization=2.0, coverage_limit=0.625), (None, None)),
        ([LARGER], ONCE_LARGER, (LARGER, LARGER)),
        ([LARGER, LARGER], ONCE_LARGER, (None, None)),
        # It starts anew, as before the object was measured.
        ([LARGER, "all-white"], RestartScales(area=2.0), (SMALLER, LARGER)),
        ([LARGER, LARGER, "grey"], RestartScales(binarization=2.0), (SMALLER, LARGER)),
        (["grey", LARGER], RestartScales(binarization=8.0, at_once=True), (LARGER, LARGER)),
    ],
)
def test_failures_and_the_measured_size_change_what_follows(failures, scales, sizes):
    assert scales_after(failures) == scales
    assert (size_after(failures, lambda: 0.449), size_after(failures, lambda: 0.45)) == sizes


@pytest.mark.parametrize("name", [name for name in KINDS if name not in (SMALLER, LARGER)])
def test_words_and_advice(name):
    kind = KINDS[name]
    assert scales_after([name]) != RestartScales()
    check_attempts([SMALLER, LARGER, name], 2, 0.25, None)
    with pytest.raises(Collapsed) as caught:
        check_attempts([LARGER, name], 1, 0.25, None)
    told = f"alpha training: collapsed: {kind.words} (mean alpha 0.250); {kind.advice}"
    assert (str(caught.value), caught.value.exit_code) == (told, 1)


def test_earlier_attempts_are_named():
    expected = (
        r"collapsed: the loss is not a number in attempt 3, after: the matte is all "
        r"white, then the matte swings from white to black; lower alpha.training.learning_rate"
    )
    with pytest.raises(Collapsed, match=expected):
        check_attempts(["all-white", "swinging", LARGER, "not-a-number"], 3, math.nan, None)
