import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.annotations import load_annotations
from l4f_datagen.annotations.truth import TruthMask
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.scoring import score, score_pairs
from l4f_datagen.scoring.protocol import Pair

# Rows of the paper's custom sets in true meaning: IoU, F1, precision, recall, accuracy.
GOLDEN = {
    "Faces": (
        "face",
        (0.9517, 0.9752, 0.9862, 0.9645, 0.9847),
        (0.9781, 0.9889, 0.9840, 0.9939, 0.9847),
        (0.9649, 0.9820, 0.9851, 0.9792, 0.9847),
        (0.9617, 0.9644),
        (0.9592, 0.9686),
    ),
    "Cats": (
        "cat",
        (0.9495, 0.9740, 0.9800, 0.9682, 0.9776),
        (0.9614, 0.9802, 0.9758, 0.9848, 0.9776),
        (0.9554, 0.9771, 0.9779, 0.9765, 0.9776),
        (0.9535, 0.9290),
        (0.9461, 0.9632),
    ),
}


@pytest.fixture
def custom_set():
    shared = os.environ.get("L4F_SHARED")
    if not shared:
        pytest.skip("L4F_SHARED is unset: the paper's custom set is not at hand")
    return Path(shared) / "data" / "l4f_custom"


def rounded(row, accuracy):
    return tuple(round(cell, 4) for cell in (row.iou, row.f1, row.precision, row.recall, accuracy))


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("paper_compat", [False, True])
def test_golden_rows_of_the_custom_sets(custom_set, name, paper_compat):
    animal, background, foreground, mean, per_image, interval = GOLDEN[name]
    masks = (custom_set / name / f"Mask_{animal}_{kind}" for kind in ("gt", "pred"))
    report = score(*masks, paper_compat=paper_compat)
    scores = report.scores
    assert rounded(scores.background, scores.accuracy) == background
    assert rounded(scores.foreground, scores.accuracy) == foreground
    means = (scores.miou, scores.f1, scores.precision, scores.recall, scores.accuracy)
    assert tuple(round(cell, 4) for cell in means) == mean
    found = (scores.mean_iou_per_image, scores.worst_object_iou)
    assert tuple(round(cell, 4) for cell in found) == per_image
    miou = report.intervals["miou"]
    assert (miou.low, miou.high) == pytest.approx(interval, abs=5e-4)
    assert report.warnings == []
    assert "10 pairs by number" in report.pairing
    if name == "Faces" and not paper_compat:
        assert any("22 stray pixels" in note for note in report.notes)


def test_the_custom_set_paired_off_by_one_is_warned_about(custom_set, tmp_path):
    folder = custom_set / "Cats"
    for number in range(1, 11):
        source = folder / "Mask_cat_pred" / f"{number % 10 + 1}.png"
        (tmp_path / f"{number}.png").write_bytes(source.read_bytes())
    report = score(folder / "Mask_cat_gt", tmp_path)
    assert report.scores.miou < 0.6
    assert any("shifted by one" in line for line in report.warnings)


def disc(side=40, row=20.0, column=20.0, radius=9.0):
    rows, columns = np.mgrid[:side, :side]
    return np.hypot(rows - row, columns - column) < radius


def save(folder: Path, masks: dict[str, np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, mask in masks.items():
        levels = mask.astype(np.uint8) * 255 if mask.dtype == bool else mask
        Image.fromarray(levels).save(folder / f"{name}.png")
    return folder


def two_folders(tmp_path, count=4):
    truth = {f"a{n}": disc(radius=6 + n) for n in range(count)}
    pred = {f"a{n}": disc(radius=6.7 + n, row=20 + n / 3) for n in range(count)}
    return save(tmp_path / "pred", pred), save(tmp_path / "truth", truth), truth, pred


def test_scores_of_folders_equal_pixel_counts(tmp_path):
    pred_folder, truth_folder, truth, pred = two_folders(tmp_path)
    report = score(truth_folder, pred_folder)
    t, p = np.stack(list(truth.values())), np.stack(list(pred.values()))
    assert report.scores.foreground.iou == pytest.approx((t & p).sum() / (t | p).sum())
    assert report.scores.background.iou == pytest.approx((~t & ~p).sum() / (~t | ~p).sum())
    assert report.scores.accuracy == pytest.approx((t == p).mean())
    assert report.pairing.startswith("4 pairs by stem")
    per_image = [(a & b).sum() / (a | b).sum() for a, b in zip(t, p, strict=True)]
    assert [image.object_iou for image in report.images] == pytest.approx(per_image)
    mious = [image.miou for image in report.worst(4)]
    assert mious == sorted(image.miou for image in report.images)


def test_report_text_and_json_hold_the_same_numbers(tmp_path):
    pred_folder, truth_folder, *_ = two_folders(tmp_path)
    report = score(truth_folder, pred_folder, seed=5)
    data = json.loads(report.to_json())
    text = report.to_text("discs")
    assert data["scores"]["miou"] == report.scores.miou
    assert f"{data['intervals_95']['miou']['low']:.4f}" in text
    assert data["settings"]["bootstrap_seed"] == 5
    assert data["settings"]["truth_format"] == "png"
    assert len(data["images"]) == 4
    assert sum(line.startswith("  a") for line in text.splitlines()) == 4
    for column in ("IoU fg/bg", "mIoU", "F1", "Prec", "Rec", "Acc"):
        assert column in text


def test_a_dataset_folder_is_scored_by_key_with_its_alphas(tmp_path):
    keys = [f"psi0700-seed{seed:07d}" for seed in range(6)]
    masks = {key: disc(radius=5 + place) for place, key in enumerate(keys)}
    alpha = {key: (mask * 200).astype(np.uint8) for key, mask in masks.items()}
    save(tmp_path / "data" / "masks", masks)
    save(tmp_path / "data" / "alpha", alpha)
    save(tmp_path / "data" / "images", masks)
    truth = save(tmp_path / "truth", {f"{key}_gt": masks[key] for key in keys[1:3]})
    report = score(truth, tmp_path / "data")
    assert report.scores.miou == 1.0
    assert report.scores.num_images == 2
    assert "4 predictions without truth" in report.pairing
    covered = np.mean([masks[key].mean() for key in keys[1:3]])
    assert report.scores.mae == pytest.approx(covered * 55 / 255, rel=1e-4)
    assert "MAE" in report.to_text()


def test_soft_predictions_need_a_threshold_and_give_mae(tmp_path):
    rows = np.linspace(0, 255, 40).astype(np.uint8)
    soft = np.repeat(rows[:, None], 40, axis=1)
    truth = np.repeat(rows[:, None] > 229, 40, axis=1)
    pred_folder = save(tmp_path / "p", {"a": soft})
    truth_folder = save(tmp_path / "t", {"a": truth})
    with pytest.raises(AnnotationRefused, match=r"40 grey levels .* choose --pred-mask-value"):
        score(truth_folder, pred_folder)
    report = score(truth_folder, pred_folder, pred_mask_value=">0.9")
    assert report.scores.miou == 1.0
    assert report.scores.mae == pytest.approx(np.abs(soft / 255 - truth).mean(), abs=1e-6)


def test_sizes_that_differ_are_refused_unless_resized(tmp_path):
    truth = save(tmp_path / "t", {"a": disc(40)})
    half = disc(40)[::2, ::2]
    pred = save(tmp_path / "p", {"a": half})
    with pytest.raises(AnnotationRefused, match=r"a\.png: 20 x 20 pixels, its truth 40 x 40"):
        score(truth, pred)
    report = score(truth, pred, resize="nearest")
    expected = np.repeat(np.repeat(half, 2, axis=0), 2, axis=1)
    truth_mask = disc(40)
    iou = (expected & truth_mask).sum() / (expected | truth_mask).sum()
    assert report.scores.foreground.iou == pytest.approx(iou)
    assert "1 predictions resized to their truth (nearest)" in report.notes


def test_ignored_pixels_do_not_score():
    truth, mask = disc(), disc(radius=12)
    ring = mask & ~truth
    report = score_pairs([Pair("a", TruthMask(truth, ring), mask)])
    assert report.scores.miou == 1.0
    assert report.scores.num_pixels == 1600 - ring.sum()
    assert f"{ring.sum()} pixels ignored" in report.notes


@pytest.mark.parametrize(
    ("truths", "match"),
    [
        ([], "truth: holds no image"),
        ([TruthMask(np.zeros((40, 40), bool))], "not one object pixel in 1 images"),
        ([TruthMask(disc(), np.ones((40, 40), bool))], "truth a: every pixel is marked ignore"),
    ],
)
def test_truth_without_evidence_is_refused(truths, match):
    with pytest.raises(AnnotationRefused, match=match):
        score_pairs([Pair("a", truth, disc()) for truth in truths])


def test_an_opened_truth_may_be_passed_and_collapse_reaches_the_report(tmp_path):
    _, truth_folder, truth, _ = two_folders(tmp_path)
    white = save(tmp_path / "white", {name: np.ones_like(mask) for name, mask in truth.items()})
    report = score(load_annotations(truth_folder), white)
    assert report.settings["truth"] == str(truth_folder)
    assert any("collapsed" in line for line in report.warnings)
    assert "warning: the masks look collapsed" in report.to_text()
    black = save(tmp_path / "black", {name: np.zeros_like(mask) for name, mask in truth.items()})
    with pytest.raises(AnnotationRefused, match="black: not one object pixel in 4 images"):
        score(black, white)


def test_an_alpha_of_another_size_than_its_mask_is_refused(tmp_path):
    save(tmp_path / "d" / "masks", {"a": disc()})
    save(tmp_path / "d" / "alpha", {"a": disc(20)})
    truth = save(tmp_path / "t", {"a": disc()})
    with pytest.raises(AnnotationRefused, match=r"alpha of a\.png: not the size of its mask"):
        score(truth, tmp_path / "d")


def test_average_precision_needs_confidence_and_is_reported_when_asked_for(tmp_path):
    pred_folder, truth_folder, _, pred = two_folders(tmp_path)
    assert score(truth_folder, pred_folder).average_precision is None
    with pytest.raises(AnnotationRefused, match=r"a0\.png: a hard mask without confidence"):
        score(truth_folder, pred_folder, with_ap=True)
    save(tmp_path / "d" / "masks", pred)
    levels = {name: (mask * (250 - k)) for k, (name, mask) in enumerate(pred.items())}
    save(tmp_path / "d" / "alpha", {name: each.astype(np.uint8) for name, each in levels.items()})
    report = score(truth_folder, tmp_path / "d", with_ap=True)
    assert report.average_precision is not None
    assert report.average_precision["ap50"] == pytest.approx(1.0)
    assert "COCO average precision" in report.to_text()
    assert report.to_dict()["average_precision"] == report.average_precision
