import numpy as np
import pytest
from PIL import Image

from l4f_datagen.annotations import load_annotations
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.scoring import FolderPrediction, match_truth, score_match

MASK = np.hypot(*(np.mgrid[:16, :16] - 8)) < 5


def save(folder, names, levels=None):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        picture = MASK.astype(np.uint8) * 255 if levels is None else levels + number
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{name}.png")
    return folder


def test_pictures_of_a_dataset_lie_beside_its_masks(tmp_path):
    colours = np.full((16, 16, 3), 40)
    save(tmp_path / "masks", ["a", "b"])
    save(tmp_path / "images", ["b", "a"], colours)
    prediction = FolderPrediction(tmp_path)
    assert list(prediction.names) == ["a.png", "b.png"]
    assert prediction.image(0)[0, 0].tolist() == [41, 41, 41]
    assert prediction.image(1)[0, 0].tolist() == [40, 40, 40]
    assert prediction.load(0).alpha is None


def test_pictures_numbered_from_zero_pair_with_masks_numbered_from_one(tmp_path):
    masks = save(tmp_path / "pred", [str(number) for number in range(1, 11)])
    images = save(tmp_path / "data", [str(number) for number in range(10)], np.full((16, 16), 40))
    prediction = FolderPrediction(masks, images_dir=images)
    for place, name in enumerate(prediction.names):
        assert prediction.image(place)[0, 0, 0] == 40 + int(name.removesuffix(".png")) - 1


def test_masks_alone_have_no_picture_and_others_must_pair(tmp_path):
    masks = save(tmp_path / "pred", ["a", "b"])
    assert FolderPrediction(masks).image(0) is None
    images = save(tmp_path / "data", ["a", "c"])
    with pytest.raises(AnnotationRefused, match=r"data: its images do not pair with the masks"):
        FolderPrediction(masks, images_dir=images).image(0)


def test_any_prediction_can_be_matched_and_watched(tmp_path):
    save(tmp_path / "pred", ["a", "b", "c"])
    truth = load_annotations(save(tmp_path / "truth", ["a_gt", "b_gt"]))
    matched = match_truth(truth, FolderPrediction(tmp_path / "pred"), allow_unused=True)
    seen = []
    report = score_match(matched, watch=lambda pair: seen.append(pair.name))
    assert seen == ["a_gt.png", "b_gt.png"]
    assert report.scores.miou == 1.0
    assert report.pairing.endswith("1 predictions without truth: c.png")
    np.testing.assert_array_equal(matched.pair(1).mask, MASK)
