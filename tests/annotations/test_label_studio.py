import json

import numpy as np
import pytest
from annotation_exports import LS_SIDES as SIDES
from annotation_exports import PERCENT, SQUARE, as_bytes, brush, in_base64, png, region, task

from l4f_datagen.annotations import load_annotations
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
        (brush(np.ones((3, 3), bool)), "36 words of 8 bits for 2 x 2 RGBA pixels"),
        (brush(np.ones((2, 2), bool))[:-1], "is cut"),
        ([255] * 40, "4294967295 words of 32 bits"),
        (OVERFLOW, "a brush RLE that overflows"),
    ],
)
def test_broken_brushes_are_refused(rle, match):
    with pytest.raises(AnnotationRefused, match=match):
        decode_brush(rle, (2, 2), "r")


BARE = {"id": "x", "type": "polygon", **SIDES, "value": {"points": PERCENT}}
BRUSH = {"format": "rle", "rle": brush(SQUARE)}
UNLABELLED = {"data": {"image": "b.jpg"}, "annotations": []}


def drawn(kind, **value):
    return region(None, kind=f"{kind}labels", **value)


def opened(tmp_path, *tasks, **options):
    path = tmp_path / "project.json"
    path.write_text(json.dumps(tasks))
    return load_annotations(path, **options)


@pytest.mark.parametrize("key", ["annotations", "completions"])  # the latter of version 0
@pytest.mark.parametrize(
    "regions",
    [
        [region()],
        [drawn("brush", **BRUSH)],
        [drawn("bitmask", imageDataURL="data:image/png;base64," + in_base64(png(SQUARE)))],
        # labels kept apart are found by the id of their region
        [BARE, {**BARE, "type": "labels", "value": {"labels": ["car"], "points": PERCENT}}],
        [BARE, {**BARE, "type": "labels", "value": {"labels": ["car"]}}],
    ],
)
def test_every_spelling_of_a_region(tmp_path, regions, key):
    data = task(*regions)
    truth = opened(tmp_path, {"data": data["data"], key: data["annotations"]})
    assert (truth.format, truth[0].stem, truth[0].size_hw) == ("label-studio", "a", (20, 30))
    np.testing.assert_array_equal(truth[0].load().mask, SQUARE)


def test_ellipses_and_boxes(tmp_path):
    ellipse = drawn("ellipse", x=50, y=50, radiusX=20, radiusY=20, rotation=0)
    loaded = opened(tmp_path, task(ellipse))[0].load()
    rows, columns = np.mgrid[:20, :30] + 0.5
    expected = ((columns - 15) / 6) ** 2 + ((rows - 10) / 4) ** 2 < 1
    assert (loaded.mask ^ expected).sum() <= 0.1 * expected.sum()
    box = drawn("rectangle", x=50, y=50, width=20, height=20, rotation=90)
    turned = opened(tmp_path, task(box), boxes="fill")[0].load()
    expected = np.zeros((20, 30), bool)
    expected[10:16, 11:15] = True  # 6 x 4 turned about its upper left corner
    np.testing.assert_array_equal(turned.mask, expected)


def test_annotations_are_annotators_and_cancelled_ones_are_not(tmp_path):
    data = task(region())
    data["annotations"] += [{"result": [region()]}, {"result": []}]
    data["annotations"].append({"result": [region()], "was_cancelled": True})
    data["predictions"] = [{"result": []}]
    truth = opened(tmp_path, data, UNLABELLED)
    assert len(truth) == 1
    np.testing.assert_array_equal(truth[0].load().mask, SQUARE)
    notes = " ".join(truth.notes())
    assert "1 skipped or cancelled labels left out" in notes
    assert "1 predictions of a model not read" in notes
    assert truth.left_out == ("b.jpg",)
    assert truth.agreements == [pytest.approx(1 / 3)]


def test_json_min_rows(tmp_path):
    flat = {"image": "/data/local-files/?d=set/a.png", "annotator": 1, "annotation_id": 4}
    outlined = {"points": PERCENT, "closed": True, "polygonlabels": ["car"], **SIDES}
    painted = {**BRUSH, "brushlabels": ["car"], **SIDES}
    rows = [{**flat, "label": [one]} for one in (outlined, painted)]
    for row in rows:
        truth = opened(tmp_path, row)
        assert (truth.format, truth[0].name) == ("label-studio", "set/a.png")
        np.testing.assert_array_equal(truth[0].load().mask, SQUARE)
    two = opened(tmp_path, *rows)
    assert len(two) == 1
    assert two[0].load().ignore is None
    assert two.agreements == [1.0]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ([task(region()), 3], "task 2: no record"),
        ([{"data": {"image": "a"}, "annotations": [{}]}], "`result` is not a list of regions"),
        ([task({**region(), "value": 3})], "region 1: no `value` and `type`"),
        ([task({**region(), "image_rotation": 90})], "region 1: the image was rotated"),
        ([task(region(), {**region(), "original_width": 31})], "images of different sizes"),
        ([task(BARE)], "a region without a label"),
        ([task({**BARE, "id": []})], "region 1: a region without a label"),
        ([task(region([[270, 180], [273, 180], [273, 184]]))], "outside"),
        ([task(drawn("bitmask", imageDataURL="data:,!!"))], "broken base64"),
        ([UNLABELLED], "no annotated image"),
    ],
)
def test_broken_tasks_are_named(tmp_path, data, match):
    with pytest.raises(AnnotationRefused, match=match):
        [item.load() for item in opened(tmp_path, *data)]


def test_fixtures(fixtures):
    folder = fixtures / "panlabel"
    for name in ("valid", "rotated", "legacy_completions"):
        with pytest.raises(AnnotationRefused, match="boxes or points only"):
            load_annotations(folder / f"sample_{name}.label_studio.json")
    valid, both = folder / "sample_valid.label_studio.json", ["cat", "dog"]
    filled = load_annotations(valid, boxes="fill", category=both)
    sizes = {item.stem: int(item.load().mask.sum()) for item in filled}
    assert sizes == {"img_a": 50 * 50, "img_b": 60 * 40}
    with pytest.raises(AnnotationRefused, match="no object at all"):
        load_annotations(folder / "sample_invalid_result_type.label_studio.json", boxes="fill")
    several = folder / "sample_invalid_multi_annotation_sets.label_studio.json"
    loaded = load_annotations(several, boxes="fill")[0].load()
    assert loaded.ignore is not None  # one annotator drew it, one saw nothing: a tie
