from dataclasses import replace

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw
from scipy import ndimage

from l4f_datagen.dataset.formats.instances import find_instances
from l4f_datagen.dataset.formats.yolo import label_line
from l4f_datagen.recipe import OutputPart

YOLO = OutputPart(formats=("yolo",))
PARTS = OutputPart(formats=("yolo",), instances="components")


def drawn(lines, width, height):
    """Paint label lines as a rasteriser that paints the edge too, at the pixels they fall in."""
    canvas = Image.new("1", (width, height))
    for line in lines:
        name, *shares = line.split()
        assert name == "0"
        assert all(0 <= float(share) < 1 for share in shares)
        points = np.floor(np.array(shares, float).reshape(-1, 2) * (width, height))
        ImageDraw.Draw(canvas).polygon(list(map(tuple, points.tolist())), fill=1, outline=1)
    return np.asarray(canvas)


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def read_yolo(folder, split):
    labels = {path.stem: path for path in (folder / "yolo/labels" / split).rglob("*.txt")}
    for image in sorted((folder / "yolo/images" / split).rglob("*.*")):
        yield image, labels.pop(image.stem).read_text().splitlines()
    assert labels == {}


def test_polygons_paint_the_masks(discs, tmp_path):
    discs.make_dataset(tmp_path, 12, formats=["yolo"], blocks=discs.split_blocks)
    kept = {disc.key: disc for disc in discs.accepted_discs(12)}
    for split in ("train", "val"):
        for path, lines in read_yolo(tmp_path, split):
            disc = kept.pop(path.stem)
            assert (disc.seed % 3 == 0) == (split == "val")
            with Image.open(path) as image:
                np.testing.assert_array_equal(image, disc.image)
            assert len(lines) == 1
            np.testing.assert_array_equal(drawn(lines, 16, 16), disc.mask)
    assert kept == {}


def test_supervision_reads_it(discs, tmp_path):
    supervision = pytest.importorskip("supervision", reason="a reader only tests use")
    discs.make_dataset(tmp_path, 7, formats=["yolo"])
    dataset = supervision.DetectionDataset.from_yolo(
        images_directory_path=str(tmp_path / "yolo/images/train/00000"),
        annotations_directory_path=str(tmp_path / "yolo/labels/train/00000"),
        data_yaml_path=str(tmp_path / "yolo/data.yaml"),
        force_masks=True,
    )
    assert dataset.classes == ["disc"]
    kept = {disc.key: disc for disc in discs.accepted_discs(7) if disc.seed < 8}
    for path, _, detections in dataset:
        [mask] = detections.mask
        np.testing.assert_array_equal(mask, kept.pop(path.rpartition("/")[2][:-4]).mask)
    assert kept == {}


def test_an_empty_mask_has_an_empty_file(discs, tmp_path):
    def blocks(shard):
        yield [discs.make_disc(seed, empty=seed == 1) for seed in range(8)]

    discs.make_dataset(tmp_path, 3, formats=["yolo"], blocks=blocks)
    assert [len(lines) for _, lines in read_yolo(tmp_path, "train")] == [1, 0, 1]


def test_parts_are_joined_to_one_object_or_stand_alone():
    mask = np.zeros((40, 60), np.bool_)
    mask[5:20, 5:25], mask[22:35, 30:55], mask[2:4, 50:58] = True, True, True
    [[whole]] = find_instances([mask], YOLO)
    assert len(whole.outlines) == 3
    joined = drawn([label_line(whole, 60, 40)], 60, 40)
    assert (joined & mask).sum() == mask.sum()
    assert iou(joined, mask) > 0.95
    [parts] = find_instances([mask], PARTS)
    lines = [label_line(part, 60, 40) for part in parts]
    assert len(lines) == 3
    np.testing.assert_array_equal(drawn(lines, 60, 40), mask)


def test_shapes_of_all_kinds_keep_their_area():
    rng = np.random.RandomState(1)
    for _ in range(20):
        mask = ndimage.gaussian_filter(rng.randn(48, 70), 4) > 0.02
        filled = ndimage.binary_fill_holes(mask)
        [[whole]], [parts] = find_instances([mask], YOLO), find_instances([mask], PARTS)
        lines = [label_line(part, 70, 48) for part in parts]
        assert iou(drawn(lines, 70, 48), filled) > 0.98
        # The lines that join parts are painted too.
        assert iou(drawn([label_line(whole, 70, 48)], 70, 48), filled) > 0.9


def test_data_yaml_names_classes_and_folders(discs, tmp_path):
    discs.make_dataset(tmp_path / "a", 9, formats=["yolo"], blocks=discs.split_blocks)
    text = (tmp_path / "a/yolo/data.yaml").read_text()
    assert yaml.safe_load(text) == {
        **{"train": "images/train", "val": "images/val", "names": {0: "disc"}}
    }
    discs.make_dataset(tmp_path / "b", 9, formats=["yolo"])
    text = (tmp_path / "b/yolo/data.yaml").read_text()
    assert text.startswith("# There is no val split: val names the images of another one.\n")
    assert yaml.safe_load(text)["val"] == "images/train"


def test_images_keep_their_format(discs, tmp_path):
    block = [replace(discs.make_disc(seed), reason=None) for seed in range(8)]
    output = {"image_format": "jpeg"}
    discs.make_dataset(tmp_path, 8, formats=["yolo"], blocks=lambda shard: [block], output=output)
    assert {path.suffix for path, _ in read_yolo(tmp_path, "train")} == {".jpg"}
