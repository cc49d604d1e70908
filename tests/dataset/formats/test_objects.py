"""COCO and YOLO, read by pycocotools, supervision and as Ultralytics paints polygons."""

import contextlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy import ndimage

from l4f_datagen.dataset.formats.encoding import find_instances
from l4f_datagen.dataset.formats.objects import label_line
from l4f_datagen.recipe import OutputPart

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def open_coco(folder, split="train"):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(folder / f"annotations/instances_{split}.json"))


def average_precision(truth, kind="segm"):
    with contextlib.redirect_stdout(io.StringIO()):
        found = truth.loadRes([{**one, "score": 1.0} for one in truth.dataset["annotations"]])
        scores = COCOeval(truth, found, kind)
        scores.evaluate()
        scores.accumulate()
        scores.summarize()
    return scores.stats[0]


@pytest.mark.parametrize("kind", ["rle", "polygon"])
def test_pycocotools_reads_it(discs, tmp_path, kind):
    discs.make_dataset(tmp_path, 12, output={"coco_segmentation": kind})
    coco = open_coco(tmp_path)
    data, kept = coco.dataset, discs.accepted_discs(12)
    assert set(data) == {"info", "licenses", "categories", "images", "annotations"}
    assert data["categories"] == [{"id": 1, "name": "disc", "supercategory": "object"}]
    assert data["licenses"] == [{"id": 1, "name": "Apache-2.0", "url": ""}]
    ids = [sample.image_id for sample in kept]
    assert coco.getImgIds() == coco.getAnnIds() == ids
    for sample, image in zip(kept, coco.loadImgs(ids), strict=True):
        with Image.open(tmp_path / "images" / image["file_name"]) as picture:
            np.testing.assert_array_equal(picture, sample.image)
        facts = {"width": 16, "height": 16, "license": 1, "key": sample.key, "psi": 1.0}
        assert image.items() >= {**facts, "seed": sample.seed}.items()
        [annotation] = coco.imgToAnns[image["id"]]
        assert isinstance(annotation["segmentation"], list) == (kind == "polygon")
        np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), sample.mask)
        assert (annotation["area"], annotation["iscrowd"]) == (sample.mask.sum(), 0)
        x, y, width, height = map(int, annotation["bbox"])
        assert sample.mask[y : y + height, x : x + width].sum() == sample.mask.sum()
        assert (tmp_path / annotation["alpha_file"]).is_file()
    assert average_precision(coco) == average_precision(coco, "bbox") == 1.0


def test_an_empty_mask_keeps_its_image_and_is_counted(discs, tmp_path):
    def blocks(shard):
        yield [discs.make_disc(8 * shard + at, empty=8 * shard + at in (1, 2)) for at in range(8)]

    discs.make_dataset(tmp_path, 5, formats=["png", "coco", "yolo"], blocks=blocks)
    data = open_coco(tmp_path).dataset
    assert [image["seed"] for image in data["images"]] == [0, 1, 2, 4, 5]
    assert [annotation["image_id"] for annotation in data["annotations"]] == [1, 5, 6]
    assert [len(lines) for _, lines in read_yolo(tmp_path, "train")] == [1, 0, 0, 1, 1]
    manifest = json.loads((tmp_path / "manifest.json").read_bytes())
    assert manifest["counts"]["empty_masks"] == 2


def parted(discs, seed):
    """A disc with a hole, and a second part that touches nothing: id seed + 1."""
    sample = discs.make_disc(seed)
    mask = np.zeros((16, 16), np.bool_)
    mask[2:9, 2:9], mask[4:6, 4:6], mask[11:13, 10:15] = True, False, True
    return replace(sample, mask=mask, alpha=mask.astype(np.float32), reason=None)


@pytest.mark.parametrize("kind", ["rle", "polygon"])
def test_components_are_objects_of_their_own(discs, tmp_path, kind):
    block = [parted(discs, seed) for seed in range(8)]
    wanted = {"instances": "components", "coco_segmentation": kind}
    discs.make_dataset(tmp_path, 8, blocks=lambda shard: [block], output=wanted)
    coco = open_coco(tmp_path)
    assert coco.getAnnIds(imgIds=[3]) == [3_000_001, 3_000_002]
    upper, lower = np.split(block[2].mask, [10])
    if kind == "polygon":
        upper[4:6, 4:6] = True
    first, second = (coco.annToMask(one).astype(bool) for one in coco.imgToAnns[3])
    np.testing.assert_array_equal(first, np.pad(upper, ((0, 6), (0, 0))))
    np.testing.assert_array_equal(second, np.pad(lower, ((10, 0), (0, 0))))
    boxes = [coco.anns[number]["bbox"] for number in (3_000_001, 3_000_002)]
    assert boxes == [[2, 2, 7, 7], [10, 11, 5, 2]]
    assert average_precision(coco) == 1.0
    counts = json.loads((tmp_path / "manifest.json").read_bytes())["counts"]
    assert counts["filled_holes"] == (8 if kind == "polygon" else 0)


def drawn(lines, width, height, scale=1):
    """Paint label lines as Ultralytics does: scaled, decimals cut off, the edge painted too."""
    canvas = Image.new("1", (scale * width, scale * height))
    for line in lines:
        name, *shares = line.split()
        assert name == "0"
        assert all(0 <= float(share) < 1 for share in shares)
        assert len(shares) >= 6
        points = np.array(shares, np.float32).reshape(-1, 2) * canvas.size
        ImageDraw.Draw(canvas).polygon(list(map(tuple, np.trunc(points))), fill=1, outline=1)
    return np.asarray(canvas)


def lines_of(mask, instances="image"):
    [found] = find_instances([mask], OutputPart(formats=("yolo",), instances=instances))
    height, width = mask.shape
    return [label_line(ring, width, height) for one in found for ring in one.outlines]


def scaled(mask, scale):
    return np.kron(mask, np.ones((scale, scale), np.bool_))


def read_yolo(folder, split):
    labels = {path.stem: path for path in (folder / "yolo/labels" / split).glob("*.txt")}
    for image in sorted((folder / "yolo/images" / split).glob("*.*")):
        yield image, labels.pop(image.stem).read_text().splitlines()
    assert labels == {}


def test_one_file_a_split_and_polygons_that_paint_the_masks(discs, tmp_path):
    what = {"formats": ["png", "coco", "yolo"], "blocks": discs.split_blocks}
    discs.make_dataset(tmp_path, 12, **what)
    for split in ("train", "val"):
        data = open_coco(tmp_path, split).dataset
        kept = [d for d in discs.accepted_discs(12) if (d.seed % 3 == 0) == (split == "val")]
        assert [image["id"] for image in data["images"]] == [disc.image_id for disc in kept]
        assert [one["image_id"] for one in data["annotations"]] == [disc.image_id for disc in kept]
        for disc, (path, lines) in zip(kept, read_yolo(tmp_path, split), strict=True):
            assert (path.stem, len(lines)) == (disc.key, 1)
            with Image.open(path) as image:
                np.testing.assert_array_equal(image, disc.image)
            np.testing.assert_array_equal(drawn(lines, 16, 16), disc.mask)
    assert not (tmp_path / "annotations/instances_test.json").exists()


def test_supervision_reads_it(discs, tmp_path):
    supervision = pytest.importorskip("supervision", reason="a reader only tests use")
    discs.make_dataset(tmp_path, 7, formats=["yolo"])
    dataset = supervision.DetectionDataset.from_yolo(
        images_directory_path=str(tmp_path / "yolo/images/train"),
        annotations_directory_path=str(tmp_path / "yolo/labels/train"),
        data_yaml_path=str(tmp_path / "yolo/data.yaml"),
        force_masks=True,
    )
    assert dataset.classes == ["disc"]
    kept = {disc.key: disc for disc in discs.accepted_discs(7)}
    for path, _, detections in dataset:
        [mask] = detections.mask
        wanted = kept.pop(path.rpartition("/")[2][:-4]).mask
        assert (mask & wanted).sum() == wanted.sum()
        assert not (mask & ~ndimage.binary_dilation(wanted, np.ones((3, 3)))).any()
    assert kept == {}


@pytest.mark.parametrize("scale", [1, 10])
@pytest.mark.parametrize("instances", ["image", "components"])
def test_every_part_is_a_line_and_nothing_between_is_painted(instances, scale):
    mask = np.zeros((40, 60), np.bool_)
    mask[5:20, 5:25], mask[22:35, 30:55], mask[2:4, 50:58] = True, True, True
    mask[38, 0] = mask[0, 59] = True  # a pixel alone, at the edge too
    lines = lines_of(mask, instances)
    assert len(lines) == 5
    np.testing.assert_array_equal(drawn(lines, 60, 40, scale), scaled(mask, scale))


def test_masks_of_small_images_are_right_at_the_size_they_are_trained_at():
    """64 px at 640, the default size of Ultralytics; and as they are."""
    rng = np.random.RandomState(1)
    for _ in range(10):
        mask = ndimage.gaussian_filter(rng.randn(48, 64), 4) > 0.02
        filled = ndimage.binary_fill_holes(mask)
        for scale, least in ((1, 0.98), (10, 0.99)):
            one, other = drawn(lines_of(mask), 64, 48, scale), scaled(filled, scale)
            assert (one & other).sum() / (one | other).sum() > least


def test_data_yaml_names_classes_and_folders_and_images_keep_their_format(discs, tmp_path):
    what = {"formats": ["yolo"], "output": {"image_format": "jpeg"}}
    discs.make_dataset(tmp_path / "a", 9, blocks=discs.split_blocks, **what)
    text = (tmp_path / "a/yolo/data.yaml").read_text()
    wanted = {"train": "images/train", "val": "images/val", "names": {0: "disc"}}
    assert yaml.safe_load(text) == wanted
    assert {path.suffix for path, _ in read_yolo(tmp_path / "a", "train")} == {".jpg"}
    discs.make_dataset(tmp_path / "b", 9, **what)
    text = (tmp_path / "b/yolo/data.yaml").read_text()
    assert text.startswith("# There is no val split: val names the images of another one.\n")
    assert yaml.safe_load(text) == wanted | {"val": "images/train"}
