import zlib

import numpy as np
import pytest
from annotation_exports import (
    SQUARE,
    labelme,
    png,
    sly_bitmap,
    sly_polygon,
    supervisely,
)
from annotation_exports import labelme_shape as shape
from PIL import Image

from l4f_datagen.annotations import load_annotations
from l4f_datagen.annotations.per_image import inflate
from l4f_datagen.core.errors import AnnotationRefused


def test_a_folder_of_labelme_polygons(saved):
    empty = labelme(imagePath="b.jpg")
    root = saved(t={"0.json": labelme(shape(), imagePath="..\\images\\a.jpg"), "1.json": empty})
    truth = load_annotations(root / "t")
    assert truth.format == "labelme"
    assert [item.name for item in truth] == ["images/a.jpg", "b.jpg"]
    np.testing.assert_array_equal(truth[0].load().mask, SQUARE)
    assert not truth[1].load().mask.any()
    saved(t={"1.json": "{"})
    with pytest.raises(AnnotationRefused, match=r"t/1\.json: not JSON"):
        load_annotations(root / "t")


def test_circles_and_lines(opened):
    circle = shape(points=[[15, 10], [15, 16]], shape_type="circle")
    line = shape(points=[[1, 1], [2, 2]], shape_type="line")
    truth = opened(labelme(circle, line))
    rows, columns = np.mgrid[:20, :30] + 0.5
    expected = np.hypot(columns - 15, rows - 10) < 6
    assert (truth[0].load().mask ^ expected).sum() <= 0.1 * expected.sum()
    assert truth.notes() == ["1 points, lines or other objects without an area skipped"]


def test_supervisely_projects_and_holes(saved, opened):
    hole = [[4, 4], [6, 4], [6, 6], [4, 6]]
    assert opened(supervisely(sly_polygon(interior=[hole])))[0].load().mask.sum() == 35 - 4
    files = {"meta.json": '{"classes": []}', "ds0/ann/a.jpg.json": supervisely(sly_polygon())}
    root = saved(project=files)
    assert [item.name for item in load_annotations(root / "project")] == ["a.jpg"]
    saved(project={"ds0/ann/b.jpg.json": "{}"})
    with pytest.raises(AnnotationRefused, match=r"b\.jpg\.json: `objects` is not a list"):
        load_annotations(root / "project")


def palette_png(crop, tmp_path):
    image = Image.frombytes("P", crop.shape[::-1], crop.astype(np.uint8).tobytes())
    image.putpalette([0, 0, 0, 255, 255, 255])
    image.save(tmp_path / "p.png", transparency=0, bits=1)
    return (tmp_path / "p.png").read_bytes()


@pytest.mark.parametrize("spelling", ["grey", "rgba", "palette"])
def test_supervisely_bitmaps_lie_at_their_origin(tmp_path, opened, spelling):
    crop = np.random.RandomState(0).rand(5, 7) < 0.5
    crop[0, 0], crop[0, 1] = True, False
    white = np.full(crop.shape, 255, np.uint8)
    rgba = np.stack([white, white, white, crop * white], -1)
    data = palette_png(crop, tmp_path) if spelling == "palette" else png(crop)
    data = png(rgba) if spelling == "rgba" else data
    expected = np.zeros((20, 30), bool)
    expected[10:15, 20:27] = crop
    truth = opened(supervisely(sly_bitmap(zlib.compress(data), (20, 10))))
    np.testing.assert_array_equal(truth[0].load().mask, expected)


def test_bombs_are_refused():
    with pytest.raises(AnnotationRefused, match="a bitmap of more than 1 MiB"):
        inflate(zlib.compress(b"\0" * (2 << 20)), "r", limit=1 << 20)
    assert inflate(zlib.compress(b"\0" * (1 << 20)), "r", limit=1 << 20) == b"\0" * (1 << 20)
