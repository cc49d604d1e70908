import base64
import json

import numpy as np
import pytest

from l4f_datagen.annotations import load_annotations
from l4f_datagen.core.errors import AnnotationRefused

POINTS = [[2.0, 3.0], [9.0, 3.0], [9.0, 8.0], [2.0, 8.0]]


def shape(label="car", points=POINTS, shape_type="polygon", **more):
    return {"label": label, "points": points, "shape_type": shape_type, "group_id": None, **more}


def document(*shapes, **changes):
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": "..\\images\\a.jpg",
        "imageHeight": 20,
        "imageWidth": 30,
        "imageData": None,
        **changes,
    }


def opened(tmp_path, *documents, **options):
    folder = tmp_path / "labels"
    folder.mkdir(exist_ok=True)
    for number, one in enumerate(documents):
        (folder / f"{number}.json").write_text(json.dumps(one))
    (folder / "a.jpg").write_bytes(b"not read")
    return load_annotations(folder, **options)


def test_a_folder_of_polygons(tmp_path, square):
    truth = opened(tmp_path, document(shape()), document(imagePath="b.jpg"))
    assert truth.format == "labelme"
    assert [(item.name, item.size_hw) for item in truth] == [
        ("images/a.jpg", (20, 30)),
        ("b.jpg", (20, 30)),
    ]
    np.testing.assert_array_equal(truth[0].load().mask, square)
    assert not truth[1].load().mask.any()


def test_one_file_alone(tmp_path, square):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document(shape())))
    np.testing.assert_array_equal(load_annotations(path)[0].load().mask, square)


def test_masks_circles_and_rectangles(tmp_path, square, as_png):
    crop = base64.b64encode(as_png(square[3:8, 2:9])).decode()
    mask = shape(points=[[2, 3], [8, 7]], shape_type="mask", mask=crop)
    np.testing.assert_array_equal(opened(tmp_path, document(mask))[0].load().mask, square)
    circle = shape(points=[[15, 10], [15, 16]], shape_type="circle")
    loaded = opened(tmp_path, document(circle))[0].load()
    rows, columns = np.mgrid[:20, :30] + 0.5
    expected = np.hypot(columns - 15, rows - 10) < 6
    assert (loaded.mask ^ expected).sum() <= 0.1 * expected.sum()
    box = shape(points=[[9, 8], [2, 3]], shape_type="rectangle")
    filled = opened(tmp_path, document(box), boxes="fill")
    np.testing.assert_array_equal(filled[0].load().mask, square)


def test_lines_and_points_are_counted(tmp_path, square):
    line = shape(points=[[1, 1], [2, 2]], shape_type="line")
    truth = opened(tmp_path, document(shape(), line))
    np.testing.assert_array_equal(truth[0].load().mask, square)
    assert len(truth.notes()) == 1


def test_the_size_comes_from_the_embedded_image_when_it_is_not_told(tmp_path, square, as_png):
    data = base64.b64encode(as_png(square)).decode()
    one = document(shape(), imageHeight=None, imageWidth=None, imageData=data)
    assert opened(tmp_path, one)[0].size_hw == (20, 30)
    bare = opened(tmp_path, document(shape(), imageHeight=None, imageWidth=None))
    np.testing.assert_array_equal(bare[0].load((20, 30)).mask, square)


@pytest.mark.parametrize(
    ("one", "match"),
    [
        (document(3), "shape 1: no record"),
        (document(shape(label=None)), "shape 1: label None"),
        (document(shape(points=[[1, 2], [3, float("nan")], [4, 5]])), "coordinate nan"),
        (document(shape(points=[[0, 0], [1, 1]], shape_type="mask")), "no base64 image"),
        (
            document(shape(points=[[0, 0], [1, 1]], shape_type="mask", mask="AAAA")),
            "is not a readable image",
        ),
        (document(shape(), imageHeight="20"), "height '20'"),
        (document(shape(), imagePath="../.."), "leads out"),
        (document(shape(), shapes={}), "`shapes` is not a list"),
    ],
)
def test_broken_files_are_named(tmp_path, one, match):
    with pytest.raises(AnnotationRefused, match=match):
        [item.load() for item in opened(tmp_path, one, category="*")]


def test_a_mask_of_another_size_than_its_points(tmp_path, square, as_png):
    crop = base64.b64encode(as_png(square)).decode()
    one = document(shape(points=[[2, 3], [8, 7]], shape_type="mask", mask=crop))
    with pytest.raises(AnnotationRefused, match=r"30 x 20 pixels for points \(2, 3\) to \(8, 7\)"):
        opened(tmp_path, one)[0].load()


def test_a_broken_file_in_the_folder_is_named(tmp_path):
    opened(tmp_path, document(shape()), document(shape()))
    (tmp_path / "labels" / "1.json").write_text("{")
    with pytest.raises(AnnotationRefused, match=r"labels/1\.json: not JSON"):
        load_annotations(tmp_path / "labels")


def test_fixture(fixtures):
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
