import base64
import json

import numpy as np
import pytest

from l4f_datagen.annotations import load_annotations
from l4f_datagen.annotations.rle import decode_brush
from l4f_datagen.core.errors import AnnotationRefused


def pack(words, *, sizes=(3, 4, 8, 16), split=True):
    """Write rle-pack bytes: runs of equal words, anything else listed (independent encoder)."""
    bits = f"{len(words):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    place = 0
    while place < len(words):
        end = place
        while end < len(words) and words[end] == words[place] and end - place < 1 << sizes[3]:
            end += 1
        if end - place >= 2 or not split:
            length, is_run = end - place, 1
        else:
            length = 1
            while (
                place + length < len(words)
                and words[place + length] != words[place + length - 1]
                and length < 1 << sizes[1]
            ):
                length += 1
            is_run = 0
        index = next(i for i, size in enumerate(sizes) if length <= 1 << size)
        bits += f"{is_run}{index:02b}{length - 1:0{sizes[index]}b}"
        listed = words[place : place + 1] if is_run else words[place : place + length]
        bits += "".join(f"{int(word):08b}" for word in listed)
        place += length
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def brush(mask):
    canvas = np.zeros((*mask.shape, 4), np.uint8)
    canvas[mask] = (10, 20, 30, 255)
    return pack(canvas.ravel().tolist())


@pytest.mark.parametrize("seed", range(8))
def test_brush_runs_decode_as_they_were_packed(seed):
    random = np.random.RandomState(seed)
    mask = random.rand(*random.randint(1, 24, 2)) < random.rand()
    np.testing.assert_array_equal(decode_brush(brush(mask), mask.shape, "r"), mask)


def overflow():
    """16 words declared, one run of 256."""
    bits = f"{16:032b}{7:05b}" + f"{2:04b}{3:04b}{7:04b}{15:04b}" + "1" + "10" + "1" * 8 + "0" * 10
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


@pytest.mark.parametrize(
    ("rle", "match"),
    [
        (None, "a brush without an RLE"),
        ([], "a brush without an RLE"),
        ([1, 300], "not a list of bytes"),
        ([1, True], "not a list of bytes"),
        ([1, 2], "a brush RLE that is cut"),
        (brush(np.ones((3, 3), bool)), "36 words of 8 bits for 2 x 2 RGBA pixels"),
        (brush(np.ones((2, 2), bool))[:-1], "is cut"),
        ([255] * 40, "4294967295 words of 32 bits"),
        (overflow(), "a brush RLE that overflows"),
    ],
)
def test_broken_brushes_are_refused(rle, match):
    with pytest.raises(AnnotationRefused, match=match):
        decode_brush(rle, (2, 2), "r")


SIZE = {"original_width": 30, "original_height": 20, "image_rotation": 0}
# the square of the other tests in percent of 30 x 20
CORNERS = [[200 / 30, 15.0], [30.0, 15.0], [30.0, 40.0], [200 / 30, 40.0]]


def region(**value):
    kind = next(key for key in value if key.endswith("labels"))
    return {"id": "r1", "type": kind, "from_name": "l", "to_name": "i", **SIZE, "value": value}


def polygon(label="car"):
    return region(points=CORNERS, closed=True, polygonlabels=[label])


def task(*results, image="/data/upload/3/0a1b2c3d-a.jpg", **more):
    return {
        "id": 1,
        "data": {"image": image},
        "annotations": [{"id": n, "result": list(one)} for n, one in enumerate(results)],
        **more,
    }


def opened(tmp_path, data, **options):
    path = tmp_path / "project.json"
    path.write_text(json.dumps(data))
    return load_annotations(path, **options)


def test_polygons_in_percent(tmp_path, square):
    truth = opened(tmp_path, [task([polygon()])])
    assert truth.format == "label-studio"
    assert (truth[0].stem, truth[0].size_hw) == ("a", (20, 30))
    np.testing.assert_array_equal(truth[0].load().mask, square)


def test_brushes_and_bitmaps(tmp_path, square, as_png):
    painted = region(format="rle", rle=brush(square), brushlabels=["car"])
    np.testing.assert_array_equal(opened(tmp_path, [task([painted])])[0].load().mask, square)
    url = "data:image/png;base64," + base64.b64encode(as_png(square)).decode()
    bitmap = region(imageDataURL=url, bitmasklabels=["car"])
    np.testing.assert_array_equal(opened(tmp_path, [task([bitmap])])[0].load().mask, square)


def test_labels_kept_apart_are_found_by_id(tmp_path, square):
    bare = {"id": "x", "type": "polygon", **SIZE, "value": {"points": CORNERS}}
    label = {"id": "x", "type": "labels", **SIZE, "value": {"labels": ["car"], "points": CORNERS}}
    only_label = {"id": "x", "type": "labels", **SIZE, "value": {"labels": ["car"]}}
    for regions in ([bare, label], [bare, only_label]):
        truth = opened(tmp_path, [task(regions)], category="car")
        np.testing.assert_array_equal(truth[0].load().mask, square)


def test_ids_that_are_no_text_name_no_label(tmp_path):
    bare = {"id": [], "type": "polygon", **SIZE, "value": {"points": CORNERS}}
    with pytest.raises(AnnotationRefused, match="region 1: a region without a label"):
        opened(tmp_path, [task([bare])])


def test_ellipses_and_boxes(tmp_path):
    ellipse = region(x=50, y=50, radiusX=20, radiusY=20, rotation=0, ellipselabels=["car"])
    loaded = opened(tmp_path, [task([ellipse])])[0].load()
    rows, columns = np.mgrid[:20, :30] + 0.5
    expected = ((columns - 15) / 6) ** 2 + ((rows - 10) / 4) ** 2 < 1
    assert (loaded.mask ^ expected).sum() <= 0.1 * expected.sum()
    box = region(x=50, y=50, width=20, height=20, rotation=90, rectanglelabels=["car"])
    turned = opened(tmp_path, [task([box])], boxes="fill")[0].load()
    expected = np.zeros((20, 30), bool)
    expected[10:16, 11:15] = True  # 6 x 4 turned about its upper left corner
    np.testing.assert_array_equal(turned.mask, expected)


def test_annotations_are_annotators_and_cancelled_ones_are_not(tmp_path, square):
    data = task([polygon()], [polygon()], [])
    data["annotations"].append({"result": [polygon()], "was_cancelled": True})
    data["predictions"] = [{"result": []}]
    truth = opened(tmp_path, [data, task(image="b.jpg")])
    assert len(truth) == 1
    np.testing.assert_array_equal(truth[0].load().mask, square)
    notes = " ".join(truth.notes())
    assert "1 skipped or cancelled labels left out" in notes
    assert "1 predictions of a model not read" in notes
    assert truth.left_out == ("b.jpg",)
    assert truth.agreements == [pytest.approx(1 / 3)]


def test_json_min_rows(tmp_path, square):
    flat = {
        "image": "/data/local-files/?d=set/a.png",
        "id": 7,
        "label": [{"points": CORNERS, "closed": True, "polygonlabels": ["car"], **SIZE}],
        "annotator": 1,
        "annotation_id": 4,
        "lead_time": 3.2,
    }
    painted = {
        **flat,
        "label": [{"format": "rle", "rle": brush(square), "brushlabels": ["car"], **SIZE}],
    }
    for row in (flat, painted):
        truth = opened(tmp_path, [row])
        assert (truth.format, truth[0].name) == ("label-studio", "set/a.png")
        np.testing.assert_array_equal(truth[0].load().mask, square)
    two = opened(tmp_path, [flat, painted])
    assert len(two) == 1
    assert two[0].load().ignore is None
    assert two.agreements == [1.0]


def test_old_completions_are_annotations(tmp_path, square):
    data = task([polygon()])
    data["completions"] = data.pop("annotations")
    np.testing.assert_array_equal(opened(tmp_path, [data])[0].load().mask, square)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ([task([polygon()]), 3], "task 2: no record"),
        ([{"data": {"image": "a"}, "annotations": [{}]}], "`result` is not a list of regions"),
        ([task([{**polygon(), "value": 3}])], "region 1: no `value` and `type`"),
        ([task([{**polygon(), "image_rotation": 90}])], "region 1: the image was rotated"),
        ([task([polygon(), {**polygon(), "original_width": 31}])], "images of different sizes"),
        (
            [task([{"id": "x", "type": "polygon", **SIZE, "value": {"points": CORNERS}}])],
            "a region without a label",
        ),
        (
            [task([region(points=[[900, 900], [910, 900], [910, 920]], polygonlabels=["c"])])],
            "outside",
        ),
        ([task([region(imageDataURL="data:,!!", bitmasklabels=["c"])])], "broken base64"),
        ([task()], "no annotated image"),
    ],
)
def test_broken_tasks_are_named(tmp_path, data, match):
    with pytest.raises(AnnotationRefused, match=match):
        [item.load() for item in opened(tmp_path, data)]


def test_fixtures(fixtures):
    folder = fixtures / "panlabel"
    for name in ("valid", "rotated", "legacy_completions"):
        with pytest.raises(AnnotationRefused, match="boxes or points only"):
            load_annotations(folder / f"sample_{name}.label_studio.json")
    filled = load_annotations(
        folder / "sample_valid.label_studio.json", boxes="fill", category=["cat", "dog"]
    )
    assert {item.stem: int(item.load().mask.sum()) for item in filled} == {
        "img_a": 50 * 50,
        "img_b": 60 * 40,
    }
    with pytest.raises(AnnotationRefused, match="no object at all"):
        load_annotations(folder / "sample_invalid_result_type.label_studio.json", boxes="fill")
    several = folder / "sample_invalid_multi_annotation_sets.label_studio.json"
    loaded = load_annotations(several, boxes="fill")[0].load()
    assert loaded.ignore is not None  # one annotator drew it, one saw nothing: a tie
