import json

import numpy as np
import pytest

from l4f_datagen.annotations.truth import TruthMask
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.scoring import Pair, score_pairs
from l4f_datagen.scoring.image_score import confusion
from l4f_datagen.scoring.sweep import THRESHOLDS, SweepCounts, threshold_counts

RANDOM = np.random.RandomState


def pairs(count=8, side=24, *, ignore=False):
    stream = RANDOM(2)
    rows, columns = np.mgrid[:side, :side]
    made = []
    for number in range(count):
        psi = (500, 1000)[number % 2]
        reach = np.hypot(rows - side / 2, columns - side / 2 + number % 3)
        truth = reach < 7
        # Sharper and better centred on the object at psi 0.5.
        alpha = 1 / (1 + np.exp((reach - 7.8) / (0.8 if psi == 500 else 2.5)))
        alpha = np.clip(alpha + 0.05 * stream.randn(side, side), 0, 1).astype(np.float32)
        hidden = stream.rand(side, side) < 0.1 if ignore else None
        name = f"psi{psi:04d}-seed{number:07d}.png"
        made.append(Pair(name, TruthMask(truth, hidden), alpha > 0.9, alpha))
    return made


def swept_over(*axes, given=None):
    counts = SweepCounts(axes)
    report = score_pairs(given or pairs(), watch=counts)
    return counts.sweep(RANDOM(0)), report.scores


@pytest.mark.parametrize("ignore", [False, True])
def test_counts_equal_masks_cut_one_by_one(ignore):
    for pair in pairs(3, ignore=ignore):
        alpha = pair.alpha.copy()
        alpha[0, :3] = np.float32(0.5), np.float32(0.05), 0  # strictly above: these are background
        counts = threshold_counts(pair.truth, alpha, THRESHOLDS)
        for threshold, found in zip(THRESHOLDS, counts, strict=True):
            expected = confusion(pair.truth.mask, alpha > threshold, pair.truth.ignore)
            np.testing.assert_array_equal(found, expected)


def test_every_cell_is_the_score_of_its_images_and_threshold():
    swept, scores = swept_over("threshold", "psi")
    assert swept.axes == ("psi", "threshold")
    assert len(swept.rows) == 3 * 20
    assert swept.row().miou.value == pytest.approx(scores.miou)
    assert swept.row().iou == pytest.approx(scores.foreground.iou)
    chosen = [pair._replace(mask=pair.alpha > 0.35) for pair in pairs() if "psi0500" in pair.name]
    alone, cell = score_pairs(chosen), swept.row(0.5, 0.35)
    assert cell.num_images == 4
    assert cell.miou.value == pytest.approx(alone.scores.miou)
    own = alone.scores.foreground
    assert (cell.precision, cell.recall) == pytest.approx((own.precision, own.recall))
    assert cell.miou.low == pytest.approx(alone.intervals["miou"].low, abs=2e-3)
    assert cell.miou.high == pytest.approx(alone.intervals["miou"].high, abs=2e-3)
    with pytest.raises(KeyError):
        swept.row(0.9)


def test_the_best_threshold_and_its_gain_are_told():
    swept, _ = swept_over("threshold")
    values = {row.threshold: row.miou.value for row in swept.rows if row.threshold is not None}
    assert values[swept.best_threshold] == max(values.values())
    assert 0.4 < swept.best_threshold < 0.8
    assert swept.gain.interval.value == pytest.approx(max(values.values()) - swept.row().miou.value)
    assert swept.gain.is_clear
    text = swept.to_text()
    assert f"best threshold {swept.best_threshold:g}, against the masks as given: miou" in text
    assert "the gain on others is smaller" in text
    assert "psi" not in text
    said = json.loads(json.dumps(swept.to_dict()))
    assert said["best_threshold"] == swept.best_threshold
    assert said["gain"]["value"] == swept.gain.interval.value


def test_psi_alone_needs_no_alpha():
    swept, _ = swept_over("psi", given=[pair._replace(alpha=None) for pair in pairs()])
    assert [(row.psi, row.threshold) for row in swept.rows] == [(p, None) for p in (None, 0.5, 1.0)]
    assert swept.row(0.5).miou.value > swept.row(1.0).miou.value
    assert swept.gain is None
    lines = swept.to_text().splitlines()
    assert lines[0].endswith("psi 0.5 (4)  psi 1 (4)")
    assert lines[1].split()[0:3] == ["masks", "as", "given"]


def test_hard_masks_have_no_threshold_and_other_names_no_psi_to_sweep():
    pair = pairs(1)[0]
    with pytest.raises(AnnotationRefused, match=r"seed0000000\.png: has no soft alpha"):
        SweepCounts(("threshold",))(pair._replace(alpha=None))
    named = pair._replace(name="face3.png")
    with pytest.raises(AnnotationRefused, match=r"truth face3\.png: its name holds no psi"):
        SweepCounts(("psi",))(named)
    assert swept_over("threshold", given=[named])[0].best_threshold is not None
