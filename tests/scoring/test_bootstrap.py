import numpy as np
import pytest

from l4f_datagen.scoring.bootstrap import (
    METRICS,
    compare_predictions,
    pooled_metrics,
    score_intervals,
)
from l4f_datagen.scoring.image_score import ImageScore
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


@pytest.mark.parametrize(
    "counts", [[420, 31, 80, 469], [0, 0, 0, 9], [0, 4, 0, 5], [9, 0, 0, 0], [0, 0, 9, 0]]
)
def test_pooled_metrics_equal_the_scores_of_metrics_py(counts):
    scores = pool([ImageScore("a", np.asarray(counts), 1.0)])
    columns = pooled_metrics(np.asarray([counts]))
    means = (scores.miou, scores.foreground.iou, scores.background.iou, scores.f1)
    expected = [*means, scores.precision, scores.recall, scores.accuracy]
    assert [columns[name][0] for name in METRICS] == pytest.approx(expected)


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
    difference = compare_predictions(a, list(reversed(b)), np.random.RandomState(0))
    assert difference.interval.value == pytest.approx(pool(a).miou - pool(b).miou)
    assert difference.is_clear
    assert difference.share_above == 1.0
    width = score_intervals(a, np.random.RandomState(0))["miou"]
    assert difference.interval.high - difference.interval.low < (width.high - width.low) / 2
    assert "clear of zero" in str(difference)
    assert difference.to_dict()["num_images"] == 12


def test_the_same_prediction_differs_by_nothing():
    a = images(3)
    difference = compare_predictions(a, a, np.random.RandomState(0), metric="iou_object")
    assert difference.interval.value == difference.interval.low == difference.interval.high == 0
    assert not difference.is_clear
    assert "within the noise" in str(difference)


def test_comparison_needs_the_same_images_and_a_known_metric():
    a = images(3)
    with pytest.raises(ValueError, match="same images"):
        compare_predictions(a, a[:-1], np.random.RandomState(0))
    with pytest.raises(ValueError, match="none of miou"):
        compare_predictions(a, a, np.random.RandomState(0), metric="dice")
    with pytest.raises(ValueError, match="at least one image"):
        score_intervals([], np.random.RandomState(0))
