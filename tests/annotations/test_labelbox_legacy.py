import csv
import json

import numpy as np
import pytest

from l4f_datagen.annotations import load_annotations
from l4f_datagen.core.errors import AnnotationRefused

POLYGON = [{"x": 2, "y": 3}, {"x": 9, "y": 3}, {"x": 9, "y": 8}, {"x": 2, "y": 8}]
# the same square with y from the lower edge of 20 rows
BELOW = [{"x": point["x"], "y": 20 - point["y"]} for point in POLYGON]
WKT = "MULTIPOLYGON (((2 17, 9 17, 9 12, 2 12, 2 17)))"


def record(**changes):
    return {
        "featureId": "feat1",
        "title": "car",
        "value": "car",
        "color": "#ff0000",
        "polygon": POLYGON,
        "instanceURI": "https://api.labelbox.com/masks/feature/feat1?token=x",
        **changes,
    }


def row(label, **changes):
    return {
        "ID": "l1",
        "DataRow ID": "d1",
        "Labeled Data": "https://host/a.jpg?x=1",
        "Label": label,
        "External ID": "a.jpg",
        "Skipped": False,
        **changes,
    }


def labelled(*records):
    return {"objects": list(records), "classifications": []}


def opened(tmp_path, rows, **options):
    path = tmp_path / "export.json"
    path.write_text(json.dumps(rows))
    return load_annotations(path, **options)


def test_polygons_take_the_size_of_the_prediction(tmp_path, square):
    truth = opened(tmp_path, [row(labelled(record()))])
    assert truth.format == "labelbox-legacy"
    assert truth[0].name == "a.jpg"
    np.testing.assert_array_equal(truth[0].load((20, 30)).mask, square)
    sized = opened(
        tmp_path, row(labelled(record()), **{"Media Attributes": {"height": 20, "width": 30}})
    )
    np.testing.assert_array_equal(sized[0].load().mask, square)


def test_masks_by_uri_come_from_the_folder(tmp_path, square, as_png):
    (tmp_path / "m").mkdir()
    white = np.full(square.shape, 255, np.uint8)
    clear = np.stack([white, white, white, square * white], -1)
    (tmp_path / "m" / "feat1.png").write_bytes(as_png(clear))
    one = record()
    del one["polygon"]
    truth = opened(tmp_path, [row(labelled(one))], masks_dir=tmp_path / "m")
    np.testing.assert_array_equal(truth[0].load().mask, square)


@pytest.mark.parametrize(
    "label",
    [
        {"car": [{"geometry": BELOW}]},
        {"car": [BELOW]},
        {"car": WKT},
        {"car": [{"geometry": WKT.replace("MULTIPOLYGON (", "POLYGON ")[:-1]}]},
    ],
)
def test_the_form_before_2020_counts_y_from_below(tmp_path, square, label):
    truth = opened(tmp_path, [row({**label, "weather": "sunny"})])
    np.testing.assert_array_equal(truth[0].load((20, 30)).mask, square)
    assert any("y from the lower edge" in note for note in truth.notes())


@pytest.mark.parametrize(
    ("label", "changes"),
    [({}, {}), ("Skip", {}), ("", {}), (None, {}), (labelled(record()), {"Skipped": True})],
)
def test_rows_nobody_labelled_are_counted(tmp_path, label, changes):
    rows = [row(labelled(record())), row(label, **{"External ID": "b.jpg", **changes})]
    truth = opened(tmp_path, rows)
    assert [item.name for item in truth] == ["a.jpg"]
    assert truth.left_out == ("b.jpg",)


def test_rows_of_one_image_are_annotators(tmp_path, square):
    truth = opened(tmp_path, [row(labelled(record()))] * 3)
    assert len(truth) == 1
    np.testing.assert_array_equal(truth[0].load((20, 30)).mask, square)
    assert truth.agreements == [1.0]


def test_csv_holds_the_same_json(tmp_path, square):
    path = tmp_path / "export.csv"
    big = record(note="x" * 200_000)  # above the default field limit of the csv module
    rows = [row(json.dumps(labelled(big))), row("Skip", **{"External ID": "b.jpg"})]
    with path.open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    limit = csv.field_size_limit()
    truth = load_annotations(path)
    assert csv.field_size_limit() == limit
    assert truth.format == "labelbox-legacy"
    np.testing.assert_array_equal(truth[0].load((20, 30)).mask, square)
    assert truth.left_out == ("b.jpg",)


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([row(labelled(record())), 3], "row 2: no record"),
        ([row([{"frameNumber": 1}])], "row 1: a label of a video"),
        ([row("{broken")], r"row 1 Label: not JSON"),
        ([row(labelled(record()), **{"Labeled Data": '{"tileLayerUrl": ""}'})], "map tiles"),
        ([row(labelled(4))], "object 1: no record"),
        ([row(labelled(record(title=None)))], "object feat1: title None"),
        ([row({"car": "POLYGON ((1 2, 3 x, 4 5))"})], 'class "car": geometry'),
        ([row(labelled(record(page=0)))], "boxes or points only"),
    ],
)
def test_broken_rows_are_named(tmp_path, rows, match):
    with pytest.raises(AnnotationRefused, match=match):
        [item.load((20, 30)) for item in opened(tmp_path, rows)]


def test_fixtures(fixtures, tmp_path, as_png):
    folder = fixtures / "labelbox_legacy"
    nested = load_annotations(folder / "highly_nested_image.json", category="deer")
    loaded = nested[0].load((200, 200))
    corners = np.asarray([[71.832, 62.37], [50.636, 90.087], [103.625, 94.571], [104.033, 59.517]])
    x, y = corners.T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert loaded.mask.sum() == pytest.approx(area, rel=0.02)
    images = load_annotations(folder / "image_export.json", category="polygon")
    assert images[0].load((1707, 2560)).mask.any()
    assert "objects of other categories" in " ".join(images.notes())
    eye = np.zeros((1707, 2560), bool)
    eye[40:50, 60:70] = True
    records = json.loads((folder / "image_export.json").read_text())["Label"]["objects"]
    for one in records:
        if one["title"] == "segmentation":
            (tmp_path / f"{one['featureId']}.png").write_bytes(as_png(eye))
    masks = load_annotations(
        folder / "image_export.json", category="segmentation", masks_dir=tmp_path
    )
    np.testing.assert_array_equal(masks[0].load().mask, eye)
    unknown = load_annotations(folder / "unkown_media_type_export.json")
    assert unknown[0].stem == "im1"
    assert unknown[0].load((200, 200)).mask.any()
    for name, match in (
        ("video_export", "a label of a video"),
        ("tiled_image_export", "map tiles"),
        ("pdf_export", "boxes or points only"),
        ("text_export", "boxes or points only"),
    ):
        with pytest.raises(AnnotationRefused, match=match):
            load_annotations(folder / f"{name}.json")
