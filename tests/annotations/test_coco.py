import json

import numpy as np
import pytest
from annotation_exports import SIDES, SQUARE, annotation, coco, rle
from pycocotools.coco import COCO

from l4f_datagen.annotations import load_annotations
from l4f_datagen.core.errors import AnnotationRefused

OUTLINE = [2.0, 3.0, 9.0, 3.0, 9.0, 8.0, 2.0, 8.0]


def opened(tmp_path, *records, options=(), **changes):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(coco(*records, **changes)))
    return load_annotations(path, **dict(options))


@pytest.mark.parametrize(
    "segmentation",
    [
        [OUTLINE],
        OUTLINE,
        [[2, 3, 5, 3, 5, 8, 2, 8], [5, 3, 9, 3, 9, 8, 5, 8]],
        rle(SQUARE),
        rle(SQUARE, compressed=False),
    ],
)
def test_every_kind_of_segmentation_gives_the_same_mask(tmp_path, segmentation):
    truth = opened(tmp_path, annotation(segmentation), names=["im/a.png"])
    assert (truth.format, truth[0].name, truth[0].size_hw) == ("coco", "im/a.png", (20, 30))
    np.testing.assert_array_equal(truth[0].load().mask, SQUARE)
    assert truth[0].load().ignore is None
    assert truth.notes() == []


def test_crowds_are_ignored_but_for_outlined_objects(tmp_path):
    crowd = np.zeros((20, 30), bool)
    crowd[5:15, 5:25] = True
    truth = opened(tmp_path, annotation(), annotation(rle(crowd), iscrowd=1))
    loaded = truth[0].load()
    np.testing.assert_array_equal(loaded.mask, SQUARE)
    np.testing.assert_array_equal(loaded.ignore, crowd & ~SQUARE)
    assert truth.notes() == ["1 crowd regions ignored"]


def test_category_is_chosen_by_name(tmp_path):
    other = annotation([[20, 10, 25, 10, 25, 15, 20, 15]], category_id=2)

    def chosen(category):
        return opened(tmp_path, annotation(), other, options={"category": category})

    with pytest.raises(AnnotationRefused, match=r"2 categories and no choice; .*'car', 'dog'"):
        chosen(None)
    np.testing.assert_array_equal(chosen("car")[0].load().mask, SQUARE)
    dog = chosen("dog")
    assert dog[0].load().mask.sum() == 25
    assert dog.notes() == ["1 objects of other categories are background"]
    for both in ("*", ["car", "dog"]):
        assert chosen(both)[0].load().mask.sum() == 35 + 25
    with pytest.raises(AnnotationRefused, match="no object of category 'cat'; choose"):
        chosen("cat")


def test_images_without_objects_are_left_out_or_empty_truth(tmp_path):
    truth = opened(tmp_path, names="ab")
    assert (len(truth), truth.left_out, truth.unannotated) == (1, ("b",), 1)
    truth = opened(tmp_path, names="ab", options={"unannotated": "empty"})
    assert (len(truth), truth.left_out, truth.unannotated) == (2, (), 1)
    np.testing.assert_array_equal(truth[1].load().mask, np.zeros((20, 30), bool))


def test_boxes_are_refused_or_filled_on_request(tmp_path):
    box = annotation([], bbox=[2, 3, 7, 5])
    with pytest.raises(AnnotationRefused, match=r"annotation id 1: 'car' is only boxed on image"):
        opened(tmp_path, box, options={"category": "car"})
    truth = opened(tmp_path, box, options={"boxes": "fill"})
    np.testing.assert_array_equal(truth[0].load().mask, SQUARE)
    assert truth.notes() == ["1 boxes filled"]
    skipped = ["1 boxes skipped: a box is not an outline"]
    assert opened(tmp_path, annotation(), box).notes() == skipped


def image(n=1, **changes):
    return {"id": n, "file_name": "a", **SIDES, **changes}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"images": []}, "annotation id 1: image_id 1 is not listed"),
        ({"annotations": {}}, "`annotations` is not a list"),
        ({"categories": [{"id": 1}]}, "category id 1: no `name`"),
        ({"annotations": [annotation()] * 2}, "annotation id 1: the id is used twice"),
        ({"annotations": [annotation([[1, 2, 3]])]}, "not a list of x, y, x, y"),
        ({"annotations": [annotation([OUTLINE, 3])]}, "not a list of x, y, x, y"),
        (
            {"annotations": [annotation({"size": [30, 20], "counts": [600]})]},
            "annotation id 1: an RLE of 20 x 30 pixels on an image of 30 x 20",
        ),
        ({"images": [image(file_name="../../a")]}, "leads out of its folder"),
        ({"images": [image(height=1e9, width=1e9)]}, "1000000000 x 1000000000 pixels"),
        ({"images": [image(), image()]}, "image id 1: the id is used twice"),
    ],
)
def test_broken_records_are_named(tmp_path, changes, match):
    with pytest.raises(AnnotationRefused, match=match) as caught:
        [item.load() for item in opened(tmp_path, **changes)]
    line = str(caught.value)
    assert line.startswith(str(tmp_path / "truth.json"))
    assert "\n" not in line


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


def test_fixtures_with_boxes_or_broken_ids(fixtures):
    folder = fixtures / "panlabel"
    with pytest.raises(AnnotationRefused, match="boxes or points only"):
        load_annotations(folder / "sample_valid.coco.json")
    truth = load_annotations(folder / "sample_valid.coco.json", boxes="fill", category="person")
    assert [item.load().mask.sum() for item in truth] == [5400, 15000]
    with pytest.raises(AnnotationRefused, match="image id 1: the id is used twice"):
        load_annotations(folder / "sample_invalid.coco.json")


def test_objects_are_decoded_only_when_their_image_is_loaded(tmp_path):
    broken = annotation({"size": [20, 30], "counts": "~~"}, image_id=2)
    truth = opened(tmp_path, annotation(), broken, names="ab")
    assert truth[0].load().mask.any()
    with pytest.raises(AnnotationRefused, match="annotation id 2: the RLE string is cut"):
        truth[1].load()
