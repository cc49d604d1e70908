import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
INSTANCES = "annotations/instances_train.json"


def open_coco(folder):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(folder / INSTANCES))


def test_pycocotools_reads_it(discs, tmp_path):
    discs.make_dataset(tmp_path, 12)
    coco = open_coco(tmp_path)
    kept = discs.accepted_discs(12)
    assert coco.getImgIds() == [sample.image_id for sample in kept]
    assert coco.getAnnIds() == [sample.image_id for sample in kept]
    for sample, image in zip(kept, coco.loadImgs(coco.getImgIds()), strict=True):
        with Image.open(tmp_path / "images" / image["file_name"]) as picture:
            np.testing.assert_array_equal(picture, sample.image)
            assert picture.size == (image["width"], image["height"])
        assert (image["key"], image["psi"], image["seed"]) == (sample.key, 1.0, sample.seed)
        [annotation] = coco.imgToAnns[image["id"]]
        np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), sample.mask)
        assert annotation["area"] == sample.mask.sum()
        assert annotation["iscrowd"] == 0
        x, y, width, height = map(int, annotation["bbox"])
        assert sample.mask[y : y + height, x : x + width].sum() == sample.mask.sum()
        assert (tmp_path / annotation["alpha_file"]).is_file()


def test_it_scores_perfectly_against_itself(discs, tmp_path):
    discs.make_dataset(tmp_path, 12)
    truth = open_coco(tmp_path)
    for kind in ("segm", "bbox"):
        with contextlib.redirect_stdout(io.StringIO()):
            found = truth.loadRes([{**one, "score": 1.0} for one in truth.dataset["annotations"]])
            scores = COCOeval(truth, found, kind)
            scores.evaluate()
            scores.accumulate()
            scores.summarize()
        assert scores.stats[0] == 1.0


def test_heads_and_categories(discs, tmp_path):
    discs.make_dataset(tmp_path, 3)
    data = json.loads((tmp_path / INSTANCES).read_bytes())
    assert data["categories"] == [{"id": 1, "name": "disc", "supercategory": "object"}]
    assert data["licenses"] == [{"id": 1, "name": "Apache-2.0", "url": ""}]
    assert {image["license"] for image in data["images"]} == {1}
    assert set(data) == {"info", "licenses", "categories", "images", "annotations"}


def test_an_empty_mask_keeps_its_image_and_is_counted(discs, tmp_path):
    def blocks(shard):
        first = 8 * shard
        yield [discs.make_disc(seed, empty=seed in (1, 2)) for seed in range(first, first + 8)]

    discs.make_dataset(tmp_path, 5, blocks=blocks)
    data = json.loads((tmp_path / INSTANCES).read_bytes())
    assert [image["seed"] for image in data["images"]] == [0, 1, 2, 4, 5]
    assert [annotation["image_id"] for annotation in data["annotations"]] == [1, 5, 6]
    manifest = json.loads((tmp_path / "manifest.json").read_bytes())
    assert manifest["counts"]["empty_masks"] == 2


def test_image_ids_are_places_in_the_plan_whatever_was_rejected(discs, tmp_path):
    discs.make_dataset(tmp_path, 8)
    data = json.loads((tmp_path / INSTANCES).read_bytes())
    assert [image["id"] for image in data["images"]] == [1, 2, 3, 5, 6, 7, 8, 10]
