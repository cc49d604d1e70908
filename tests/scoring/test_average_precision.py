import numpy as np
import pytest

from l4f_datagen.scoring.metrics import AveragePrecision


def disc(radius, side=40, column=20):
    rows, columns = np.mgrid[:side, :side]
    return np.hypot(rows - 20, columns - column) < radius


def test_ap_is_the_share_of_thresholds_the_iou_passes():
    truth, mask = disc(12), disc(10)
    iou = (truth & mask).sum() / (truth | mask).sum()
    precision = AveragePrecision()
    precision.update(truth, mask, None, 1.0)
    scored = precision.compute()
    thresholds = np.arange(0.5, 1.0, 0.05)
    assert 0.5 < iou < 0.95
    assert scored["ap"] == pytest.approx((iou >= thresholds).mean())
    assert scored["ap50"] == pytest.approx(1.0)
    assert scored["ap75"] == pytest.approx(float(iou >= 0.75))


def test_perfect_missing_and_ignored():
    precision = AveragePrecision()
    for radius in (6, 9, 12):
        precision.update(disc(radius), disc(radius), None, 0.9)
    assert precision.compute() == pytest.approx({"ap": 1.0, "ap50": 1.0, "ap75": 1.0})
    precision.update(disc(9), np.zeros((40, 40), bool), None, 1.0)
    assert precision.compute()["ap50"] == pytest.approx(0.75, abs=0.01)
    # a detection on a crowd region is no false positive
    precision.update(np.zeros((40, 40), bool), disc(5), disc(8), 1.0)
    assert precision.compute()["ap50"] == pytest.approx(0.75, abs=0.01)


def test_nothing_predicted_scores_zero_and_no_truth_is_an_error():
    precision = AveragePrecision()
    with pytest.raises(ValueError, match="at least one object"):
        precision.compute()
    precision.update(disc(9), np.zeros((40, 40), bool), None, 1.0)
    assert precision.compute() == {"ap": 0.0, "ap50": 0.0, "ap75": 0.0}


def test_computing_prints_nothing(capsys):
    precision = AveragePrecision()
    precision.update(disc(9), disc(8), None, 1.0)
    precision.compute()
    assert capsys.readouterr().out == ""
