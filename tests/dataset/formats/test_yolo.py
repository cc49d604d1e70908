from dataclasses import replace

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw
from scipy import ndimage

from l4f_datagen.dataset.formats.encoding import find_instances
from l4f_datagen.dataset.formats.yolo import label_line
from l4f_datagen.recipe import OutputPart

YOLO = OutputPart(formats=("yolo",))
PARTS = OutputPart(formats=("yolo",), instances="components")


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


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def lines_of(mask, output=YOLO):
    [found] = find_instances([mask], output)
    height, width = mask.shape
    return [label_line(ring, width, height) for one in found for ring in one.outlines]


def scaled(mask, scale):
    return np.kron(mask, np.ones((scale, scale), np.bool_))


def read_yolo(folder, split):
    labels = {path.stem: path for path in (folder / "yolo/labels" / split).glob("*.txt")}
    for image in sorted((folder / "yolo/images" / split).glob("*.*")):
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


def test_an_empty_mask_has_an_empty_file(discs, tmp_path):
    def blocks(shard):
        yield [discs.make_disc(seed, empty=seed == 1) for seed in range(8)]

    discs.make_dataset(tmp_path, 3, formats=["yolo"], blocks=blocks)
    assert [len(lines) for _, lines in read_yolo(tmp_path, "train")] == [1, 0, 1]


@pytest.mark.parametrize("scale", [1, 10])
@pytest.mark.parametrize("output", [YOLO, PARTS])
def test_every_part_is_a_line_and_nothing_between_is_painted(output, scale):
    mask = np.zeros((40, 60), np.bool_)
    mask[5:20, 5:25], mask[22:35, 30:55], mask[2:4, 50:58] = True, True, True
    mask[38, 0] = mask[0, 59] = True  # a pixel alone, at the edge too
    lines = lines_of(mask, output)
    assert len(lines) == 5
    np.testing.assert_array_equal(drawn(lines, 60, 40, scale), scaled(mask, scale))


def test_masks_of_small_images_are_right_at_the_size_they_are_trained_at():
    """64 px at 640, the default size of Ultralytics; and as they are."""
    rng = np.random.RandomState(1)
    for _ in range(10):
        mask = ndimage.gaussian_filter(rng.randn(48, 64), 4) > 0.02
        filled = ndimage.binary_fill_holes(mask)
        lines = lines_of(mask)
        assert iou(drawn(lines, 64, 48), filled) > 0.98
        assert iou(drawn(lines, 64, 48, scale=10), scaled(filled, 10)) > 0.99


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
