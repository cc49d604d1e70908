import csv
import json

import numpy as np
import pytest
from annotation_exports import (
    RING,
    SIDES,
    SQUARE,
    legacy_object,
    legacy_row,
    lines,
    png,
    xy,
)
from annotation_exports import labelbox_label as label
from annotation_exports import labelbox_object as outlined
from annotation_exports import labelbox_row as row
from shapely import Polygon

from l4f_datagen.annotations import load_annotations
from l4f_datagen.core.errors import AnnotationRefused

MASK_URL = "https://api.labelbox.com/api/v1/projects/p1/annotations/f/index/1/mask"
COMPOSITE_URL = "https://api.labelbox.com/api/v1/tasks/t1/masks/comp1/index/1"


def mask(feature_id="f", url=MASK_URL):
    return outlined(polygon=None, feature_id=feature_id, mask={"url": url})


def composite(colour, name="car"):
    sources = {"url": COMPOSITE_URL, "color_rgb": colour}
    return outlined(polygon=None, name=name, composite_mask=sources)


@pytest.fixture
def export(opened):
    def call(*rows, **options):
        return opened(lines(*rows), "t.ndjson", **options)

    return call


def test_composite_masks_are_split_by_colour(export, saved):
    colours = np.zeros((20, 30, 4), np.uint8)
    colours[..., 3] = 255
    colours[SQUARE] = (200, 10, 30, 255)
    colours[15:18, 20:25] = (200, 10, 31, 255)
    options = {"masks_dir": saved(masks={"comp1.png": colours}) / "masks"}
    one = row(label(composite([200, 10, 30]), composite([200, 10, 31], "dog")))
    car = export(one, category="car", **options)
    np.testing.assert_array_equal(car[0].load().mask, SQUARE)
    assert export(one, category="dog", **options)[0].load().mask.sum() == 15
    absent = export(row(label(composite([1, 2, 3]))), **options)
    with pytest.raises(AnnotationRefused, match=r"no pixel of its colour \[1, 2, 3\]"):
        absent[0].load()


def test_masks_are_downloaded_only_when_asked_and_composites_once(export):
    asked = []

    def download(url):
        asked.append(url)
        return png(SQUARE)

    both = composite([255] * 3), composite([255] * 3)
    for objects in ([mask()], both):
        truth = export(row(label(*objects)), download=download)
        np.testing.assert_array_equal(truth[0].load().mask, SQUARE)
    assert asked == [MASK_URL, COMPOSITE_URL]


def test_masks_found_twice_or_of_another_size_are_refused(export, saved):
    folder = saved(masks={"f.png": SQUARE[:10]}) / "masks"
    with pytest.raises(AnnotationRefused, match="a mask of 30 x 10 pixels on an image of 30 x 20"):
        export(row(label(mask())), masks_dir=folder)[0].load()
    saved(masks={"x/f.png": SQUARE})
    with pytest.raises(AnnotationRefused, match=r"mask f is f\.png and x/f\.png"):
        export(row(label(mask())), masks_dir=folder)[0].load()
    with pytest.raises(AnnotationRefused, match=f"its mask feat2 is not found in {folder}"):
        export(row(label(mask("feat2", None))), masks_dir=folder)[0].load()


def test_several_labels_and_projects_are_several_annotators(export):
    both = row(label(), label(outlined([[x + 1, y] for x, y in RING])))
    both["projects"]["p2"] = {"labels": [label()]}
    truth = export(both)
    np.testing.assert_array_equal(truth[0].load().mask, SQUARE)
    assert truth.agreements == [pytest.approx((1 + 2 * 30 / 40) / 3)]


def test_empty_labels_are_truth(export):
    nobody_saw = {"annotations": {"objects": []}}
    truth = export(row(label()), row(nobody_saw, name="b.jpg"), row(name="c.jpg"))
    assert [item.name for item in truth] == ["a.jpg", "b.jpg"]
    assert not truth[1].load().mask.any()
    assert truth.left_out == ("c.jpg",)


@pytest.mark.parametrize("field", ["external_id", "global_key", "row_data"])
def test_the_field_with_a_sample_key_names_the_image(export, field):
    address = "https://host/x/psi0700-seed0000012.png?sig=1"
    fields = {"id": "dr1", "external_id": "a.jpg", field: address}
    truth = export(row(label(), data_row=fields))
    assert truth[0].stem == "psi0700-seed0000012"


def test_polygons_without_a_size_take_that_of_the_prediction(export):
    truth = export(row(label(), media_attributes=None))
    assert truth[0].size_hw is None
    np.testing.assert_array_equal(truth[0].load((20, 30)).mask, SQUARE)
    with pytest.raises(AnnotationRefused, match="does not say how large the image is"):
        truth[0].load()


def test_sizes_and_notes_of_a_real_export(fixtures):
    truth = load_annotations(fixtures / "panlabel" / "sample_valid.labelbox.ndjson")
    sizes = {item.name: item.size_hw for item in truth}
    assert sizes == {"img1.jpg": (80, 100), "img2.jpg": (90, 120)}
    assert truth.notes() == [
        "1 objects of other categories are background",
        "1 points, lines or other objects without an area skipped",
    ]


def test_legacy_sizes_annotators_and_outlines_from_below(opened):
    one = legacy_row(legacy_object())
    sized = opened([one | {"Media Attributes": SIDES}])
    np.testing.assert_array_equal(sized[0].load().mask, SQUARE)
    three = opened([one, one, one])  # rows of one image are annotators
    assert len(three) == 1
    np.testing.assert_array_equal(three[0].load((20, 30)).mask, SQUARE)
    assert three.agreements == [1.0]
    old = opened([legacy_row(Label={"car": [xy(RING)], "weather": "sunny"})])
    assert [note[:2] for note in old.notes()] == ["1 ", "1 "]
    assert "1 outlines of the form before 2020 read with y from the lower edge" in old.notes()


@pytest.mark.parametrize(
    "changes", [{"Label": {}}, {"Label": "Skip"}, {"Label": ""}, {"Label": None}, {"Skipped": True}]
)
def test_legacy_rows_nobody_labelled_are_counted(opened, changes):
    other = legacy_row(legacy_object(), **{"External ID": "b.jpg", **changes})
    truth = opened([legacy_row(legacy_object()), other])
    assert [item.name for item in truth] == ["a.jpg"]
    assert truth.left_out == ("b.jpg",)


def test_csv_holds_the_same_json(tmp_path):
    path = tmp_path / "export.csv"
    big = legacy_object(note="x" * 200_000)  # above the default field limit of the csv module
    skipped = legacy_row(Label="Skip", **{"External ID": "b.jpg"})
    rows = [legacy_row(Label=json.dumps({"objects": [big]})), skipped]
    with path.open("w", newline="", encoding="utf-8-sig") as stream:
        csv.writer(stream).writerows([rows[0], *(row.values() for row in rows)])
    limit = csv.field_size_limit()
    truth = load_annotations(path)
    assert csv.field_size_limit() == limit
    assert truth.format == "labelbox-legacy"
    np.testing.assert_array_equal(truth[0].load((20, 30)).mask, SQUARE)
    assert truth.left_out == ("b.jpg",)


def test_legacy_fixtures(fixtures, tmp_path):
    folder = fixtures / "labelbox_legacy"
    nested = load_annotations(folder / "highly_nested_image.json", category="deer")
    corners = [[71.832, 62.37], [50.636, 90.087], [103.625, 94.571], [104.033, 59.517]]
    area = pytest.approx(Polygon(corners).area, rel=0.02)
    assert nested[0].load((200, 200)).mask.sum() == area
    path, size = folder / "image_export.json", (1707, 2560)
    images = load_annotations(path, category="polygon")
    assert images[0].load(size).mask.any()
    assert "objects of other categories" in " ".join(images.notes())
    eye = np.zeros(size, bool)
    eye[40:50, 60:70] = True
    for one in json.loads(path.read_text())["Label"]["objects"]:
        if one["title"] == "segmentation":
            (tmp_path / f"{one['featureId']}.png").write_bytes(png(eye))
    masks = load_annotations(path, masks_dir=tmp_path, category="segmentation")
    np.testing.assert_array_equal(masks[0].load().mask, eye)
    unknown = load_annotations(folder / "unkown_media_type_export.json")
    assert unknown[0].stem == "im1"
    assert unknown[0].load((200, 200)).mask.any()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("video", "a label of a video"),
        ("tiled_image", "map tiles"),
        ("pdf", "boxes or points only"),
        ("text", "boxes or points only"),
    ],
)
def test_other_media_are_refused(fixtures, name, said):
    with pytest.raises(AnnotationRefused, match=said):
        load_annotations(fixtures / "labelbox_legacy" / f"{name}_export.json")
