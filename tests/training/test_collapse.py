import math
import re

import pytest

from l4f_datagen.recipe import TrainingPart
from l4f_datagen.training.balance import RestartScales
from l4f_datagen.training.collapse import (
    KINDS,
    LARGER,
    SMALLER,
    collapsed,
    diagnose,
    is_measured,
    scales_after,
    swings,
)
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
    ],
)
def test_every_kind_is_found(recent, kind, config):
    assert diagnose(recent, LIMITS, config) == kind


@pytest.mark.parametrize(
    "recent",
    [
        [],
        history([0.999] * 19),
        history([0.3] * 40),
        history([0.3] * 40, first=300),
        history([0.98 - 0.02 * k for k in range(40)]),  # on its way down, once
        history([0.5 + 0.1 * (-1) ** k for k in range(40)]),
        history([0.3] * 40, binarization=0.29),  # not yet ramped in
        history([0.3] * 40, d_loss=0.1),
    ],
)
def test_what_is_no_collapse(recent):
    assert diagnose(recent, LIMITS, AUTO) is None


def test_far_outside_the_limits_once_settled():
    late = {"first": 200}
    assert diagnose(history([0.75] * 40, **late), LIMITS, AUTO) == "all-white"
    assert diagnose(history([0.02] * 40, binarization=0.0, **late), LIMITS, AUTO) == "all-black"
    assert diagnose(history([0.75] * 40, **late), LIMITS, FIXED) is None
    assert diagnose(history([0.75] * 40, first=20), LIMITS, AUTO) is None


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


def test_every_failure_changes_the_next_attempt():
    for kind in KINDS.values():
        assert hasattr(RestartScales(), kind.setting)
        assert kind.factor != 1
    assert scales_after([]) == RestartScales()
    scales = scales_after(["all-white", "all-white", "swinging"])
    assert scales == RestartScales(area=4.0, learning_rate=0.5)


@pytest.mark.parametrize(
    ("failures", "scales", "measured"),
    [
        ([], RestartScales(), False),
        (["grey"], RestartScales(binarization=2.0), False),
        (["grey", SMALLER], RestartScales(binarization=2.0, coverage_limit=0.625), True),
        ([SMALLER, "grey"], RestartScales(binarization=2.0, coverage_limit=0.625), True),
        ([LARGER], RestartScales(binarization=4.0, at_once=True), False),
        ([LARGER, LARGER], RestartScales(binarization=4.0, at_once=True), True),
        # It starts anew, as before the object was measured.
        ([LARGER, "all-white"], RestartScales(area=2.0), False),
        ([LARGER, LARGER, "grey"], RestartScales(binarization=2.0), False),
    ],
)
def test_the_measured_size_changes_what_follows(failures, scales, measured):
    assert scales_after(failures) == scales
    assert is_measured(failures) == measured


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in (SMALLER, LARGER)])
def test_words_and_advice(kind):
    error = collapsed([kind], 0.25)
    told = (
        f"alpha training: collapsed: {KINDS[kind].words} (mean alpha 0.250); {KINDS[kind].advice}"
    )
    assert str(error) == told
    assert error.exit_code == 1


def test_earlier_attempts_are_named():
    text = str(collapsed(["all-white", "swinging", "not-a-number"], math.nan))
    expected = (
        r"collapsed: the loss is not a number in attempt 3, after: the matte is all "
        r"white, then the matte swings between too white and too black; lower alpha.training.learn"
    )
    assert re.search(expected, text)
