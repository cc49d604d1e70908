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


def random_mask(seed: int, shape=(23, 31), share=0.4):
    return np.random.RandomState(seed).rand(*shape) < share


def blob(seed: int, side=48):
    """A smooth random shape."""
    random = np.random.RandomState(seed)
    rows, columns = np.mgrid[:side, :side]
    angle = np.arctan2(rows - side / 2, columns - side / 2)
    radius = side * (0.25 + 0.05 * np.sin(3 * angle + random.rand() * 6) + 0.03 * random.rand())
    return np.hypot(rows - side / 2, columns - side / 2) < radius


def counted_by_hand(truth, mask, ignore):
    counts = {(True, True): 0, (False, True): 0, (True, False): 0, (False, False): 0}
    for place in np.ndindex(truth.shape):
        if ignore is None or not ignore[place]:
            counts[bool(truth[place]), bool(mask[place])] += 1
    return list(counts.values())


@pytest.mark.parametrize("with_ignore", [False, True])
def test_confusion_equals_a_pixel_by_pixel_count(with_ignore):
    truth, mask = random_mask(0), random_mask(1)
    ignore = random_mask(2, share=0.2) if with_ignore else None
    counts = confusion(truth, mask, ignore)
    assert counts.tolist() == counted_by_hand(truth, mask, ignore)
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


def test_to_dict_is_json_and_rounds_to_four_digits_in_paper_compat_only():
    image = score_image("a", random_mask(4), random_mask(5))
    plain, theirs = pool([image]).to_dict(), pool([image], paper_compat=True).to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert theirs["miou"] == round(theirs["miou"], 4) == round(plain["miou"], 4)
    assert theirs["object"]["iou"] == round(plain["object"]["iou"], 4)
    assert plain["miou"] != round(plain["miou"], 4)


def test_table_names_object_and_background_truly():
    image = score_image("a", blob(1), blob(2))
    scores = pool([image])
    text = scores.table("cars")
    assert f"{scores.foreground.iou:.4f}/{scores.background.iou:.4f}" in text
    assert "authors" not in text
    theirs = pool([image], paper_compat=True).table()
    (line,) = [line for line in theirs.splitlines() if line.startswith("object")]
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
    truth = np.zeros(10_000, bool)
    truth[:6873] = True
    truth = truth.reshape(100, 100)
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
    precision = AveragePrecision()
    for radius in (6, 9, 12):
        precision.update(disc(radius), disc(radius), None, 0.9)
    assert precision.compute() == pytest.approx({"ap": 1.0, "ap50": 1.0, "ap75": 1.0})
    precision.update(disc(9), np.zeros((40, 40), bool), None, 1.0)
    assert precision.compute()["ap50"] == pytest.approx(0.75, abs=0.01)
    # a detection on a crowd region is no false positive
    precision.update(np.zeros((40, 40), bool), disc(5), disc(8), 1.0)
    assert precision.compute()["ap50"] == pytest.approx(0.75, abs=0.01)


def test_nothing_predicted_scores_zero():
    precision = AveragePrecision()
    precision.update(disc(9), np.zeros((40, 40), bool), None, 1.0)
    assert precision.compute() == {"ap": 0.0, "ap50": 0.0, "ap75": 0.0}


def test_equal_confidences_are_refused_where_their_order_decides():
    precision = AveragePrecision()
    precision.update(disc(12), disc(12), None, 0.8)
    precision.update(disc(12), disc(4), None, 0.8)
    with pytest.raises(AnnotationRefused, match=r"between 0\.\d+ and 0\.\d+ by the order"):
        precision.compute()
