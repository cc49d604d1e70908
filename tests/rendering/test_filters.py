from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.core.masks import border_contacts, count_components, coverage
from l4f_datagen.recipe.parts import FiltersPart
from l4f_datagen.rendering import filters
from l4f_datagen.rendering.filters import FILTERS, FilterChain, measure_block, measured


def judge(sample, **part):
    [judged] = FilterChain(FiltersPart(**part))([sample])
    return judged


def matte(inside, size=(10, 10)):
    """A matte of 0.9 in the given slices, 0.2 elsewhere."""
    alpha = np.full(size, 0.2)
    alpha[inside] = 0.9
    return alpha


LEFT = np.s_[2:8, 0:4]
"""24 of 100 pixels, 6 of the 36 on the border."""


class TestScores:
    def test_by_hand(self, make_sample):
        assert measure_block([make_sample(alpha=matte(LEFT))]) == [
            {
                "coverage": 0.24,
                "border_contact": round(6 / 36, 6),
                "num_components": 1,
                "largest_share": 1,
                "alpha_uncertainty": pytest.approx(0.24 * 0.1 + 0.76 * 0.2, abs=1e-6),
            }
        ]
        assert measure_block([]) == measured([]) == []

    def test_a_block_is_measured_as_its_samples_one_by_one(self, make_sample):
        samples = [make_sample(seed=seed, size=(13, 17)) for seed in range(8)]
        samples.append(replace(samples[0], mask=np.zeros((13, 17), np.bool_)))
        together = measure_block(samples)
        for sample, scores in zip(samples, together, strict=True):
            (number,), (share,) = count_components(sample.mask[None])
            assert [scores] == measure_block([sample])
            undecided = np.minimum(sample.alpha, 1 - sample.alpha).mean()
            assert scores == {
                "coverage": round(coverage(sample.mask), 6),
                "border_contact": round(float(border_contacts(sample.mask[None])[0]), 6),
                "num_components": number,
                "largest_share": round(share, 6),
                "alpha_uncertainty": pytest.approx(undecided, abs=1e-6),
            }
            assert all(type(value) is float for value in scores.values())
        assert len({scores["num_components"] for scores in together}) > 2

    def test_what_the_renderer_measured_stands_and_nothing_is_measured_twice(self, make_sample):
        given = {"num_components": 7.0, "noise_iou": 0.5}
        samples = [make_sample(seed=1), replace(make_sample(seed=2), scores=given)]
        once = measured(samples)
        assert [sample.scores for sample in once] == measure_block(samples)
        assert once[1].scores | given == once[1].scores
        assert all(a is b for a, b in zip(measured(once), once, strict=True))


def test_the_first_reason_stands_and_scores_are_kept(make_sample):
    sample = make_sample(alpha=matte(LEFT))
    rejected = judge(sample, coverage={"min": 0.5, "max": 0.9}, border={"max": 0.0})
    assert (rejected.status, rejected.reason) == ("rejected", "coverage_low")
    assert rejected.scores["coverage"] == 0.24
    assert judge(sample, coverage=None, border={"max": 0.0}).reason == "border_contact"


def test_accepted_samples_are_measured_too(make_sample):
    before = make_sample(alpha=matte(LEFT))
    accepted = judge(before)
    assert (accepted.status, accepted.reason, before.scores) == ("accepted", None, {})
    assert replace(accepted, scores={}) == before
    assert [accepted.scores] == measure_block([before])


def test_a_filter_can_be_switched_off_and_an_empty_mask_is_for_coverage_alone(make_sample):
    empty = make_sample(alpha=np.zeros((4, 4)))
    for part in (
        {"coverage": None, "border": None},
        {"preset": "none"},
        {"preset": "none", "components": {}},
    ):
        assert judge(empty, **part).reason is None
    assert judge(empty).reason == "coverage_low"
    assert judge(make_sample(alpha=np.ones((4, 4)))).reason == "coverage_high"


@pytest.mark.parametrize(
    ("name", "limit", "score", "kept", "rejected", "reason"),
    [
        ("coverage", {"min": 0.24}, "coverage", 0.24, 0.23, "coverage_low"),
        ("coverage", {"max": 0.24}, "coverage", 0.24, 0.25, "coverage_high"),
        ("border", {"max": 0.0}, "border_contact", 0.0, 0.01, "border_contact"),
        ("border", {"max": 0.16}, "border_contact", 0.16, 0.17, "border_contact"),
        ("components", {"max": 2}, "num_components", 2, 3, "too_many_components"),
        ("components", {"min_largest_share": 0.7}, "largest_share", 0.7, 0.6, "largest_share_low"),
        ("uncertainty", {"max": 0.2}, "alpha_uncertainty", 0.2, 0.21, "alpha_uncertain"),
        ("discriminator", {"min": -1}, "discriminator", -1.0, -1.5, "discriminator_low"),
        ("noise", {}, "noise_iou", 0.8, 0.79, "noise_unstable"),
        ("flip", {"min_iou": 0.6}, "flip_iou", 0.6, 0.5, "flip_unstable"),
        ("duplicates", {}, "duplicate_distance", 0.04, 0.03, "near_duplicate"),
    ],
)
def test_each_limit_from_both_sides(
    make_sample, monkeypatch, name, limit, score, kept, rejected, reason
):
    assert ["preset", *FILTERS] == list(FiltersPart.model_fields)
    parts = {"num_components": 2, "largest_share": 0.9, "alpha_uncertainty": 0.0}
    for value, wanted in ((kept, None), (rejected, reason)):
        sample = replace(make_sample(), scores=parts | {score: value})
        # A sample alone has the distance 1.
        monkeypatch.setattr(filters, "hash_distance", lambda *_, value=value: value)
        assert judge(sample, preset="none", **{name: limit}).reason == wanted


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
        blocks = [samples[a:b] for a, b in pairwise([0, *cuts, len(samples)])]
        return [sample.reason for block in blocks for sample in judge(block)]

    def test_a_picture_like_an_accepted_one_before_is_rejected(self, first):
        like, other = picture(first, level=0, noise=4), picture(first, level=2)
        assert not np.array_equal(like.image, first.image)
        for cuts in ((), (1,), (1, 2, 3)):  # within a block and across blocks of a shard
            reasons = self.reasons([first, other, like, other], cuts=cuts)
            assert reasons == [None, None, "near_duplicate", "near_duplicate"]

    def test_distances_are_kept_for_all_and_only_where_it_is_on(self, first):
        judged = FilterChain(self.PART)([first, first])
        assert [sample.scores["duplicate_distance"] for sample in judged] == [1.0, 0.0]
        assert "duplicate_distance" not in judge(first).scores

    def test_what_another_filter_rejects_is_no_original(self, first):
        empty = replace(first, mask=np.zeros((64, 64), np.bool_))
        part = FiltersPart(coverage={"min": 0.1}, duplicates={"min_distance": 0.1})
        reasons = self.reasons([empty, first, first], part)
        assert reasons == ["coverage_low", None, "near_duplicate"]

    def test_a_longer_run_begins_as_a_shorter_one_and_shards_do_not_know_each_other(self, first):
        plan = [picture(first, level=k % 3, noise=k) for k in range(9)]
        whole = self.reasons(plan)
        assert whole.count("near_duplicate") == 6
        for stop in range(1, 9):
            assert self.reasons(plan[:stop]) == whole[:stop]
        assert self.reasons(plan[:3]) == self.reasons(plan[3:6]) == [None] * 3


def photo(seed=0, size=(48, 64)):
    coarse = np.random.RandomState(seed).randint(0, 256, (6, 8, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))


class TestDifferenceHash:
    def test_by_hand(self):
        image = np.tile(np.arange(17, dtype=np.uint8)[:, None] * 10, (16, 1, 3))
        assert filters.difference_hash(image) == 2**256 - 1
        assert filters.difference_hash(image[:, ::-1]) == 0
        image[8:] = image[8:, ::-1]
        assert filters.difference_hash(image) == 2**256 - 2**128
        assert 0 <= filters.difference_hash(photo(size=(4, 4))) < 2**256

    def test_small_changes_hardly_count_and_other_pictures_do(self):
        image = photo()
        bits = filters.difference_hash(image)
        bright = np.clip(image.astype(int) + 12, 0, 255).astype(np.uint8)
        large = np.asarray(Image.fromarray(image).resize((128, 96), Image.Resampling.BICUBIC))
        for like in (bright, large, np.roll(image, 1, axis=1)):
            assert filters.hash_distance(filters.difference_hash(like), [bits]) < 0.15
        for seed in range(1, 5):
            assert filters.hash_distance(filters.difference_hash(photo(seed)), [bits]) > 0.3

    @pytest.mark.parametrize(
        ("others", "distance"), [([], 1.0), ([0b1011, 0], 0.0), ([0, 0b1000], 2 / 256)]
    )
    def test_distance_to_the_nearest(self, others, distance):
        assert filters.hash_distance(0b1011, others) == distance


def switched_on(**part):
    filters = dict(FiltersPart(**part))
    del filters["preset"]
    return {name: limits.model_dump() for name, limits in filters.items() if limits}


class TestPresets:
    def test_what_each_switches_on(self):
        """`discriminator`, `noise` and `flip` by name alone: they need a network or a rendering."""
        default = {"coverage": {"min": 0.02, "max": 0.95}, "border": {"max": 1.0}}
        assert switched_on(preset="none") == {}
        assert switched_on(preset="default") == switched_on() == default
        assert switched_on(preset="strict") == {
            "coverage": {"min": 0.05, "max": 0.8},
            "border": {"max": 0.25},
            "components": {"max": 8, "min_largest_share": 0.95},
            "uncertainty": {"max": 0.05},
            "duplicates": {"min_distance": 0.04},
        }

    def test_the_recipes_own_words_go_before_the_preset_and_a_dump_comes_back(self):
        own = {"coverage": {"min": 0.3}, "uncertainty": None, "flip": {}}
        found = switched_on(preset="strict", **own)
        assert list(found) == ["coverage", "border", "components", "flip", "duplicates"]
        assert found["coverage"] == {"min": 0.3, "max": 0.8}
        assert switched_on(preset="none", border={"max": 0.1}) == {"border": {"max": 0.1}}
        part = FiltersPart(preset="strict", **own)
        assert FiltersPart.model_validate(part.model_dump()) == part

    @pytest.mark.parametrize("preset", ["harsh", ["none"]], ids=str)
    def test_an_unknown_preset_is_named(self, preset):
        with pytest.raises(ValueError, match="Input should be 'none', 'default' or 'strict'"):
            FiltersPart(preset=preset)
