import numpy as np
import pytest

from l4f_datagen.recipe import BorderFilter, CoverageFilter, FiltersPart
from l4f_datagen.sampling.filters import (
    FILTERS,
    border_filter,
    coverage_filter,
    judge,
    measure,
    open_filters,
)


def matte(inside, size=(10, 10)):
    """A matte of 0.9 in the given slices, 0.2 elsewhere."""
    alpha = np.full(size, 0.2)
    alpha[inside] = 0.9
    return alpha


CENTRE = np.s_[3:7, 2:8]
"""24 of 100 pixels."""
LEFT = np.s_[2:8, 0:4]
"""24 of 100 pixels, 6 of the 36 on the border."""


def test_every_part_of_the_recipe_has_its_filter():
    assert list(FILTERS) == list(FiltersPart.model_fields)


def test_scores(make_sample):
    sample = measure(make_sample(alpha=matte(LEFT)))
    assert sample.scores == {
        "coverage": 0.24,
        "border_contact": round(6 / 36, 6),
        "alpha_uncertainty": pytest.approx(0.24 * 0.1 + 0.76 * 0.2, abs=1e-6),
    }


@pytest.mark.parametrize(
    ("low", "high", "reason"),
    [
        (0.0, 1.0, None),
        (0.24, 0.24, None),
        (0.25, 1.0, "coverage_low"),
        (0.0, 0.23, "coverage_high"),
    ],
)
def test_coverage(make_sample, low, high, reason):
    accept = coverage_filter(CoverageFilter(min=low, max=high))
    assert accept(measure(make_sample(alpha=matte(CENTRE)))) == reason


@pytest.mark.parametrize(("limit", "reason"), [(0.17, None), (0.16, "border_contact"), (1.0, None)])
def test_border(make_sample, limit, reason):
    sample = measure(make_sample(alpha=matte(LEFT)))
    assert border_filter(BorderFilter(max=limit))(sample) == reason
    assert border_filter(BorderFilter(max=0.0))(measure(make_sample(alpha=matte(CENTRE)))) is None


def test_the_first_reason_stands_and_scores_are_kept(make_sample):
    part = FiltersPart(coverage={"min": 0.5, "max": 0.9}, border={"max": 0.0})
    rejected = judge(make_sample(alpha=matte(LEFT)), open_filters(part))
    assert (rejected.status, rejected.reason) == ("rejected", "coverage_low")
    assert rejected.scores["coverage"] == 0.24
    only_border = FiltersPart(coverage=None, border={"max": 0.0})
    assert judge(make_sample(alpha=matte(LEFT)), open_filters(only_border)).reason == (
        "border_contact"
    )


def test_accepted_samples_are_measured_too(make_sample):
    before = make_sample(alpha=matte(CENTRE))
    accepted = judge(before, open_filters(FiltersPart()))
    assert (accepted.status, accepted.reason) == ("accepted", None)
    assert set(accepted.scores) == {"coverage", "border_contact", "alpha_uncertainty"}
    assert before.scores == {}
    assert accepted.key == before.key
    assert np.array_equal(accepted.mask, before.mask)


def test_a_filter_can_be_switched_off(make_sample):
    assert open_filters(FiltersPart(coverage=None, border=None)) == []
    empty = judge(make_sample(alpha=np.zeros((4, 4))), [])
    assert empty.status == "accepted"
    assert judge(make_sample(alpha=np.zeros((4, 4))), open_filters(FiltersPart())).reason == (
        "coverage_low"
    )
    assert judge(make_sample(alpha=np.ones((4, 4))), open_filters(FiltersPart())).reason == (
        "coverage_high"
    )
