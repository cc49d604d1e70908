import numpy as np
import pytest
from annotation_exports import LS_SIDES, PERCENT, SQUARE, as_bytes, brush, region, task

from l4f_datagen.annotations.label_studio import decode_brush
from l4f_datagen.core.errors import AnnotationRefused


@pytest.mark.parametrize("seed", range(8))
def test_brush_runs_decode_as_they_were_packed(seed):
    random = np.random.RandomState(seed)
    mask = random.rand(*random.randint(1, 24, 2)) < random.rand()
    np.testing.assert_array_equal(decode_brush(brush(mask), mask.shape, "r"), mask)


OVERFLOW = as_bytes(  # 16 words declared, one run of 256
    f"{16:032b}{7:05b}" + f"{2:04b}{3:04b}{7:04b}{15:04b}" + "1" + "10" + "1" * 8 + "0" * 10
)


@pytest.mark.parametrize(
    ("rle", "match"),
    [
        (None, "a brush without an RLE"),
        ([], "a brush without an RLE"),
        ([1, 300], "not a list of bytes"),
        ([1, True], "not a list of bytes"),
        ([1, 2], "a brush RLE that is cut"),
        (brush(np.ones((3, 3), bool)), "36 words of 8 bits for 2 x 2 pixels"),
        (brush(np.ones((2, 2), bool))[:-1], "is cut"),
        ([255] * 40, "4294967295 words of 32 bits"),
        (OVERFLOW, "a brush RLE that overflows"),
    ],
)
def test_broken_brushes_are_refused(rle, match):
    with pytest.raises(AnnotationRefused, match=match):
        decode_brush(rle, (2, 2), "r")


def test_ellipses_and_boxes(opened):
    ellipse = region(None, kind="ellipselabels", x=50, y=50, radiusX=20, radiusY=20, rotation=0)
    loaded = opened([task(ellipse)])[0].load()
    rows, columns = np.mgrid[:20, :30] + 0.5
    expected = ((columns - 15) / 6) ** 2 + ((rows - 10) / 4) ** 2 < 1
    assert (loaded.mask ^ expected).sum() <= 0.1 * expected.sum()
    box = region(None, kind="rectanglelabels", x=50, y=50, width=20, height=20, rotation=90)
    turned = opened([task(box)], boxes="fill")[0].load()
    expected = np.zeros((20, 30), bool)
    expected[10:16, 11:15] = True  # 6 x 4 turned about its upper left corner
    np.testing.assert_array_equal(turned.mask, expected)


def test_annotations_are_annotators_and_cancelled_ones_are_not(opened):
    data = task(region())
    data["annotations"] += [{"result": [region()]}, {"result": []}]
    data["annotations"].append({"result": [region()], "was_cancelled": True})
    data["predictions"] = [{"result": []}]
    truth = opened([data, {"data": {"image": "b.jpg"}, "annotations": []}])
    assert len(truth) == 1
    np.testing.assert_array_equal(truth[0].load().mask, SQUARE)
    notes = " ".join(truth.notes())
    assert "1 skipped or cancelled labels left out" in notes
    assert "1 predictions of a model not read" in notes
    assert truth.left_out == ("b.jpg",)
    assert truth.agreements == [pytest.approx(1 / 3)]


def test_json_min_rows_of_one_image_are_annotators(opened):
    outlined = {"points": PERCENT, "polygonlabels": ["car"], **LS_SIDES}
    painted = {"format": "rle", "rle": brush(SQUARE), "brushlabels": ["car"], **LS_SIDES}
    two = opened([{"image": "a.png", "label": [one]} for one in (outlined, painted)])
    assert len(two) == 1
    assert two[0].load().ignore is None
    assert two.agreements == [1.0]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/local-files/?d=dir%2Fa%20b.png", "dir/a b.png"),
        ("/tasks/1/resolve/?fileuri=czM6Ly9iL2RpciUyRmEucG5n", "dir/a.png"),
        ("s3://bucket/dir%2Fa.png", "dir/a.png"),
    ],
)
def test_images_are_named_by_their_decoded_path(opened, address, name):
    assert opened([task(region(), image=address)])[0].name == name
