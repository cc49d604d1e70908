import numpy as np
import pytest

from l4f_datagen.scoring.bootstrap import compare_counts, count_intervals

RANDOM = np.random.RandomState


def counts_of(seed, count=12):
    """Pixel counts of images of 1,000 px whose object is found to about 90 %."""
    random, rows = RANDOM(seed), []
    for _ in range(count):
        present = random.randint(200, 700)
        hits = int(present * np.clip(0.9 + 0.05 * random.randn(), 0, 1))
        false = random.randint(0, 60)
        rows.append([hits, false, present - hits, 1000 - present - false])
    return np.asarray(rows)


def pooled_miou(counts):
    tp, fp, fn, tn = counts.sum(axis=0)
    return (tp / (tp + fp + fn) + tn / (tn + fp + fn)) / 2


def test_intervals_equal_a_plain_resampling_loop():
    counts, random = counts_of(1), RANDOM(5)
    interval = count_intervals(counts, RANDOM(0))["miou"]
    drawn = [pooled_miou(counts[random.randint(0, 12, 12)]) for _ in range(3000)]
    assert interval.value == pytest.approx(pooled_miou(counts))
    assert interval.low == pytest.approx(np.percentile(drawn, 2.5), abs=0.003)
    assert interval.high == pytest.approx(np.percentile(drawn, 97.5), abs=0.003)
    assert interval.low < interval.value < interval.high


def test_intervals_are_seeded_and_have_no_width_for_one_image():
    first, again, other = (count_intervals(counts_of(1), RANDOM(seed)) for seed in (3, 3, 4))
    assert first == again != other
    interval = count_intervals(counts_of(2, 1), RANDOM(0))["miou"]
    assert interval.low == interval.value == interval.high
    many = count_intervals(counts_of(2, 8_000), RANDOM(0))["miou"]  # takes fewer draws
    assert 0 < many.high - many.low < 0.02


def test_paired_comparison_is_narrower_than_two_intervals():
    a = counts_of(3)
    b = a + np.asarray([-12, 0, 12, 0])  # a little worse on every image alike
    difference = compare_counts(a, b, RANDOM(0))
    assert difference.interval.value == pytest.approx(pooled_miou(a) - pooled_miou(b))
    assert difference.is_clear
    assert difference.share_above == 1.0
    width = count_intervals(a, RANDOM(0))["miou"]
    assert difference.interval.high - difference.interval.low < (width.high - width.low) / 2
    assert "clear of zero" in str(difference)
    assert difference.to_dict()["num_images"] == 12
    same = compare_counts(a, a, RANDOM(0))
    assert same.interval.value == same.interval.low == same.interval.high == 0
    assert not same.is_clear
    assert "within the noise" in str(same)
