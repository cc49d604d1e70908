import numpy as np
import pytest
from annotation_exports import RIGHT, SQUARE, annotation, coco, rle
from pycocotools.coco import COCO

from l4f_datagen.annotations import load_annotations
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.scoring import score

CAR, DOG = annotation(), annotation([[20, 10, 25, 10, 25, 15, 20, 15]], category_id=2)


def test_crowds_are_ignored_but_for_outlined_objects(opened):
    crowd = np.zeros((20, 30), bool)
    crowd[5:15, 5:25] = True
    truth = opened(coco(CAR, annotation(rle(crowd), iscrowd=1)))
    loaded = truth[0].load()
    np.testing.assert_array_equal(loaded.mask, SQUARE)
    np.testing.assert_array_equal(loaded.ignore, crowd & ~SQUARE)
    assert truth.notes() == ["1 crowd regions ignored"]
    only = coco(annotation(rle(SQUARE), iscrowd=1))
    np.testing.assert_array_equal(opened(only, crowd="object")[0].load().mask, SQUARE)


def test_category_is_chosen_by_name(opened, refused):
    both = coco(CAR, DOG)
    np.testing.assert_array_equal(opened(both, category="car")[0].load().mask, SQUARE)
    dog = opened(both, category="dog")
    assert dog[0].load().mask.sum() == 25
    assert dog.notes() == ["1 objects of other categories are background"]
    for chosen in ("*", ["car", "dog"]):
        assert opened(both, category=chosen)[0].load().mask.sum() == 35 + 25
    assert "2 categories and no choice; choose --category from 'car', 'dog'" in refused(both)
    assert "no object of category 'cat'; choose" in refused(both, category="cat")


def test_boxes_are_refused_or_filled_on_request(opened, refused):
    box = annotation([], bbox=[2, 3, 7, 5])
    said = "t.json annotation id 1: 'car' is only boxed on image"
    assert said in refused(coco(box), category="car")
    truth = opened(coco(box), boxes="fill")
    np.testing.assert_array_equal(truth[0].load().mask, SQUARE)
    assert truth.notes() == ["1 boxes filled"]
    skipped = ["1 boxes skipped: a box is not an outline"]
    assert opened(coco(CAR, box)).notes() == skipped


@pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")  # pycocotools, numpy 2
@pytest.mark.parametrize("name", ["instances", "rle"])
def test_real_exports_decode_as_pycocotools_does(fixtures, name):
    path = fixtures / "labelbox_coco" / f"{name}.json"
    reference = COCO(str(path))
    truth = load_annotations(path, category="*")
    records = {record["file_name"]: record for record in reference.imgs.values()}
    assert len(truth) == len(records) == 10
    for item in truth:
        record = records[item.name]
        mask, crowd = np.zeros((2, record["height"], record["width"]), bool)
        for one in reference.loadAnns(reference.getAnnIds(imgIds=record["id"])):
            target = crowd if one["iscrowd"] else mask
            target |= reference.annToMask(one).astype(bool)
        loaded = item.load()
        np.testing.assert_array_equal(loaded.mask, mask)
        ignore = np.zeros_like(mask) if loaded.ignore is None else loaded.ignore
        np.testing.assert_array_equal(ignore, crowd & ~mask)


def test_objects_are_decoded_only_when_their_image_is_loaded(opened):
    cut = annotation({"size": [20, 30], "counts": "~~"}, image_id=2)
    truth = opened(coco(CAR, cut, names="ab"))
    assert truth[0].load().mask.any()
    with pytest.raises(AnnotationRefused, match="annotation id 2: the RLE string is cut"):
        truth[1].load()


def test_results_are_predictions_named_by_the_truth(saved):
    square, right = annotation(rle(SQUARE)), annotation(rle(RIGHT))
    truth = coco(square, right | {"image_id": 2}, names=("second.jpg", "first.jpg"))
    found = [
        square | {"score": 0.9},
        right | {"score": 0.4},
        right | {"score": 0.8, "image_id": 2},
        square | {"score": 0.9, "category_id": 2},
    ]
    root = saved(truth={"t.json": truth}, pred={"r.json": found})
    report = score(root / "truth" / "t.json", root / "pred" / "r.json", with_ap=True)
    assert report.scores.miou == 1.0
    assert report.average_precision == pytest.approx({"ap": 1, "ap50": 1, "ap75": 1})
    assert any("1 detections with a score of at most 0.5" in note for note in report.notes)
    report = score(root / "truth" / "t.json", root / "pred" / "r.json", pred_mask_value=">0.3")
    assert report.scores.foreground.iou == pytest.approx(2 / 3)
