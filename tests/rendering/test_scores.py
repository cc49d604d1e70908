from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.core.masks import border_contacts, components, coverage
from l4f_datagen.rendering.filters import difference_hash, hash_distance, measure_block, measured


def test_a_block_is_measured_as_its_samples_one_by_one(make_sample):
    samples = [make_sample(seed=seed, size=(13, 17)) for seed in range(8)]
    samples.append(replace(samples[0], mask=np.zeros((13, 17), np.bool_)))
    together = measure_block(samples)
    for sample, scores in zip(samples, together, strict=True):
        parts = components(sample.mask)
        assert [scores] == measure_block([sample])
        assert scores == {
            "coverage": round(coverage(sample.mask), 6),
            "border_contact": round(float(border_contacts(sample.mask[None])[0]), 6),
            "num_components": parts.num_components,
            "largest_share": round(parts.largest_share, 6),
            "alpha_uncertainty": pytest.approx(
                np.minimum(sample.alpha, 1 - sample.alpha).mean(), abs=1e-6
            ),
        }
        assert all(type(value) is float for value in scores.values())
    assert len({scores["num_components"] for scores in together}) > 2


def test_what_the_renderer_measured_stands(make_sample):
    sample = replace(make_sample(), scores={"num_components": 7.0, "noise_iou": 0.5})
    [scores] = measure_block([sample])
    assert (scores["num_components"], scores["noise_iou"]) == (7.0, 0.5)


def test_no_samples_no_scores():
    assert measure_block([]) == measured([]) == []


def test_measured_once(make_sample):
    samples = [make_sample(seed=1), replace(make_sample(seed=2), scores={"noise_iou": 0.5})]
    once = measured(samples)
    assert [sample.scores for sample in once] == measure_block(samples)
    assert all(a is b for a, b in zip(measured(once), once, strict=True))


def photo(seed=0, size=(48, 64)):
    coarse = np.random.RandomState(seed).randint(0, 256, (6, 8, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))


class TestDifferenceHash:
    def test_by_hand(self):
        brighter = np.tile(np.arange(17, dtype=np.uint8) * 10, (16, 1))
        image = np.repeat(brighter[:, :, None], 3, axis=2)
        assert difference_hash(image) == 2**256 - 1
        assert difference_hash(image[:, ::-1]) == 0
        half = image.copy()
        half[8:] = half[8:, ::-1]
        assert difference_hash(half) == 2**256 - 2**128

    def test_small_changes_hardly_count_and_other_pictures_do(self):
        image = photo()
        bits = difference_hash(image)
        bright = np.clip(image.astype(int) + 12, 0, 255).astype(np.uint8)
        large = np.asarray(Image.fromarray(image).resize((128, 96), Image.Resampling.BICUBIC))
        for like in (bright, large, np.roll(image, 1, axis=1)):
            assert hash_distance(difference_hash(like), [bits]) < 0.15
        for seed in range(1, 5):
            assert hash_distance(difference_hash(photo(seed)), [bits]) > 0.3

    @pytest.mark.parametrize(
        ("others", "distance"), [([], 1.0), ([0b1011, 0], 0.0), ([0, 0b1000], 2 / 256)]
    )
    def test_distance_to_the_nearest(self, others, distance):
        assert hash_distance(0b1011, others) == distance

    def test_pictures_smaller_than_the_hash(self):
        assert 0 <= difference_hash(photo(size=(4, 4))) < 2**256
