import json
import zlib

import numpy as np
import pytest
from annotation_exports import SQUARE, in_base64, labelme, png, sly_bitmap, sly_polygon, supervisely
from annotation_exports import labelme_shape as shape
from PIL import Image

from l4f_datagen.annotations import load_annotations
from l4f_datagen.annotations.per_image import inflate
from l4f_datagen.core.errors import AnnotationRefused

CROP = {"points": [[2, 3], [8, 7]], "shape_type": "mask"}


def opened(tmp_path, *documents, folder="labels", **options):
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(documents):
        (tmp_path / folder / f"{number}.jpg.json").write_text(json.dumps(one))
    return load_annotations(tmp_path / folder, **options)


def test_a_folder_of_labelme_polygons(tmp_path):
    documents = labelme(shape(), imagePath="..\\images\\a.jpg"), labelme(imagePath="b.jpg")
    truth = opened(tmp_path, *documents)
    assert truth.format == "labelme"
    assert [item.name for item in truth] == ["images/a.jpg", "b.jpg"]
    assert {item.size_hw for item in truth} == {(20, 30)}
    np.testing.assert_array_equal(truth[0].load().mask, SQUARE)
    assert not truth[1].load().mask.any()
    alone = load_annotations(tmp_path / "labels" / "0.jpg.json")
    np.testing.assert_array_equal(alone[0].load().mask, SQUARE)
    (tmp_path / "labels" / "1.jpg.json").write_text("{")
    with pytest.raises(AnnotationRefused, match=r"labels/1\.jpg\.json: not JSON"):
        load_annotations(tmp_path / "labels")


def test_masks_circles_rectangles_and_lines(tmp_path):
    mask = shape(mask=in_base64(png(SQUARE[3:8, 2:9])), **CROP)
    np.testing.assert_array_equal(opened(tmp_path, labelme(mask))[0].load().mask, SQUARE)
    circle = shape(points=[[15, 10], [15, 16]], shape_type="circle")
    loaded = opened(tmp_path, labelme(circle))[0].load()
    rows, columns = np.mgrid[:20, :30] + 0.5
    expected = np.hypot(columns - 15, rows - 10) < 6
    assert (loaded.mask ^ expected).sum() <= 0.1 * expected.sum()
    box = shape(points=[[9, 8], [2, 3]], shape_type="rectangle")
    filled = opened(tmp_path, labelme(box), boxes="fill")
    np.testing.assert_array_equal(filled[0].load().mask, SQUARE)
    line = shape(points=[[1, 1], [2, 2]], shape_type="line")
    truth = opened(tmp_path, labelme(shape(), line))
    np.testing.assert_array_equal(truth[0].load().mask, SQUARE)
    assert len(truth.notes()) == 1


def test_the_size_comes_from_the_embedded_image_when_it_is_not_told(tmp_path):
    bare = labelme(shape(), imageHeight=None, imageWidth=None)
    embedded = bare | {"imageData": in_base64(png(SQUARE))}
    assert opened(tmp_path, embedded)[0].size_hw == (20, 30)
    np.testing.assert_array_equal(opened(tmp_path, bare)[0].load((20, 30)).mask, SQUARE)


NO_POINTS = {"points": [[0, 0], [1, 1]], "shape_type": "mask"}


@pytest.mark.parametrize(
    ("document", "match"),
    [
        (labelme(3), "shape 1: no record"),
        (labelme(shape(label=None)), "shape 1: label None"),
        (labelme(shape(points=[[1, 2], [3, float("nan")], [4, 5]])), "coordinate nan"),
        (labelme(shape(**NO_POINTS)), "no base64 image"),
        (labelme(shape(mask="AAAA", **NO_POINTS)), "is not a readable image"),
        (labelme(shape(mask=in_base64(png(SQUARE)), **CROP)), r"30 x 20 pixels for points \(2, 3"),
        (labelme(shape(), imageHeight="20"), "height '20'"),
        (labelme(shape(), imagePath="../.."), "leads out"),
        (labelme(shapes={}), "`shapes` is not a list"),
        (supervisely(3), "object 1: no record"),
        (supervisely(sly_polygon(exterior=None)), "no `exterior` and `interior`"),
        (supervisely({"classTitle": "c", "geometryType": "bitmap"}), "origin None"),
        (supervisely(sly_bitmap(b"\0\0\0")), "neither zlib nor PNG"),
        (supervisely(sly_bitmap(zlib.compress(b"no png"))), "is not a readable image"),
        (supervisely(sly_bitmap(png(SQUARE[:4, :4]), (100, 3))), r"at \(100, 3\) lies outside"),
        (supervisely(sly_polygon(), size={"height": 10**6, "width": 10**6}), "1000000 x 1000000"),
    ],
)
def test_broken_files_are_named(tmp_path, document, match):
    with pytest.raises(AnnotationRefused, match=match):
        [item.load() for item in opened(tmp_path, document, category="*")]


def test_labelme_fixture(fixtures):
    path = fixtures / "panlabel" / "sample_valid.labelme.json"
    truth = load_annotations(path)
    area = abs((200 - 50) * (200 - 60) - (120 - 50) * (150 - 60)) / 2
    assert truth[0].load().mask.sum() == pytest.approx(area, rel=0.02)
    assert truth.notes() == ["1 objects of other categories are background"]
    boxed = load_annotations(path, category="cat", boxes="fill")
    dog = truth[0].load().mask  # drawn later, so it covers the box
    assert boxed[0].load().mask.sum() == 90 * 60 - dog[20:80, 10:100].sum()
    with pytest.raises(AnnotationRefused, match=r"shape 1: 'cat' is only boxed on image img001"):
        load_annotations(path, category="cat")


def project(tmp_path, *objects):
    (tmp_path / "project").mkdir(exist_ok=True)
    (tmp_path / "project" / "meta.json").write_text('{"classes": []}')
    opened(tmp_path, supervisely(*objects), folder="project/ds0/ann")
    return load_annotations(tmp_path / "project")


def test_supervisely_polygons_with_holes(tmp_path):
    truth = project(tmp_path, sly_polygon())
    assert (truth.format, truth[0].name, truth[0].size_hw) == ("supervisely", "0.jpg", (20, 30))
    np.testing.assert_array_equal(truth[0].load().mask, SQUARE)
    hole = [[4, 4], [6, 4], [6, 6], [4, 6]]
    assert project(tmp_path, sly_polygon(interior=[hole]))[0].load().mask.sum() == 35 - 4
    nested = sly_polygon()
    nested["geometry"] = {"points": nested.pop("points")}
    np.testing.assert_array_equal(project(tmp_path, nested)[0].load().mask, SQUARE)
    (tmp_path / "project" / "ds0" / "ann" / "b.jpg.json").write_text("{}")
    with pytest.raises(AnnotationRefused, match=r"b\.jpg\.json: no `size` and `objects`"):
        load_annotations(tmp_path / "project")


def palette_png(crop, tmp_path):
    image = Image.frombytes("P", crop.shape[::-1], crop.astype(np.uint8).tobytes())
    image.putpalette([0, 0, 0, 255, 255, 255])
    image.save(tmp_path / "p.png", transparency=0, bits=1)
    return (tmp_path / "p.png").read_bytes()


@pytest.mark.parametrize("spelling", ["grey", "rgba", "palette"])
def test_supervisely_bitmaps_lie_at_their_origin(tmp_path, spelling):
    crop = np.random.RandomState(0).rand(5, 7) < 0.5
    crop[0, 0], crop[0, 1] = True, False
    white = np.full(crop.shape, 255, np.uint8)
    rgba = np.stack([white, white, white, crop * white], -1)
    data = palette_png(crop, tmp_path) if spelling == "palette" else png(crop)
    data = png(rgba) if spelling == "rgba" else data
    expected = np.zeros((20, 30), bool)
    expected[10:15, 20:27] = crop
    truth = project(tmp_path, sly_bitmap(zlib.compress(data), (20, 10)))
    np.testing.assert_array_equal(truth[0].load().mask, expected)


def test_bombs_are_refused():
    with pytest.raises(AnnotationRefused, match="a bitmap of more than 1 MiB"):
        inflate(zlib.compress(b"\0" * (2 << 20)), "r", limit=1 << 20)
    assert inflate(zlib.compress(b"\0" * (1 << 20)), "r", limit=1 << 20) == b"\0" * (1 << 20)


def test_supervisely_fixture(fixtures):
    path = fixtures / "panlabel" / "sample_valid.supervisely.json"
    with pytest.raises(AnnotationRefused, match=r"2 categories and no choice; .*'car', 'dog'"):
        load_annotations(path)
    dog = load_annotations(path, category="dog")
    area = abs((200 - 50) * (210 - 60) - (120 - 50) * (150 - 60)) / 2
    assert dog[0].load().mask.sum() == pytest.approx(area, rel=0.02)
    covered = dog[0].load().mask[20:80, 10:100].sum()  # the dog is listed later
    cat = load_annotations(path, category="cat", boxes="fill")
    assert cat[0].load().mask.sum() == 90 * 60 - covered
