"""From files to a report: pairing, loading, golden rows, refusals, and the record of a dataset."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.annotations import load_annotations
from l4f_datagen.annotations.truth import TruthMask
from l4f_datagen.core.errors import AnnotationRefused, UsageError
from l4f_datagen.scoring import FolderPrediction, Pair, match_truth, score, score_match, score_pairs
from l4f_datagen.scoring.score_report import record_scores

# The paper's custom sets: mIoU, mean mIoU and worst object IoU of an image, interval. All rows of
# the paper's table are in the tests of the command.
GOLDEN = {
    "Faces": ("face", 0.9649, (0.9617, 0.9644), (0.9592, 0.9686)),
    "Cats": ("cat", 0.9554, (0.9535, 0.9290), (0.9461, 0.9632)),
}


@pytest.fixture
def custom_set():
    shared = os.environ.get("L4F_SHARED")
    if not shared:
        pytest.skip("L4F_SHARED is unset: the paper's custom set is not at hand")
    return Path(shared) / "data" / "l4f_custom"


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("paper_compat", [False, True])
def test_golden_rows_of_the_custom_sets(custom_set, name, paper_compat):
    animal, mean, per_image, interval = GOLDEN[name]
    masks = (custom_set / name / f"Mask_{animal}_{kind}" for kind in ("gt", "pred"))
    report = score(*masks, paper_compat=paper_compat)
    scores = report.scores
    found = (scores.miou, scores.mean_iou_per_image, scores.worst_object_iou)
    assert tuple(round(cell, 4) for cell in found) == (mean, *per_image)
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


def disc(side=40, row=20.0, radius=9.0):
    rows, columns = np.mgrid[:side, :side]
    return np.hypot(rows - row, columns - 20) < radius


def save(folder, pictures):
    """Write masks or levels by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        levels = picture * 255 if picture.dtype == bool else picture
        Image.fromarray(levels.astype(np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def folders(tmp_path):
    truth = {f"a{n}": disc(radius=6 + n) for n in range(4)}
    pred = {f"a{n}": disc(radius=6.7 + n, row=20 + n / 3) for n in range(4)}
    return save(tmp_path / "truth", truth), save(tmp_path / "pred", pred), truth, pred


def test_scores_of_folders_equal_pixel_counts(folders):
    *paths, truth, pred = folders
    report = score(*paths)
    t, p = np.stack(list(truth.values())), np.stack(list(pred.values()))
    assert report.scores.foreground.iou == pytest.approx((t & p).sum() / (t | p).sum())
    assert report.scores.background.iou == pytest.approx((~t & ~p).sum() / (~t | ~p).sum())
    assert report.scores.accuracy == pytest.approx((t == p).mean())
    assert report.pairing.startswith("4 pairs by stem")
    per_image = [(a & b).sum() / (a | b).sum() for a, b in zip(t, p, strict=True)]
    assert [image.object_iou for image in report.images] == pytest.approx(per_image)
    mious = [image.miou for image in report.worst(4)]
    assert mious == sorted(image.miou for image in report.images)


def test_report_text_and_json_hold_the_same_numbers(folders):
    report = score(*folders[:2], seed=5)
    data, text = json.loads(report.to_json()), report.to_text("discs")
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
    save(tmp_path / "data" / "masks", masks)
    save(tmp_path / "data" / "alpha", {key: mask * np.uint8(200) for key, mask in masks.items()})
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
    soft = np.repeat(np.linspace(0, 255, 40).astype(np.uint8)[:, None], 40, axis=1)
    paths = save(tmp_path / "t", {"a": soft > 229}), save(tmp_path / "p", {"a": soft})
    with pytest.raises(AnnotationRefused, match=r"40 grey levels .* choose --pred-mask-value"):
        score(*paths)
    report = score(*paths, pred_mask_value=">0.9")
    assert report.scores.miou == 1.0
    assert report.scores.mae == pytest.approx(np.abs(soft / 255 - (soft > 229)).mean(), abs=1e-6)


def test_sizes_that_differ_are_refused_unless_resized(tmp_path):
    truth, half = disc(), disc()[::2, ::2]
    paths = save(tmp_path / "t", {"a": truth}), save(tmp_path / "p", {"a": half})
    with pytest.raises(AnnotationRefused, match=r"a\.png: 20 x 20 pixels, its truth 40 x 40"):
        score(*paths)
    report = score(*paths, resize="nearest")
    expected = np.repeat(np.repeat(half, 2, axis=0), 2, axis=1)
    iou = (expected & truth).sum() / (expected | truth).sum()
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


def test_an_opened_truth_may_be_passed_and_collapse_reaches_the_report(folders, tmp_path):
    path, _, truth, _ = folders
    white = save(tmp_path / "white", {name: np.ones_like(mask) for name, mask in truth.items()})
    report = score(load_annotations(path), white)
    assert report.settings["truth"] == str(path)
    assert any("collapsed" in line for line in report.warnings)
    assert "warning: the masks look collapsed" in report.to_text()


def test_average_precision_needs_confidence_and_is_reported_when_asked_for(folders, tmp_path):
    path, masks, _, pred = folders
    assert score(path, masks).average_precision is None
    with pytest.raises(AnnotationRefused, match=r"a0\.png: a hard mask without confidence"):
        score(path, masks, with_ap=True)
    save(tmp_path / "d" / "masks", pred)
    levels = {name: mask * np.uint8(250 - k) for k, (name, mask) in enumerate(pred.items())}
    save(tmp_path / "d" / "alpha", levels)
    report = score(path, tmp_path / "d", with_ap=True)
    assert report.average_precision["ap50"] == pytest.approx(1.0)
    assert "COCO average precision" in report.to_text()
    assert report.to_dict()["average_precision"] == report.average_precision
    save(tmp_path / "d" / "alpha", {"a0": disc(20)})
    with pytest.raises(AnnotationRefused, match=r"alpha of a0\.png: not the size of its mask"):
        score(path, tmp_path / "d")


def grey(*levels):
    return {str(place): np.full((16, 16, 3), level) for place, level in enumerate(levels)}


def test_pictures_lie_beside_the_masks_of_a_dataset_or_where_they_are_named(tmp_path):
    data = tmp_path / "data"
    masks = save(data / "masks", {"0": disc(16), "1": disc(16)})
    images = save(data / "images", grey(40, 41))
    prediction = FolderPrediction(data)
    assert list(prediction.names) == ["0.png", "1.png"]
    assert [prediction.image(place)[0, 0].tolist() for place in (1, 0)] == [[41] * 3, [40] * 3]
    assert prediction.load(0).alpha is None
    assert FolderPrediction(masks).image(0) is None
    (images / "1.png").rename(images / "c.png")
    with pytest.raises(AnnotationRefused, match=r"images: its images do not pair with the masks"):
        FolderPrediction(masks, images_dir=images).image(0)


def test_pictures_numbered_from_zero_pair_with_masks_numbered_from_one(tmp_path):
    masks = save(tmp_path / "pred", {str(number): disc(16) for number in range(1, 11)})
    images = save(tmp_path / "data", grey(*range(40, 50)))
    prediction = FolderPrediction(masks, images_dir=images)
    for place, name in enumerate(prediction.names):
        assert prediction.image(place)[0, 0, 0] == 40 + int(name.removesuffix(".png")) - 1


def test_any_prediction_can_be_matched_and_watched(tmp_path):
    save(tmp_path / "pred", dict.fromkeys("abc", disc()))
    truth = load_annotations(save(tmp_path / "truth", dict.fromkeys(("a_gt", "b_gt"), disc())))
    matched = match_truth(truth, FolderPrediction(tmp_path / "pred"), allow_unused=True)
    seen = []
    report = score_match(matched, watch=lambda pair: seen.append(pair.name))
    assert seen == ["a_gt.png", "b_gt.png"]
    assert report.scores.miou == 1.0
    assert report.pairing.endswith("1 predictions without truth: c.png")
    np.testing.assert_array_equal(matched.pair(1).mask, disc())


def test_the_record_holds_score_intervals_and_the_manifest_it_belongs_to(tmp_path):
    truth = np.pad(np.ones((4, 4), bool), 2)
    mask = truth.copy()
    mask[2] = False
    settings = {"truth": "some/where/export.ndjson", "truth_format": "labelbox"}
    made = score_pairs([Pair("a", TruthMask(truth), mask)], settings=settings)
    with pytest.raises(UsageError, match=r"holds no manifest\.json; give --record with --pred"):
        record_scores(tmp_path, made)
    assert not list(tmp_path.iterdir())
    (tmp_path / "manifest.json").write_text('{"schema": 1}')
    path = record_scores(tmp_path, made)
    assert path == tmp_path / "scores.json"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json", "scores.json"]
    record = json.loads(path.read_text())
    assert record["truth"] == "export.ndjson"
    assert record["n"] == 1
    assert record["metrics"]["miou"] == made.scores.miou
    assert record["metrics"]["iou_object"] == 12 / 16
    assert record["intervals"]["miou"] == [made.intervals["miou"].low, made.intervals["miou"].high]
    assert record["manifest_sha256"] == hashlib.sha256(b'{"schema": 1}').hexdigest()
    before = path.read_bytes()
    assert str(tmp_path).encode() not in before
    record_scores(tmp_path, made)
    assert path.read_bytes() == before
    (tmp_path / "scores.json.part").mkdir()
    with pytest.raises(UsageError, match=r"scores\.json: cannot be written"):
        record_scores(tmp_path, made)
