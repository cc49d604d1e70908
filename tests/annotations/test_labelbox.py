import csv
import json

import numpy as np
import pytest
from annotation_exports import RING, SIDES, SQUARE, legacy_object, legacy_row, lines, png, rle
from annotation_exports import labelbox_label as label
from annotation_exports import labelbox_object as outlined
from annotation_exports import labelbox_row as row
from shapely import Polygon

from l4f_datagen.annotations import load_annotations
from l4f_datagen.core.errors import AnnotationRefused

MASK_URL = "https://api.labelbox.com/api/v1/projects/p1/annotations/f/index/1/mask"
COMPOSITE_URL = "https://api.labelbox.com/api/v1/tasks/t1/masks/comp1/index/1"
NOBODY_SAW = {"annotations": {"objects": []}}


def mask(feature_id="f", url=MASK_URL):
    return outlined(polygon=None, feature_id=feature_id, mask={"url": url})


def composite(colour, name="car"):
    sources = {"url": COMPOSITE_URL, "color_rgb": colour}
    return outlined(polygon=None, name=name, composite_mask=sources)


def opened(tmp_path, *rows, ndjson=True, **options):
    path = tmp_path / "export.ndjson"
    path.write_text(lines(*rows) if ndjson else json.dumps(rows, indent=1))
    return load_annotations(path, **options)


@pytest.fixture
def masks(tmp_path):
    """Writes mask images into a folder and gives it."""

    def save(**images):
        for name, image in images.items():
            path = tmp_path / "masks" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(image))
        return tmp_path / "masks"

    return save


@pytest.mark.parametrize("ndjson", [True, False])
@pytest.mark.parametrize("names", ["a", "ab"])
def test_polygons_of_both_spellings(tmp_path, ndjson, names):
    truth = opened(tmp_path, *[row(label(), name=name) for name in names], ndjson=ndjson)
    assert truth.format == "labelbox"
    assert [item.name for item in truth] == list(names)
    for item in truth:
        assert item.size_hw == (20, 30)
        np.testing.assert_array_equal(item.load().mask, SQUARE)
    (tmp_path / "one.json").write_text(json.dumps(row(label()), indent=2))
    np.testing.assert_array_equal(load_annotations(tmp_path / "one.json")[0].load().mask, SQUARE)


WHITE = np.full(SQUARE.shape, 255, np.uint8)
LEVELS = SQUARE.astype(np.uint8) * 255
SPELLINGS = {
    "white on black": LEVELS,
    "ids": SQUARE.astype(np.uint8),
    "white on clear": np.stack([WHITE, WHITE, WHITE, LEVELS], -1),
    "black and white with alpha": np.stack([LEVELS, LEVELS, LEVELS, WHITE], -1),
    "red on clear": np.stack([LEVELS, LEVELS * 0, LEVELS * 0, LEVELS], -1),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_masks_are_found_by_feature_id(tmp_path, masks, spelling):
    truth = opened(tmp_path, row(label(mask())), masks_dir=masks(f=SPELLINGS[spelling]))
    np.testing.assert_array_equal(truth[0].load().mask, SQUARE)


def test_masks_are_found_by_the_tail_of_their_url(tmp_path, masks):
    folder = masks(**{"deep/tail77": SQUARE, "deep/1": ~SQUARE})  # `index/1` is no name
    url = "https://storage.labelbox.com/x/tail77.png?token=secret"
    truth = opened(tmp_path, row(label(mask("other", url=url))), masks_dir=folder)
    np.testing.assert_array_equal(truth[0].load().mask, SQUARE)
    record = outlined(polygon=None, mask=rle(SQUARE, compressed=False))
    np.testing.assert_array_equal(opened(tmp_path, row(label(record)))[0].load().mask, SQUARE)


def test_composite_masks_are_split_by_colour(tmp_path, masks):
    colours = np.zeros((20, 30, 4), np.uint8)
    colours[..., 3] = 255
    colours[SQUARE] = (200, 10, 30, 255)
    colours[15:18, 20:25] = (200, 10, 31, 255)
    options = {"masks_dir": masks(comp1=colours)}
    one = row(label(composite([200, 10, 30]), composite([200, 10, 31], "dog")))
    car = opened(tmp_path, one, category="car", **options)
    np.testing.assert_array_equal(car[0].load().mask, SQUARE)
    assert opened(tmp_path, one, category="dog", **options)[0].load().mask.sum() == 15
    absent = opened(tmp_path, row(label(composite([1, 2, 3]))), **options)
    with pytest.raises(AnnotationRefused, match=r"no pixel of its colour \[1, 2, 3\]"):
        absent[0].load()


def test_masks_are_downloaded_only_when_asked_and_composites_once(tmp_path):
    asked = []

    def download(url):
        asked.append(url)
        return png(SQUARE)

    both = composite([255] * 3), composite([255] * 3)
    for objects in ([mask()], both):
        truth = opened(tmp_path, row(label(*objects)), download=download)
        np.testing.assert_array_equal(truth[0].load().mask, SQUARE)
    assert asked == [MASK_URL, COMPOSITE_URL]
    with pytest.raises(AnnotationRefused, match=r"object f: its mask f is not found here, and no"):
        opened(tmp_path, row(label(mask())))[0].load()


def test_several_labels_and_projects_are_several_annotators(tmp_path):
    shifted = label(outlined([[x + 1, y] for x, y in RING]))
    both = row(label(), shifted)
    both["projects"]["p2"] = {"labels": [label()]}
    truth = opened(tmp_path, both)
    np.testing.assert_array_equal(truth[0].load().mask, SQUARE)
    assert truth.agreements == [pytest.approx((1 + 2 * 30 / 40) / 3)]


def test_rows_without_labels_are_counted_and_empty_labels_are_truth(tmp_path):
    truth = opened(tmp_path, row(label()), row(NOBODY_SAW, name="b.jpg"), row(name="c.jpg"))
    assert [item.name for item in truth] == ["a.jpg", "b.jpg"]
    assert not truth[1].load().mask.any()
    assert truth.left_out == ("c.jpg",)


@pytest.mark.parametrize("field", ["external_id", "global_key", "row_data"])
def test_the_field_with_a_sample_key_names_the_image(tmp_path, field):
    address = "https://host/x/psi0700-seed0000012.png?sig=1"
    fields = {"id": "dr1", "external_id": "a.jpg", field: address}
    truth = opened(tmp_path, row(label(), data_row=fields))
    assert truth[0].stem == "psi0700-seed0000012"


def test_polygons_without_a_size_take_that_of_the_prediction(tmp_path):
    truth = opened(tmp_path, row(label(), media_attributes=None))
    assert truth[0].size_hw is None
    np.testing.assert_array_equal(truth[0].load((20, 30)).mask, SQUARE)
    with pytest.raises(AnnotationRefused, match="does not say how large the image is"):
        truth[0].load()


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([row(label()), {}], "line 2: no `data_row`"),
        ([row(label()), [1]], "line 2: no record"),
        ([row({})], "a label without `annotations`"),
        ([row({"annotations": {"frames": {}}})], "a label of a video"),
        ([row(label(outlined(name=None)))], "object f: name None"),
        ([row(label(outlined(polygon=[{"x": 1}])))], r"object f: polygon coordinate None"),
        ([row(label(composite([1, 2])))], r"color_rgb \[1, 2\]"),
        ([row(media_attributes={"width": 1e6, "height": 1e6})], "1000000 x 1000000 pixels"),
        ([row(data_row={})], "image name None"),
        ([row(), row()], "no annotated image"),
    ],
)
def test_broken_rows_are_named(tmp_path, rows, match):
    with pytest.raises(AnnotationRefused, match=match) as caught:
        [item.load() for item in opened(tmp_path, *rows)]
    assert str(caught.value).startswith(str(tmp_path / "export.ndjson"))
    (tmp_path / "export.ndjson").write_text(lines(row(label())) + '\n{"data_row": ')
    with pytest.raises(AnnotationRefused, match=r"line 2: not JSON \(line 1 column 14"):
        load_annotations(tmp_path / "export.ndjson")


def test_masks_found_twice_or_of_another_size_are_refused(tmp_path, masks):
    folder = masks(f=SQUARE[:10])
    with pytest.raises(AnnotationRefused, match="a mask of 30 x 10 pixels on an image of 30 x 20"):
        opened(tmp_path, row(label(mask())), masks_dir=folder)[0].load()
    masks(**{"x/f": SQUARE})
    with pytest.raises(AnnotationRefused, match=r"mask f is f\.png and x/f\.png"):
        opened(tmp_path, row(label(mask())), masks_dir=folder)[0].load()
    with pytest.raises(AnnotationRefused, match=f"its mask feat2 is not found in {folder}"):
        opened(tmp_path, row(label(mask("feat2", None))), masks_dir=folder)[0].load()


def test_fixture(fixtures):
    truth = load_annotations(fixtures / "panlabel" / "sample_valid.labelbox.ndjson")
    sizes = {item.name: item.size_hw for item in truth}
    assert sizes == {"img1.jpg": (80, 100), "img2.jpg": (90, 120)}
    assert not truth[0].load().mask.any()
    triangle = abs((30 - 5) * (40 - 8) - (20 - 5) * (4 - 8)) / 2
    assert truth[1].load().mask.sum() == pytest.approx(triangle, rel=0.05)
    assert truth.notes() == [
        "1 objects of other categories are background",
        "1 points, lines or other objects without an area skipped",
    ]


# the same square with y from the lower edge of 20 rows
BELOW = [{"x": x, "y": 20 - y} for x, y in RING]
WKT = "MULTIPOLYGON (((2 17, 9 17, 9 12, 2 12, 2 17)))"


def old_export(tmp_path, *rows, **options):
    path = tmp_path / "export.json"
    path.write_text(json.dumps(rows))
    return load_annotations(path, **options)


def test_legacy_polygons_take_the_size_of_the_prediction(tmp_path):
    one = legacy_row(legacy_object())
    truth = old_export(tmp_path, one)
    assert (truth.format, truth[0].name) == ("labelbox-legacy", "a.jpg")
    np.testing.assert_array_equal(truth[0].load((20, 30)).mask, SQUARE)
    sized = old_export(tmp_path, one | {"Media Attributes": SIDES})
    np.testing.assert_array_equal(sized[0].load().mask, SQUARE)
    three = old_export(tmp_path, one, one, one)  # rows of one image are annotators
    assert len(three) == 1
    np.testing.assert_array_equal(three[0].load((20, 30)).mask, SQUARE)
    assert three.agreements == [1.0]


def test_legacy_masks_by_uri_come_from_the_folder(tmp_path, masks):
    folder = masks(f=SPELLINGS["white on clear"])
    one = legacy_object(polygon=None, instanceURI="https://api.labelbox.com/masks/f?token=x")
    truth = old_export(tmp_path, legacy_row(one), masks_dir=folder)
    np.testing.assert_array_equal(truth[0].load().mask, SQUARE)


POLYGON = WKT.replace("MULTIPOLYGON (", "POLYGON ")[:-1]


@pytest.mark.parametrize("geometry", [[{"geometry": BELOW}], [BELOW], WKT, [{"geometry": POLYGON}]])
def test_the_form_before_2020_counts_y_from_below(tmp_path, geometry):
    truth = old_export(tmp_path, legacy_row(Label={"car": geometry, "weather": "sunny"}))
    np.testing.assert_array_equal(truth[0].load((20, 30)).mask, SQUARE)
    assert any("y from the lower edge" in note for note in truth.notes())


@pytest.mark.parametrize(
    "changes", [{"Label": {}}, {"Label": "Skip"}, {"Label": ""}, {"Label": None}, {"Skipped": True}]
)
def test_legacy_rows_nobody_labelled_are_counted(tmp_path, changes):
    other = legacy_row(legacy_object(), **{"External ID": "b.jpg", **changes})
    truth = old_export(tmp_path, legacy_row(legacy_object()), other)
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


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([legacy_row(legacy_object()), 3], "row 2: no record"),
        ([legacy_row(Label=[{"frameNumber": 1}])], "row 1: a label of a video"),
        ([legacy_row(Label="{broken")], r"row 1 Label: not JSON"),
        ([legacy_row(**{"Labeled Data": '{"tileLayerUrl": ""}'})], "map tiles"),
        ([legacy_row(4)], "object 1: no record"),
        ([legacy_row(legacy_object(title=None))], "object f: title None"),
        ([legacy_row(Label={"car": "POLYGON ((1 2, 3 x, 4 5))"})], 'class "car": geometry'),
        ([legacy_row(legacy_object(page=0))], "boxes or points only"),
    ],
)
def test_broken_legacy_rows_are_named(tmp_path, rows, match):
    with pytest.raises(AnnotationRefused, match=match):
        [item.load((20, 30)) for item in old_export(tmp_path, *rows)]


def test_legacy_fixtures(fixtures, tmp_path):
    folder = fixtures / "labelbox_legacy"
    nested = load_annotations(folder / "highly_nested_image.json", category="deer")
    loaded = nested[0].load((200, 200))
    corners = [[71.832, 62.37], [50.636, 90.087], [103.625, 94.571], [104.033, 59.517]]
    assert loaded.mask.sum() == pytest.approx(Polygon(corners).area, rel=0.02)
    images = load_annotations(folder / "image_export.json", category="polygon")
    assert images[0].load((1707, 2560)).mask.any()
    assert "objects of other categories" in " ".join(images.notes())
    eye = np.zeros((1707, 2560), bool)
    eye[40:50, 60:70] = True
    path = folder / "image_export.json"
    for one in json.loads(path.read_text())["Label"]["objects"]:
        if one["title"] == "segmentation":
            (tmp_path / f"{one['featureId']}.png").write_bytes(png(eye))
    masks = load_annotations(path, masks_dir=tmp_path, category="segmentation")
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
