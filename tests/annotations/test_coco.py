import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from l4f_datagen.annotations import load_annotations
from l4f_datagen.core.errors import AnnotationRefused

SQUARE = [2.0, 3.0, 9.0, 3.0, 9.0, 8.0, 2.0, 8.0]


def dataset(**changes):
    data = {
        "images": [{"id": 1, "file_name": "im/a.png", "height": 20, "width": 30}],
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [SQUARE]}
        ],
    }
    data.update(changes)
    return data


def annotation(**changes):
    return {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [SQUARE], **changes}


def opened(tmp_path, data, **options):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(data))
    return load_annotations(path, **options)


def square(size=(20, 30)):
    mask = np.zeros(size, bool)
    mask[3:8, 2:9] = True
    return mask


def rle(mask, *, compressed):
    if compressed:
        made = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        return {"size": made["size"], "counts": made["counts"].decode("ascii")}
    flat = mask.ravel("F")
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flat, [False]))))
    counts = np.diff(np.concatenate(([0], edges, [flat.size])))
    return {"size": list(mask.shape), "counts": counts.tolist()}


@pytest.mark.parametrize(
    "segmentation",
    [
        [SQUARE],
        SQUARE,
        [[2, 3, 5, 3, 5, 8, 2, 8], [5, 3, 9, 3, 9, 8, 5, 8]],
        rle(square(), compressed=True),
        rle(square(), compressed=False),
    ],
)
def test_every_kind_of_segmentation_gives_the_same_mask(tmp_path, segmentation):
    truth = opened(tmp_path, dataset(annotations=[annotation(segmentation=segmentation)]))
    assert truth.format == "coco"
    assert truth[0].name == "im/a.png"
    assert truth[0].size_hw == (20, 30)
    np.testing.assert_array_equal(truth[0].load().mask, square())
    assert truth[0].load().ignore is None
    assert truth.notes() == []


def test_crowds_are_ignored_but_for_outlined_objects(tmp_path):
    crowd = np.zeros((20, 30), bool)
    crowd[5:15, 5:25] = True
    truth = opened(
        tmp_path,
        dataset(
            annotations=[
                annotation(),
                annotation(id=2, iscrowd=1, segmentation=rle(crowd, compressed=False)),
            ]
        ),
    )
    loaded = truth[0].load()
    np.testing.assert_array_equal(loaded.mask, square())
    np.testing.assert_array_equal(loaded.ignore, crowd & ~square())
    assert truth.notes() == ["1 crowd regions ignored"]


def test_category_is_chosen_by_name(tmp_path):
    other = annotation(id=2, category_id=2, segmentation=[[20, 10, 25, 10, 25, 15, 20, 15]])
    data = dataset(annotations=[annotation(), other])
    with pytest.raises(AnnotationRefused, match=r"2 categories and no choice; .*'car', 'dog'"):
        opened(tmp_path, data)
    np.testing.assert_array_equal(opened(tmp_path, data, category="car")[0].load().mask, square())
    dog = opened(tmp_path, data, category="dog")
    assert dog[0].load().mask.sum() == 25
    assert dog.notes() == ["1 objects of other categories are background"]
    for both in ("*", ["car", "dog"]):
        assert opened(tmp_path, data, category=both)[0].load().mask.sum() == 35 + 25
    with pytest.raises(AnnotationRefused, match="no object of category 'cat'; choose"):
        opened(tmp_path, data, category="cat")


def test_images_without_objects_are_left_out_or_empty_truth(tmp_path):
    images = [*dataset()["images"], {"id": 2, "file_name": "b.png", "height": 4, "width": 5}]
    truth = opened(tmp_path, dataset(images=images))
    assert (len(truth), truth.left_out, truth.unannotated) == (1, ("b.png",), 1)
    truth = opened(tmp_path, dataset(images=images), unannotated="empty")
    assert (truth.left_out, truth.unannotated) == ((), 1)
    assert len(truth) == 2
    assert truth[1].load().mask.shape == (4, 5)
    assert not truth[1].load().mask.any()


def test_boxes_are_refused_or_filled_on_request(tmp_path):
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 3, 7, 5]}
    data = dataset(annotations=[box])
    with pytest.raises(AnnotationRefused, match=r"annotation id 1: 'car' is only boxed on image"):
        opened(tmp_path, data, category="car")
    truth = opened(tmp_path, data, boxes="fill")
    np.testing.assert_array_equal(truth[0].load().mask, square())
    assert truth.notes() == ["1 boxes filled"]
    both = opened(tmp_path, dataset(annotations=[annotation(), {**box, "id": 2}]))
    assert both.notes() == ["1 boxes skipped: a box is not an outline"]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"images": []}, "annotation id 1: image_id 1 is not listed"),
        ({"annotations": {}}, "`annotations` is not a list"),
        ({"categories": [{"id": 1}]}, "category id 1: no `name`"),
        ({"annotations": [annotation(), annotation()]}, "annotation id 1: the id is used twice"),
        ({"annotations": [annotation(segmentation=[[1, 2, 3]])]}, "not a list of x, y, x, y"),
        ({"annotations": [annotation(segmentation=[SQUARE, 3])]}, "not a list of x, y, x, y"),
        (
            {"annotations": [annotation(segmentation=[[1, 2, float("nan"), 4, 5, 6]])]},
            "annotation id 1: polygon coordinate nan",
        ),
        (
            {"annotations": [annotation(segmentation=[[60, 60, 70, 60, 70, 70]])]},
            "annotation id 1: a polygon from .* lies outside its image",
        ),
        (
            {"annotations": [annotation(segmentation={"size": [30, 20], "counts": [600]})]},
            "annotation id 1: an RLE of 20 x 30 pixels on an image of 30 x 20",
        ),
        (
            {"images": [{"id": 1, "file_name": "../../a", "height": 2, "width": 2}]},
            "leads out of its folder",
        ),
        (
            {"images": [{"id": 1, "file_name": "a", "height": 1e9, "width": 1e9}]},
            "1000000000 x 1000000000 pixels",
        ),
        (
            {"images": [{"id": 1, "file_name": n, "height": 2, "width": 2} for n in "ab"]},
            "image id 1: the id is used twice",
        ),
    ],
)
def test_broken_records_are_named(tmp_path, changes, match):
    with pytest.raises(AnnotationRefused, match=match) as caught:
        [item.load() for item in opened(tmp_path, dataset(**changes))]
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
        mask = np.zeros((record["height"], record["width"]), bool)
        crowd = mask.copy()
        for one in reference.loadAnns(reference.getAnnIds(imgIds=record["id"])):
            drawn = reference.annToMask(one).astype(bool)
            if one["iscrowd"]:
                crowd |= drawn
            else:
                mask |= drawn
        loaded = item.load()
        np.testing.assert_array_equal(loaded.mask, mask)
        if crowd.any():
            np.testing.assert_array_equal(loaded.ignore, crowd & ~mask)
        else:
            assert loaded.ignore is None


def test_fixtures_with_boxes_or_broken_ids(fixtures):
    folder = fixtures / "panlabel"
    with pytest.raises(AnnotationRefused, match="boxes or points only"):
        load_annotations(folder / "sample_valid.coco.json")
    truth = load_annotations(folder / "sample_valid.coco.json", boxes="fill", category="person")
    assert [item.load().mask.sum() for item in truth] == [5400, 15000]
    with pytest.raises(AnnotationRefused, match="image id 1: the id is used twice"):
        load_annotations(folder / "sample_invalid.coco.json")


def test_objects_are_decoded_only_when_their_image_is_loaded(tmp_path):
    images = [{"id": n, "file_name": f"{n}.png", "height": 20, "width": 30} for n in (1, 2)]
    broken = annotation(id=2, image_id=2, segmentation={"size": [20, 30], "counts": "~~"})
    truth = opened(tmp_path, dataset(images=images, annotations=[annotation(), broken]))
    assert truth[0].load().mask.any()
    with pytest.raises(AnnotationRefused, match="annotation id 2: the RLE string is cut"):
        truth[1].load()
