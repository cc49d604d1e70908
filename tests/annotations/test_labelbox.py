import json

import numpy as np
import pytest

from l4f_datagen.annotations import load_annotations
from l4f_datagen.core.errors import AnnotationRefused

POLYGON = [{"x": 2.0, "y": 3.0}, {"x": 9.0, "y": 3.0}, {"x": 9.0, "y": 8.0}, {"x": 2.0, "y": 8.0}]
MASK_URL = "https://api.labelbox.com/api/v1/projects/p1/annotations/feat1/index/1/mask"
COMPOSITE_URL = "https://api.labelbox.com/api/v1/tasks/t1/masks/comp1/index/1"


def polygon(name="car", **changes):
    return {
        "feature_id": "feat1",
        "name": name,
        "annotation_kind": "ImagePolygon",
        "polygon": POLYGON,
        **changes,
    }


def mask(feature_id="feat1", name="car", url=MASK_URL):
    return {
        "feature_id": feature_id,
        "name": name,
        "annotation_kind": "ImageSegmentationMask",
        "mask": {"url": url},
    }


def composite(colour, name="car", feature_id="feat1"):
    return {
        "feature_id": feature_id,
        "name": name,
        "annotation_kind": "ImageSegmentationMask",
        "composite_mask": {"url": COMPOSITE_URL, "color_rgb": colour},
    }


def row(*labels, projects=None, **data_row):
    wrapped = [{"label_kind": "Default", "annotations": {"objects": list(one)}} for one in labels]
    return {
        "data_row": {"id": "dr1", "external_id": "a.jpg", "row_data": "s3://b/a.jpg", **data_row},
        "media_attributes": {"width": 30, "height": 20},
        "projects": {"p1": {"name": "cars", "labels": wrapped}} if projects is None else projects,
    }


def opened(tmp_path, rows, *, ndjson=True, **options):
    path = tmp_path / "export.ndjson"
    text = "\n".join(json.dumps(one) for one in rows) if ndjson else json.dumps(rows, indent=1)
    path.write_text(text)
    return load_annotations(path, **options)


@pytest.mark.parametrize("ndjson", [True, False])
def test_polygons_of_both_spellings(tmp_path, square, ndjson):
    rows = [row([polygon()]), row([polygon()], external_id="b.jpg")]
    truth = opened(tmp_path, rows, ndjson=ndjson)
    assert truth.format == "labelbox"
    assert [item.name for item in truth] == ["a.jpg", "b.jpg"]
    assert truth[0].size_hw == (20, 30)
    for item in truth:
        np.testing.assert_array_equal(item.load().mask, square)


def test_a_single_row_is_an_export_too(tmp_path, square):
    for ndjson in (True, False):
        truth = opened(tmp_path, [row([polygon()])], ndjson=ndjson)
        np.testing.assert_array_equal(truth[0].load().mask, square)
    (tmp_path / "one.json").write_text(json.dumps(row([polygon()]), indent=2))
    np.testing.assert_array_equal(load_annotations(tmp_path / "one.json")[0].load().mask, square)


def picture_spellings(square):
    white = np.full(square.shape, 255, np.uint8)
    levels = square.astype(np.uint8) * 255
    return {
        "white on black": levels,
        "ids": square.astype(np.uint8),
        "white on clear": np.stack([white, white, white, levels], -1),
        "black and white with alpha": np.stack([levels, levels, levels, white], -1),
        "red on clear": np.stack([levels, levels * 0, levels * 0, levels], -1),
    }


@pytest.mark.parametrize(
    "spelling",
    ["white on black", "ids", "white on clear", "black and white with alpha", "red on clear"],
)
def test_masks_are_found_by_feature_id(tmp_path, square, as_png, spelling):
    masks = tmp_path / "masks"
    masks.mkdir()
    (masks / "feat1.png").write_bytes(as_png(picture_spellings(square)[spelling]))
    truth = opened(tmp_path, [row([mask()])], masks_dir=masks)
    np.testing.assert_array_equal(truth[0].load().mask, square)


def test_masks_are_found_by_the_tail_of_their_url(tmp_path, square, as_png):
    masks = tmp_path / "masks" / "deep"
    masks.mkdir(parents=True)
    (masks / "tail77.png").write_bytes(as_png(square))
    (masks / "1.png").write_bytes(as_png(~square))  # `index/1` is no name
    url = "https://storage.labelbox.com/x/tail77.png?token=secret"
    truth = opened(tmp_path, [row([mask("other", url=url)])], masks_dir=tmp_path / "masks")
    np.testing.assert_array_equal(truth[0].load().mask, square)


def test_composite_masks_are_split_by_colour(tmp_path, square, as_png):
    masks = tmp_path / "masks"
    masks.mkdir()
    colours = np.zeros((20, 30, 4), np.uint8)
    colours[..., 3] = 255
    colours[square] = (200, 10, 30, 255)
    colours[15:18, 20:25] = (200, 10, 31, 255)
    (masks / "comp1.png").write_bytes(as_png(colours))
    objects = [composite([200, 10, 30]), composite([200, 10, 31], "dog", "feat2")]
    car = opened(tmp_path, [row(objects)], masks_dir=masks, category="car")
    np.testing.assert_array_equal(car[0].load().mask, square)
    dog = opened(tmp_path, [row(objects)], masks_dir=masks, category="dog")
    assert dog[0].load().mask.sum() == 15
    absent = opened(tmp_path, [row([composite([1, 2, 3])])], masks_dir=masks)
    with pytest.raises(AnnotationRefused, match=r"no pixel of its colour \[1, 2, 3\]"):
        absent[0].load()


def test_run_lengths_are_read_where_they_are_met(tmp_path, square):
    flat = square.ravel("F")
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flat, [False]))))
    counts = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
    record = {"feature_id": "f", "name": "car", "mask": {"size": [20, 30], "counts": counts}}
    np.testing.assert_array_equal(opened(tmp_path, [row([record])])[0].load().mask, square)


def test_masks_are_downloaded_only_when_asked(tmp_path, square, as_png):
    asked = []

    def download(url):
        asked.append(url)
        return as_png(square)

    truth = opened(tmp_path, [row([mask()])], download=download)
    np.testing.assert_array_equal(truth[0].load().mask, square)
    assert asked == [MASK_URL]
    with pytest.raises(
        AnnotationRefused, match=r"object feat1: its mask feat1 is not found here, and no"
    ):
        opened(tmp_path, [row([mask()])])[0].load()


def test_several_labels_and_projects_are_several_annotators(tmp_path, square):
    shifted = [{"x": point["x"] + 1, "y": point["y"]} for point in POLYGON]
    labels = [[polygon()], [polygon(polygon=shifted)], [polygon()]]
    both = row(*labels[:2])
    both["projects"]["p2"] = row(labels[2])["projects"]["p1"]
    truth = opened(tmp_path, [both])
    np.testing.assert_array_equal(truth[0].load().mask, square)
    assert truth.agreements == [pytest.approx((1 + 2 * 30 / 40) / 3)]


def test_rows_without_labels_are_counted_and_empty_labels_are_truth(tmp_path):
    truth = opened(
        tmp_path,
        [row([polygon()]), row([], external_id="b.jpg"), row(external_id="c.jpg")],
    )
    assert [item.name for item in truth] == ["a.jpg", "b.jpg"]
    assert not truth[1].load().mask.any()
    assert truth.left_out == ("c.jpg",)


@pytest.mark.parametrize("field", ["external_id", "global_key", "row_data"])
def test_the_field_with_a_sample_key_names_the_image(tmp_path, field):
    key = {field: "https://host/x/psi0700-seed0000012.png?sig=1"}
    truth = opened(tmp_path, [row([polygon()], **key)])
    assert truth[0].stem == "psi0700-seed0000012"


def test_polygons_without_a_size_take_that_of_the_prediction(tmp_path, square):
    one = row([polygon()])
    del one["media_attributes"]
    truth = opened(tmp_path, [one])
    assert truth[0].size_hw is None
    np.testing.assert_array_equal(truth[0].load((20, 30)).mask, square)
    with pytest.raises(AnnotationRefused, match="does not say how large the image is"):
        truth[0].load()


def broken_row(**changes):
    return {**row([polygon()]), **changes}


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([row([polygon()]), {}], "line 2: no `data_row`"),
        ([row([polygon()]), [1]], "line 2: no record"),
        ([broken_row(projects={"p": {"labels": [{}]}})], "a label without `annotations`"),
        (
            [broken_row(projects={"p": {"labels": [{"annotations": {"frames": {}}}]}})],
            "a label of a video",
        ),
        ([row([polygon(name=None)])], "object feat1: name None"),
        ([row([polygon(polygon=[{"x": 1}])])], r"object feat1: polygon coordinate None"),
        ([row([composite([1, 2])])], r"color_rgb \[1, 2\]"),
        ([broken_row(media_attributes={"width": 1e6, "height": 1e6})], "1000000 x 1000000 pixels"),
        ([broken_row(data_row={})], "image name None"),
        ([row(), row()], "no annotated image"),
    ],
)
def test_broken_rows_are_named(tmp_path, rows, match):
    with pytest.raises(AnnotationRefused, match=match) as caught:
        [item.load() for item in opened(tmp_path, rows)]
    assert str(caught.value).startswith(str(tmp_path / "export.ndjson"))


def test_a_broken_line_is_named(tmp_path):
    path = tmp_path / "export.ndjson"
    path.write_text(json.dumps(row([polygon()])) + '\n{"data_row": ')
    with pytest.raises(AnnotationRefused, match=r"line 2: not JSON \(line 1 column 14"):
        load_annotations(path)


def test_masks_found_twice_or_of_another_size_are_refused(tmp_path, square, as_png):
    masks = tmp_path / "masks"
    (masks / "x").mkdir(parents=True)
    (masks / "feat1.png").write_bytes(as_png(square[:10]))
    truth = opened(tmp_path, [row([mask()])], masks_dir=masks)
    with pytest.raises(AnnotationRefused, match="a mask of 30 x 10 pixels on an image of 30 x 20"):
        truth[0].load()
    (masks / "x" / "feat1.png").write_bytes(as_png(square))
    truth = opened(tmp_path, [row([mask()])], masks_dir=masks)
    with pytest.raises(AnnotationRefused, match=r"mask feat1 is feat1\.png and x/feat1\.png"):
        truth[0].load()
    with pytest.raises(AnnotationRefused, match=f"its mask feat2 is not found in {masks}"):
        opened(tmp_path, [row([mask("feat2", url=None)])], masks_dir=masks)[0].load()


def test_fixture(fixtures):
    truth = load_annotations(fixtures / "panlabel" / "sample_valid.labelbox.ndjson")
    assert [(item.name, item.size_hw) for item in truth] == [
        ("img1.jpg", (80, 100)),
        ("img2.jpg", (90, 120)),
    ]
    assert not truth[0].load().mask.any()
    triangle = abs((30 - 5) * (40 - 8) - (20 - 5) * (4 - 8)) / 2
    assert truth[1].load().mask.sum() == pytest.approx(triangle, rel=0.05)
    assert truth.notes() == [
        "1 objects of other categories are background",
        "1 points, lines or other objects without an area skipped",
    ]


def test_a_composite_mask_is_downloaded_once_for_all_its_objects(tmp_path, square, as_png):
    asked = []

    def download(url):
        asked.append(url)
        return as_png(np.repeat(square[:, :, None], 3, 2).astype(np.uint8) * 255)

    objects = [composite([255, 255, 255]), composite([255, 255, 255], feature_id="feat2")]
    truth = opened(tmp_path, [row(objects)], download=download)
    np.testing.assert_array_equal(truth[0].load().mask, square)
    assert asked == [COMPOSITE_URL]
