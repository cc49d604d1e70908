import numpy as np
import pytest

from l4f_datagen.scoring.bootstrap import compare_counts, count_intervals
from l4f_datagen.scoring.image_score import ImageScore, stacked
from l4f_datagen.scoring.metrics import pool


def images(seed: int, count: int = 12, quality: float = 0.9) -> list[ImageScore]:
    random = np.random.RandomState(seed)
    made = []
    for place in range(count):
        present = random.randint(200, 700)
        hits = int(present * np.clip(quality + 0.05 * random.randn(), 0, 1))
        false = random.randint(0, 60)
        counts = np.asarray([hits, false, present - hits, 1000 - present - false])
        made.append(ImageScore(f"i{place}", counts, 0.5))
    return made


def score_intervals(images, random):
    return count_intervals(stacked(images), random)


def test_intervals_equal_a_plain_resampling_loop():
    made = images(1)
    interval = score_intervals(made, np.random.RandomState(0))["miou"]
    random = np.random.RandomState(5)
    drawn = [
        pool([made[place] for place in random.randint(0, len(made), len(made))]).miou
        for _ in range(3000)
    ]
    assert interval.value == pytest.approx(pool(made).miou)
    assert interval.low == pytest.approx(np.percentile(drawn, 2.5), abs=0.003)
    assert interval.high == pytest.approx(np.percentile(drawn, 97.5), abs=0.003)
    assert interval.low < interval.value < interval.high


def test_intervals_are_seeded():
    made = images(1)
    first = score_intervals(made, np.random.RandomState(3))
    assert first == score_intervals(made, np.random.RandomState(3))
    assert first != score_intervals(made, np.random.RandomState(4))


def test_one_image_has_an_interval_of_no_width_and_many_take_fewer_draws():
    interval = score_intervals(images(2, count=1), np.random.RandomState(0))["miou"]
    assert interval.low == interval.value == interval.high
    interval = score_intervals(images(2, count=8_000), np.random.RandomState(0))["miou"]
    assert 0 < interval.high - interval.low < 0.02


def test_paired_comparison_is_narrower_than_two_intervals():
    a = images(3)
    b = [  # a little worse on every image alike
        ImageScore(i.name, i.counts + np.asarray([-12, 0, 12, 0]), 0.5) for i in a
    ]
    difference = compare_counts(stacked(a), stacked(b), np.random.RandomState(0))
    assert difference.interval.value == pytest.approx(pool(a).miou - pool(b).miou)
    assert difference.is_clear
    assert difference.share_above == 1.0
    width = score_intervals(a, np.random.RandomState(0))["miou"]
    assert difference.interval.high - difference.interval.low < (width.high - width.low) / 2
    assert "clear of zero" in str(difference)
    assert difference.to_dict()["num_images"] == 12


def test_the_same_prediction_differs_by_nothing():
    counts = stacked(images(3))
    difference = compare_counts(counts, counts, np.random.RandomState(0))
    assert difference.interval.value == difference.interval.low == difference.interval.high == 0
    assert not difference.is_clear
    assert "within the noise" in str(difference)
