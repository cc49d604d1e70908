import json
import re

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.scoring.image_score import (
    PAPER_EPS,
    boundary_f,
    class_scores,
    confusion,
    score_image,
)
from l4f_datagen.scoring.metrics import AveragePrecision, collapse_warnings, pool


def random_mask(seed, share=0.4):
    return np.random.RandomState(seed).rand(23, 31) < share


def blob(seed, side=48):
    """A smooth random shape."""
    random = np.random.RandomState(seed)
    rows, columns = np.mgrid[:side, :side] - side / 2
    angle = np.arctan2(rows, columns)
    radius = side * (0.25 + 0.05 * np.sin(3 * angle + random.rand() * 6) + 0.03 * random.rand())
    return np.hypot(rows, columns) < radius


@pytest.mark.parametrize("ignore", [None, random_mask(2, share=0.2)])
def test_confusion_equals_a_pixel_by_pixel_count(ignore):
    truth, mask = random_mask(0), random_mask(1)
    counted = {(True, True): 0, (False, True): 0, (True, False): 0, (False, False): 0}
    for place in np.ndindex(truth.shape):
        if ignore is None or not ignore[place]:
            counted[bool(truth[place]), bool(mask[place])] += 1
    counts = confusion(truth, mask, ignore)
    assert counts.tolist() == list(counted.values())
    assert counts.dtype == np.int64


@pytest.mark.parametrize("paper_compat", [False, True])
def test_class_scores_equal_the_authors_formulas_on_a_matrix(paper_compat):
    # rows: truth, columns: prediction, class 0 background, as in the paper's evaluation
    matrix = np.asarray([[50.0, 7.0], [3.0, 40.0]])
    scored = class_scores(np.asarray([40, 7, 3, 50]), paper_compat=paper_compat)
    for name, row in enumerate(scored):
        hits, column, line = matrix[name, name], matrix[:, name].sum(), matrix[name].sum()
        precision, recall = hits / (PAPER_EPS + column), hits / (PAPER_EPS + line)
        iou = hits / (PAPER_EPS + column + line - hits)
        f1 = 2 * precision * recall / (PAPER_EPS + precision + recall)
        found = (row.iou, row.precision, row.recall, row.f1)
        assert found == pytest.approx((iou, precision, recall, f1), abs=1e-5)


def test_f1_differs_from_the_dice_score_by_at_most_1e_4_and_is_1_for_a_perfect_match():
    counts = np.asarray([931, 23, 61, 4021])
    dice = 2 * 931 / (2 * 931 + 23 + 61)
    assert 0 < dice - class_scores(counts)[1].f1 < 1e-4
    assert class_scores(np.asarray([9, 0, 0, 9]))[1].f1 == 1.0


def test_absent_classes_score_one_when_nothing_is_claimed_and_zero_otherwise():
    background, nothing = class_scores(np.asarray([0, 0, 0, 9]))
    assert (background.iou, nothing.iou, nothing.precision, nothing.f1) == (1, 1, 1, 1)
    _, claimed = class_scores(np.asarray([0, 4, 0, 5]))
    assert (claimed.iou, claimed.precision, claimed.recall, claimed.f1) == (0, 0, 0, 0)
    _, theirs = class_scores(np.asarray([0, 0, 0, 9]), paper_compat=True)
    assert (theirs.iou, theirs.f1) == (0, 0)


@pytest.mark.parametrize("with_ignore", [False, True])
@pytest.mark.parametrize("tolerance", [0.0, 0.01, 0.05])
def test_boundary_f_equals_distance_transforms(tolerance, with_ignore):
    truth, mask = blob(1), np.roll(blob(2), 3, axis=1)
    ignore = np.zeros_like(truth)
    ignore[:20] = with_ignore
    reach = np.ceil(tolerance * np.hypot(48, 48))

    def outline(m):
        padded = np.pad(m, 1, mode="edge")
        inner = padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
        return m & ~inner & ~ignore

    a, b = outline(truth), outline(mask)
    recall = (distance_transform_edt(~b)[a] <= reach).mean()
    precision = (distance_transform_edt(~a)[b] <= reach).mean()
    expected = 2 * precision * recall / (precision + recall)
    got = boundary_f(truth, mask, ignore if with_ignore else None, tolerance)
    assert got == pytest.approx(expected)
    empty = np.zeros_like(truth)
    assert boundary_f(empty, empty) == 1
    assert boundary_f(truth, empty) == boundary_f(empty, truth) == 0


def test_alpha_errors_are_mean_and_sum_in_thousands():
    alpha = np.asarray([[0.0, 0.5], [1.0, 0.25]], np.float32)
    truth = np.asarray([[0.0, 1.0], [1.0, 1.0]], np.float32)
    for ignore, total, pixels in ((None, 1.25, 4), ([[False, True], [False, False]], 0.75, 3)):
        hidden = None if ignore is None else np.asarray(ignore)
        soft = {"alpha": alpha, "truth_alpha": truth, "ignore": hidden}
        image = score_image("a", truth > 0.5, alpha > 0.5, **soft)
        assert (image.mae, image.sad) == pytest.approx((total / pixels, total / 1000))


def test_pool_sums_pixels_and_does_not_average_images():
    small = score_image("small", np.ones((2, 2), bool), np.zeros((2, 2), bool))
    large = score_image("large", blob(3), blob(3))
    scores = pool([small, large])
    counts = small.counts + large.counts
    assert scores.counts == tuple(counts)
    assert scores.foreground.iou == pytest.approx(counts[0] / counts[:3].sum())
    assert scores.worst_object_iou == 0
    assert scores.mean_iou_per_image == pytest.approx((0.0 + 1.0) / 2)
    assert scores.num_pixels == 4 + 48 * 48
    assert scores.miou == (scores.foreground.iou + scores.background.iou) / 2


def test_scores_become_json_and_a_table_and_paper_compat_is_told():
    image = score_image("a", random_mask(4), random_mask(5))
    scores, compat = pool([image]), pool([image], paper_compat=True)
    plain, theirs = scores.to_dict(), compat.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert theirs["miou"] == round(theirs["miou"], 4) == round(plain["miou"], 4)
    assert theirs["object"]["iou"] == round(plain["object"]["iou"], 4)
    assert plain["miou"] != round(plain["miou"], 4)
    text = scores.table("cars")
    assert f"{scores.foreground.iou:.4f}/{scores.background.iou:.4f}" in text
    assert "authors" not in text
    (line,) = [line for line in compat.table().splitlines() if line.startswith("object")]
    assert "'bg'" in line


@pytest.mark.parametrize(("level", "word"), [(True, "white"), (False, "black")])
def test_constant_masks_are_called_collapsed(level, word):
    truth = blob(1)
    scores = pool([score_image("a", truth, np.full_like(truth, level))])
    assert scores.recall == 0.5
    assert scores.miou == pytest.approx(scores.accuracy / 2)
    assert re.search(f"collapsed.*almost all {word}", " ".join(collapse_warnings(scores)))


def test_paper_rows_of_an_all_white_prediction():
    # notes of the paper's appendix: all white on the custom faces, object share .6873
    truth = (np.arange(10_000) < 6873).reshape(100, 100)
    scores = pool([score_image("a", truth, np.ones_like(truth))], paper_compat=True)
    row = (scores.miou, scores.f1, scores.precision, scores.recall, scores.accuracy)
    assert [round(cell, 4) for cell in row] == [0.3436, 0.4073, 0.3436, 0.5, 0.6873]


def test_good_masks_get_no_warning_and_swapped_ones_do():
    truth = blob(1)
    assert collapse_warnings(pool([score_image("a", truth, blob(2))])) == []
    (line,) = collapse_warnings(pool([score_image("a", truth, ~blob(2))]))
    assert "swapped" in line


def disc(radius):
    rows, columns = np.mgrid[:40, :40]
    return np.hypot(rows - 20, columns - 20) < radius


def test_ap_is_the_share_of_thresholds_the_iou_passes(capsys):
    truth, mask = disc(12), disc(10)
    iou = (truth & mask).sum() / (truth | mask).sum()
    precision = AveragePrecision()
    precision.update(truth, mask, None, 1.0)
    assert 0.5 < iou < 0.95
    share = (iou >= np.arange(0.5, 1.0, 0.05)).mean()
    wanted = {"ap": share, "ap50": 1.0, "ap75": float(iou >= 0.75)}
    assert precision.compute() == pytest.approx(wanted)
    assert capsys.readouterr().out == ""


def test_perfect_missing_and_ignored():
    precision, empty = AveragePrecision(), disc(0)
    for radius in (6, 9, 12):
        precision.update(disc(radius), disc(radius), None, 0.9)
    assert precision.compute() == pytest.approx({"ap": 1.0, "ap50": 1.0, "ap75": 1.0})
    precision.update(disc(9), empty, None, 1.0)
    assert precision.compute()["ap50"] == pytest.approx(0.75, abs=0.01)
    # a detection on a crowd region is no false positive
    precision.update(empty, disc(5), disc(8), 1.0)
    assert precision.compute()["ap50"] == pytest.approx(0.75, abs=0.01)
    blank = AveragePrecision()
    blank.update(disc(9), empty, None, 1.0)
    assert blank.compute() == {"ap": 0.0, "ap50": 0.0, "ap75": 0.0}


def test_confidence_ranks_and_equal_ones_are_refused_where_their_order_decides():
    def found(good, bad):
        precision = AveragePrecision()
        precision.update(disc(12), disc(12), None, good)
        precision.update(disc(12), disc(4), None, bad)
        return precision.compute()["ap50"]

    assert found(0.9, 0.8) > found(0.8, 0.9)
    with pytest.raises(AnnotationRefused, match=r"between 0\.\d+ and 0\.\d+ by the order"):
        found(0.8, 0.8)
