from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from l4f_datagen.recipe import BorderFilter, CoverageFilter, FiltersPart
from l4f_datagen.rendering.filters import (
    FILTERS,
    FilterChain,
    border_filter,
    coverage_filter,
    open_filters,
)
from l4f_datagen.rendering.scores import measure_block


def judge(sample, **part):
    [judged] = FilterChain(FiltersPart(**part))([sample])
    return judged


def measure(sample):
    [scores] = measure_block([sample])
    return replace(sample, scores=scores)


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
    assert ["preset", *FILTERS] == list(FiltersPart.model_fields)


def test_scores(make_sample):
    sample = measure(make_sample(alpha=matte(LEFT)))
    assert sample.scores == {
        "coverage": 0.24,
        "border_contact": round(6 / 36, 6),
        "num_components": 1,
        "largest_share": 1,
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
    sample = make_sample(alpha=matte(LEFT))
    rejected = judge(sample, coverage={"min": 0.5, "max": 0.9}, border={"max": 0.0})
    assert (rejected.status, rejected.reason) == ("rejected", "coverage_low")
    assert rejected.scores["coverage"] == 0.24
    assert judge(sample, coverage=None, border={"max": 0.0}).reason == "border_contact"


def test_accepted_samples_are_measured_too(make_sample):
    before = make_sample(alpha=matte(CENTRE))
    accepted = judge(before)
    assert (accepted.status, accepted.reason) == ("accepted", None)
    assert set(accepted.scores) == {
        "coverage",
        "border_contact",
        "num_components",
        "largest_share",
        "alpha_uncertainty",
    }
    assert before.scores == {}
    assert accepted.key == before.key
    assert np.array_equal(accepted.mask, before.mask)


def test_a_filter_can_be_switched_off(make_sample):
    assert open_filters(FiltersPart(coverage=None, border=None)) == []
    empty = make_sample(alpha=np.zeros((4, 4)))
    assert judge(empty, coverage=None, border=None).status == "accepted"
    assert judge(empty, preset="none").status == "accepted"
    assert judge(empty).reason == "coverage_low"
    assert judge(make_sample(alpha=np.ones((4, 4)))).reason == "coverage_high"


def only(**part):
    return {"preset": "none", **part}


@pytest.mark.parametrize(
    ("scores", "part", "reason"),
    [
        ({"num_components": 3, "largest_share": 0.9}, {"components": {"max": 2}}, "too_many"),
        ({"num_components": 2, "largest_share": 0.9}, {"components": {"max": 2}}, None),
        (
            {"num_components": 2, "largest_share": 0.7},
            {"components": {"min_largest_share": 0.71}},
            "largest_share_low",
        ),
        ({"num_components": 0, "largest_share": 0.0}, {"components": {}}, None),
        ({"alpha_uncertainty": 0.2}, {"uncertainty": {"max": 0.19}}, "alpha_uncertain"),
        ({"alpha_uncertainty": 0.2}, {"uncertainty": {"max": 0.2}}, None),
        ({"discriminator": -1.5}, {"discriminator": {"min": -1}}, "discriminator_low"),
        ({"discriminator": -1.0}, {"discriminator": {"min": -1}}, None),
        ({"noise_iou": 0.79}, {"noise": {}}, "noise_unstable"),
        ({"noise_iou": 0.8}, {"noise": {}}, None),
        ({"flip_iou": 0.5}, {"flip": {"min_iou": 0.6}}, "flip_unstable"),
        ({"flip_iou": 0.6}, {"flip": {"min_iou": 0.6}}, None),
        ({"duplicate_distance": 0.03}, {"duplicates": {}}, "near_duplicate"),
        ({"duplicate_distance": 0.04}, {"duplicates": {}}, None),
    ],
)
def test_each_limit_from_both_sides(make_sample, scores, part, reason):
    [accept] = open_filters(FiltersPart(**only(**part)))
    said = accept(replace(make_sample(), scores=scores))
    assert (said is None) == (reason is None)
    assert (said or "").startswith(reason or "")


def picture(sample, level, noise=0):
    """The sample with a picture of a smooth pattern; ``noise`` only changes it a little."""
    rows, columns = np.mgrid[:64, :64] / 64
    wave = 110 * np.sin(7 * columns + 5 * rows + level) + 128
    wave += noise * np.random.RandomState(3).standard_normal((64, 64))
    grey = np.clip(wave, 0, 255).astype(np.uint8)
    return replace(sample, image=np.repeat(grey[:, :, None], 3, axis=2))


class TestDuplicates:
    PART = FiltersPart(preset="none", duplicates={"min_distance": 0.1})

    @pytest.fixture
    def first(self, make_sample):
        return picture(make_sample(size=(64, 64)), level=0)

    def reasons(self, samples, part=PART, cuts=()):
        judge = FilterChain(part)
        edges = [0, *cuts, len(samples)]
        blocks = [samples[a:b] for a, b in pairwise(edges)]
        return [sample.reason for block in blocks for sample in judge(block)]

    def test_a_picture_like_an_accepted_one_before_is_rejected(self, first):
        like, other = picture(first, level=0, noise=4), picture(first, level=2)
        assert not np.array_equal(like.image, first.image)
        for cuts in ((), (1,), (1, 2, 3)):  # within a block and across blocks of a shard
            assert self.reasons([first, other, like, other], cuts=cuts) == [
                *(None, None),
                *("near_duplicate", "near_duplicate"),
            ]

    def test_distances_are_kept_for_all_and_only_where_it_is_on(self, first):
        judged = FilterChain(self.PART)([first, first])
        assert [sample.scores["duplicate_distance"] for sample in judged] == [1.0, 0.0]
        assert "duplicate_distance" not in FilterChain(FiltersPart())([first])[0].scores

    def test_what_another_filter_rejects_is_no_original(self, first):
        empty = replace(first, mask=np.zeros((64, 64), np.bool_))
        part = FiltersPart(coverage={"min": 0.1}, duplicates={"min_distance": 0.1})
        assert self.reasons([empty, first, first], part) == [
            *("coverage_low", None),
            "near_duplicate",
        ]

    def test_a_longer_run_begins_as_a_shorter_one_and_shards_do_not_know_each_other(self, first):
        plan = [picture(first, level=k % 3, noise=k) for k in range(9)]
        whole = self.reasons(plan)
        assert whole.count("near_duplicate") == 6
        for stop in range(1, 9):
            assert self.reasons(plan[:stop]) == whole[:stop]
        assert self.reasons(plan[:3]) == self.reasons(plan[3:6]) == [None] * 3


class TestPresets:
    def test_none_switches_all_off(self):
        part = FiltersPart(preset="none")
        assert all(getattr(part, name) is None for name in FILTERS)

    def test_default_is_what_no_word_gives(self):
        assert FiltersPart() == FiltersPart(preset="default")
        assert FiltersPart().coverage == CoverageFilter()
        assert FiltersPart().components is None

    def test_strict_is_stricter(self):
        strict, default = FiltersPart(preset="strict"), FiltersPart()
        assert strict.coverage.min > default.coverage.min
        assert strict.coverage.max < default.coverage.max
        assert strict.border.max < default.border.max
        assert None not in (strict.components, strict.uncertainty, strict.duplicates)
        # Asked for by name alone: not every checkpoint has one, and scores that need a rendering.
        assert strict.discriminator is strict.noise is strict.flip is None

    def test_the_recipes_own_words_go_before_the_preset(self):
        part = FiltersPart(preset="strict", coverage={"min": 0.3}, uncertainty=None, flip={})
        assert (part.coverage.min, part.coverage.max) == (0.3, 0.8)
        assert part.uncertainty is None
        assert part.flip is not None
        assert part.components is not None
        assert FiltersPart(preset="none", border={"max": 0.1}).border == BorderFilter(max=0.1)

    def test_a_dump_comes_back(self):
        part = FiltersPart(preset="strict", uncertainty=None)
        assert FiltersPart.model_validate(part.model_dump()) == part

    def test_an_unknown_preset_is_named(self):
        with pytest.raises(ValueError, match="Input should be 'none', 'default' or 'strict'"):
            FiltersPart(preset="harsh")
        with pytest.raises(ValueError, match="Input should be 'none', 'default' or 'strict'"):
            FiltersPart(preset=["none"])
