import base64
import json
import zlib

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.annotations import load_annotations
from l4f_datagen.annotations.per_image import inflate
from l4f_datagen.core.errors import AnnotationRefused

EXTERIOR = [[2, 3], [9, 3], [9, 8], [2, 8]]


def polygon(label="car", exterior=EXTERIOR, interior=()):
    points = {"exterior": exterior, "interior": list(interior)}
    return {"classTitle": label, "geometryType": "polygon", "points": points}


def bitmap(png, origin=(2, 3), label="car"):
    data = base64.b64encode(zlib.compress(png)).decode()
    return {
        "classTitle": label,
        "geometryType": "bitmap",
        "bitmap": {"data": data, "origin": list(origin)},
    }


def project(tmp_path, *objects, size=(20, 30), name="a.jpg"):
    folder = tmp_path / "project" / "ds0" / "ann"
    folder.mkdir(parents=True, exist_ok=True)
    (tmp_path / "project" / "meta.json").write_text('{"classes": []}')
    document = {
        "description": "",
        "tags": [],
        "size": {"height": size[0], "width": size[1]},
        "objects": list(objects),
    }
    (folder / f"{name}.json").write_text(json.dumps(document))
    return tmp_path / "project"


def load(path, **options):
    return load_annotations(path, **options)[0].load()


def test_polygons_with_holes(tmp_path, square):
    truth = load_annotations(project(tmp_path, polygon()))
    assert truth.format == "supervisely"
    assert (truth[0].name, truth[0].size_hw) == ("a.jpg", (20, 30))
    np.testing.assert_array_equal(truth[0].load().mask, square)
    hole = [[4, 4], [6, 4], [6, 6], [4, 6]]
    assert load(project(tmp_path, polygon(interior=[hole]))).mask.sum() == 35 - 4
    nested = polygon()
    nested["geometry"] = {"points": nested.pop("points")}
    np.testing.assert_array_equal(load(project(tmp_path, nested)).mask, square)


def palette_png(crop, tmp_path):
    image = Image.frombytes("P", crop.shape[::-1], crop.astype(np.uint8).tobytes())
    image.putpalette([0, 0, 0, 255, 255, 255])
    image.save(tmp_path / "p.png", transparency=0, bits=1)
    return (tmp_path / "p.png").read_bytes()


@pytest.mark.parametrize("spelling", ["grey", "rgba", "palette"])
def test_bitmaps_lie_at_their_origin(tmp_path, as_png, spelling):
    crop = np.random.RandomState(0).rand(5, 7) < 0.5
    crop[0, 0], crop[0, 1] = True, False
    white = np.full(crop.shape, 255, np.uint8)
    png = {
        "grey": as_png(crop),
        "rgba": as_png(np.stack([white, white, white, crop * white], -1)),
        "palette": palette_png(crop, tmp_path),
    }[spelling]
    expected = np.zeros((20, 30), bool)
    expected[10:15, 20:27] = crop
    loaded = load(project(tmp_path, bitmap(png, (20, 10))))
    np.testing.assert_array_equal(loaded.mask, expected)


def test_one_file_alone_and_its_boxes(fixtures):
    path = fixtures / "panlabel" / "sample_valid.supervisely.json"
    with pytest.raises(AnnotationRefused, match=r"2 categories and no choice; .*'car', 'dog'"):
        load_annotations(path)
    dog = load_annotations(path, category="dog")
    area = abs((200 - 50) * (210 - 60) - (120 - 50) * (150 - 60)) / 2
    assert dog[0].load().mask.sum() == pytest.approx(area, rel=0.02)
    covered = dog[0].load().mask[20:80, 10:100].sum()  # the dog is listed later
    assert load(path, category="cat", boxes="fill").mask.sum() == 90 * 60 - covered


@pytest.mark.parametrize(
    ("record", "match"),
    [
        (3, "object 1: no record"),
        (polygon(exterior=None), "no `exterior` and `interior`"),
        ({"classTitle": "c", "geometryType": "bitmap"}, "origin None"),
        (
            {
                "classTitle": "c",
                "geometryType": "bitmap",
                "bitmap": {"origin": [1, 2], "data": "AAAA"},
            },
            "neither zlib nor PNG",
        ),
        (bitmap(b"no png"), "is not a readable image"),
    ],
)
def test_broken_objects_are_named(tmp_path, record, match):
    with pytest.raises(AnnotationRefused, match=match):
        load(project(tmp_path, record))


def test_bitmaps_outside_and_bombs_are_refused(tmp_path, as_png):
    crop = as_png(np.ones((4, 4), bool))
    with pytest.raises(AnnotationRefused, match=r"4 x 4 pixels at \(100, 3\) lies outside"):
        load(project(tmp_path, bitmap(crop, (100, 3))))
    with pytest.raises(AnnotationRefused, match="a bitmap of more than 1 MiB"):
        inflate(zlib.compress(b"\0" * (2 << 20)), "r", limit=1 << 20)
    assert inflate(zlib.compress(b"\0" * (1 << 20)), "r", limit=1 << 20) == b"\0" * (1 << 20)


def test_files_without_a_size_are_refused(tmp_path):
    folder = project(tmp_path, polygon())
    (folder / "ds0" / "ann" / "b.jpg.json").write_text("{}")
    with pytest.raises(AnnotationRefused, match=r"b\.jpg\.json: no `size` and `objects`"):
        load_annotations(folder)
    with pytest.raises(AnnotationRefused, match="1000000 x 1000000 pixels"):
        load_annotations(project(tmp_path, polygon(), size=(10**6, 10**6)))
