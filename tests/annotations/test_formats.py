"""One square in every spelling of every format, and one rule for images nobody annotated."""

import json
import re
import zlib

import annotation_exports as exports
import numpy as np
import pytest
from annotation_exports import LS_SIDES, PERCENT, PHOTO, RING, SQUARE, H, W, png, rle
from annotation_exports import labelbox_label as label
from annotation_exports import labelbox_object as outlined
from annotation_exports import labelbox_row as row
from annotation_exports import labelme_shape as shape
from annotation_exports import legacy_object as legacy
from click.testing import CliRunner

from l4f_datagen.annotations import load_annotations
from l4f_datagen.cli import cli
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.scoring import score


def coco(segmentation=None, **changes):
    return {"t.json": exports.coco(exports.annotation(segmentation), **changes)}


def labelbox(*labels, **changes):
    return {"t.ndjson": exports.lines(row(*labels, **changes))}


def old(*objects, **changes):
    return {"t.json": [exports.legacy_row(*objects, **changes)]}


def studio(*regions, key="annotations"):
    task = exports.task(*regions)
    return {"t.json": [{"data": task["data"], key: task["annotations"]}]}


def drawn(kind, **value):
    return exports.region(None, kind=f"{kind}labels", **value)


FILL = {"boxes": "fill"}
OUTLINE = np.ravel(RING).tolist()
HALVES = [[2, 3, 5, 3, 5, 8, 2, 8], [5, 3, 9, 3, 9, 8, 5, 8]]
WHITE, LEVELS = np.full((H, W), 255, np.uint8), SQUARE.astype(np.uint8) * 255
MASKS = {
    "white on black": LEVELS,
    "ids": SQUARE.astype(np.uint8),
    "white on clear": np.stack([WHITE, WHITE, WHITE, LEVELS], -1),
    "black and white with alpha": np.stack([LEVELS, LEVELS, LEVELS, WHITE], -1),
    "red on clear": np.stack([LEVELS, LEVELS * 0, LEVELS * 0, LEVELS], -1),
}
MASK_URL = "https://api.labelbox.com/api/v1/projects/p1/annotations/f/index/1/mask"
TAIL_URL = "https://storage.labelbox.com/x/tail77.png?token=secret"
BY_URL = outlined(polygon=None, mask={"url": MASK_URL})
BY_TAIL = outlined(polygon=None, feature_id="other", mask={"url": TAIL_URL})
BY_URI = legacy(polygon=None, instanceURI="https://api.labelbox.com/masks/f?token=x")
GEOJSON = {"type": "Polygon", "coordinates": [[*RING, RING[0]]]}
FEATURE = {"type": "Feature", "geometry": GEOJSON, "properties": {}}
# The same square with y from the lower edge of 20 rows.
BELOW = [{"x": x, "y": 20 - y} for x, y in RING]
WKT = "MULTIPOLYGON (((2 17, 9 17, 9 12, 2 12, 2 17)))"
POLYGON = WKT.replace("MULTIPOLYGON (", "POLYGON ")[:-1]
OLD_FORMS = [{"geometry": BELOW}], [BELOW], WKT, [{"geometry": POLYGON}]
BARE = {"id": "x", "type": "polygon", **LS_SIDES, "value": {"points": PERCENT}}
BRUSH = {"format": "rle", "rle": exports.brush(SQUARE)}
REGIONS = {
    "polygon": [exports.region()],
    "brush": [drawn("brush", **BRUSH)],
    "bitmask": [drawn("bitmask", imageDataURL=f"data:,{exports.in_base64(png(SQUARE))}")],
    # Labels kept apart are found by the id of their region.
    "labels with points": [
        BARE, {**BARE, "type": "labels", "value": {"labels": ["car"], "points": PERCENT}}],
    "labels apart": [BARE, {**BARE, "type": "labels", "value": {"labels": ["car"]}}],
    "closed vector": [drawn("vector", closed=True, vertices=exports.xy(PERCENT))],
}  # fmt: skip
FLAT = {"image": "/data/local-files/?d=set/a.png", "annotator": 1, "annotation_id": 4}
CROP = exports.in_base64(png(SQUARE[3:8, 2:9]))
NESTED = exports.sly_polygon()
NESTED["geometry"] = {"points": NESTED.pop("points")}
VIA = {"a.jpg1": exports.via(exports.VIA_POLYGON)}
VIA_CSV = (
    "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
    'region_attributes\na.jpg,1,"{}",1,0,"{""name"":""rect"",""x"":2,""y"":3,""width"":7,'
    '""height"":5}","{""label"":""car""}"\n'
)
XML_RING = f"<polygon>{exports.XML_RING}</polygon>"
COLOURS = np.where(SQUARE[:, :, None], (61, 245, 61), 0).astype(np.uint8)
LABEL_MAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:61,245,61::\n"
WHITE_MAP = "background:0,0,0::\ncar:255,255,255::\n"
# Files, options; the name starts with the format.
SPELLINGS = {
    "coco polygon": (coco([OUTLINE]), {}),
    "coco flat polygon": (coco(OUTLINE), {}),
    "coco two polygons": (coco(HALVES), {}),
    "coco RLE": (coco(rle(SQUARE)), {}),
    "coco plain RLE": (coco(rle(SQUARE, compressed=False)), {}),
    "coco with a polygon of two points": (
        {"t.json": exports.coco(exports.annotation(), exports.annotation([[1, 1, 5, 5]]))}, {}),
    "labelbox NDJSON": ({"t.ndjson": exports.lines(row(label()), row(label(), name="b"))}, {}),
    "labelbox one line": (labelbox(label()), {}),
    "labelbox list": ({"t.json": [row(label()), row(label(), name="b")]}, {}),
    "labelbox one object": ({"t.json": json.dumps(row(label()), indent=2)}, {}),
    "labelbox GeoJSON": (labelbox(label(outlined(polygon=None, geojson=GEOJSON))), {}),
    "labelbox feature": (labelbox(label(outlined(polygon=None, geojson=FEATURE))), {}),
    "labelbox RLE": (labelbox(label(outlined(polygon=None, mask=rle(SQUARE)))), {}),
    # `index/1` names no file.
    "labelbox by the tail of a URL": (
        labelbox(label(BY_TAIL)), {"masks": {"deep/tail77.png": SQUARE, "deep/1.png": ~SQUARE}}),
    **{f"labelbox mask, {name}": (labelbox(label(BY_URL)), {"masks": {"f.png": mask}})
       for name, mask in MASKS.items()},
    "labelbox-legacy": (old(legacy()), {}),
    "labelbox-legacy of three annotators": ({"t.json": [exports.legacy_row(legacy())] * 3}, {}),
    "labelbox-legacy mask": (old(BY_URI), {"masks": {"f.png": MASKS["white on clear"]}}),
    **{f"labelbox-legacy before 2020, {n}": (old(Label={"car": geometry, "sky": "sunny"}), {})
       for n, geometry in enumerate(OLD_FORMS)},
    **{f"label-studio {name}, {key}": (studio(*regions, key=key), {})
       for name, regions in REGIONS.items() for key in ("annotations", "completions")},
    "label-studio flat": ({"t.json": [
        {**FLAT, "label": [{"points": PERCENT, "polygonlabels": ["car"], **LS_SIDES}]}]}, {}),
    "label-studio flat brush": ({"t.json": [
        {**FLAT, "label": [{**BRUSH, "brushlabels": ["car"], **LS_SIDES}]}]}, {}),
    "labelme polygon": ({"a.json": exports.labelme(shape(), imagePath="..\\images\\a.jpg")}, {}),
    "labelme mask": ({"a.json": exports.labelme(
        shape(points=[[2, 3], [8, 7]], shape_type="mask", mask=CROP))}, {}),
    "labelme rectangle": ({"a.json": exports.labelme(
        shape(points=[[9, 8], [2, 3]], shape_type="rectangle"))}, FILL),
    "labelme with a line": ({"a.json": exports.labelme(
        shape(), shape(points=[[1, 1], [2, 2]], shape_type="line"))}, {}),
    "labelme sized by its picture": ({"a.json": exports.labelme(
        shape(), imageHeight=None, imageWidth=None, imageData=exports.in_base64(png(SQUARE)))}, {}),
    "supervisely polygon": ({"ds0/ann/a.json": exports.supervisely(exports.sly_polygon()),
                             "meta.json": {"classes": []}}, {}),
    "supervisely nested": ({"ann/a.json": exports.supervisely(NESTED)}, {}),
    "supervisely bitmap": ({"ann/a.json": exports.supervisely(
        exports.sly_bitmap(zlib.compress(png(SQUARE))))}, {}),
    "supervisely bitmap as PNG": ({"ann/a.json": exports.supervisely(
        exports.sly_bitmap(png(SQUARE)))}, {}),
    "via": ({"t.json": VIA}, {}),
    "via project": ({"t.json": {"_via_settings": {}, "_via_img_metadata": VIA}}, {}),
    "via CSV": ({"t.csv": VIA_CSV}, FILL),
    "yolo": ({"labels/a.txt": exports.YOLO, "images/a.png": PHOTO, "data.yaml": "names: [car]\n"},
             {"category": "car"}),
    "yolo with byte order marks": (
        {"labels/a.txt": f"\ufeff{exports.YOLO}\r\n", "images/a.png": PHOTO,
         "classes.txt": "\ufeffcar\r\n"}, {"category": "car"}),
    "yolo alone": ({"a.txt": exports.YOLO}, {}),
    "cityscapes": ({"a_gtFine_polygons.json": exports.cityscapes(
        ("cargroup", RING), ("out of roi", exports.FAR_RING))}, {"category": "car"}),
    "createml": ({"t.json": [exports.createml()]}, FILL),
    "labelme-xml": ({"a.xml": exports.labelme_xml(
        f"<deleted>0</deleted>{XML_RING}", f"<deleted>1</deleted>{XML_RING}")}, {}),
    "cvat": ({"t.xml": exports.cvat(exports.cvat_polygon())}, {}),
    "cvat with images": ({"annotations.xml": exports.cvat(exports.cvat_polygon()),
                          "images/a.jpg": PHOTO}, {}),
    "cvat-masks": ({"labelmap.txt": LABEL_MAP, "SegmentationClass/a.png": COLOURS,
                    "SegmentationObject/a.png": COLOURS}, {}),
    "cvat-masks in grey": ({"labelmap.txt": WHITE_MAP, "SegmentationClass/a.png": SQUARE}, {}),
}  # fmt: skip
UNSIZED = ("labelbox-legacy", "via", "yolo alone", "createml", "cvat-masks")


@pytest.mark.parametrize("case", SPELLINGS)
def test_every_spelling_of_the_square_is_read(saved, case):
    files, options = SPELLINGS[case]
    root = saved(t=files, masks=options.get("masks", {}))
    options = {**options, "masks_dir": root / "masks"} if "masks" in options else dict(options)
    options.pop("masks", None)
    (name,) = list(files)[:1]
    truth = load_annotations(root / "t" / (name if len(files) == 1 else ""), **options)
    assert truth.format == case.split(" ")[0]
    assert truth[0].stem.removesuffix("_gtFine_polygons") == "a"
    assert truth[0].size_hw == (None if case.startswith(UNSIZED) else (H, W))
    for item in truth:
        loaded = item.load((H, W))
        np.testing.assert_array_equal(loaded.mask, SQUARE)
        assert loaded.ignore is None or case == "cityscapes"


UNKNOWN = "no known annotation format; known are labelbox"
NO_AREAS, TWICE = "boxes or points only", "image id 1: the id is used twice"
CHOICE = "2 categories and no choice; choose --category from 'car', 'dog'"
MS = "label_studio.json"
DOG = abs((200 - 50) * (200 - 60) - (120 - 50) * (150 - 60)) / 2
SLY_DOG = abs((200 - 50) * (210 - 60) - (120 - 50) * (150 - 60)) / 2
TRIANGLE = abs((30 - 5) * (40 - 8) - (20 - 5) * (4 - 8)) / 2
# Files of panlabel's tests: options, then the areas of its masks or what is said.
FOREIGN = ("ibm_cloud_annotations", "scale_ai", "superannotate", "unity_perception", "vott")
FIXTURES = [
    *[(f"valid.{name}.json", {}, UNKNOWN) for name in FOREIGN],
    ("valid.coco.json", {}, NO_AREAS),
    ("valid.coco.json", {"category": "person", **FILL}, [5400, 15000]),
    ("invalid.coco.json", {}, TWICE),
    *[(f"{name}.{MS}", {}, NO_AREAS) for name in ("valid", "rotated", "legacy_completions")],
    (f"valid.{MS}", {"category": ["cat", "dog"], **FILL}, [60 * 40, 50 * 50]),
    (f"invalid_result_type.{MS}", FILL, "no object at all"),
    ("valid.labelbox.ndjson", {}, [0, pytest.approx(TRIANGLE, rel=0.05)]),
    ("valid.labelme.json", {}, [pytest.approx(DOG, rel=0.02)]),
    ("valid.labelme.json", {"category": "cat"}, "shape 1: 'cat' is only boxed on image img001"),
    ("valid.supervisely.json", {}, CHOICE),
    ("valid.supervisely.json", {"category": "dog"}, [pytest.approx(SLY_DOG, rel=0.02)]),
    *[(f"{name}.cvat.xml", {}, NO_AREAS) for name in ("valid", "no_meta", "with_meta")],
    ("no_meta.cvat.xml", {"category": "cat", **FILL}, [40 * 50, 0]),
    ("invalid_polygon.cvat.xml", {}, "img.jpg polygon 1: a polygon of 2 distinct"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "expected"), FIXTURES)
def test_files_of_other_tools(fixtures, name, options, expected):
    path = fixtures / "panlabel" / f"sample_{name}"
    if isinstance(expected, str):
        with pytest.raises(AnnotationRefused, match=re.escape(expected)):
            load_annotations(path, **options)[0].load()
        return
    truth = load_annotations(path, **options)
    assert [item.load().mask.sum() for item in truth] == expected


@pytest.mark.parametrize("kind", ["labelme", "supervisely"])
def test_later_shapes_cover_earlier_ones(fixtures, kind):
    path = fixtures / "panlabel" / f"sample_valid.{kind}.json"
    dog = load_annotations(path, category="dog")[0].load().mask
    cat = load_annotations(path, category="cat", boxes="fill")[0].load().mask
    assert cat.sum() == 90 * 60 - dog[20:80, 10:100].sum()


NOBODY = {"data": {"image": "b.jpg"}, "annotations": []}
OTHER = f'<image name="b.jpg" width="{W}" height="{H}"/>'
UNANNOTATED = {
    "coco": {"t.json": exports.coco(names=("a.jpg", "b.jpg"))},
    "cvat": {"t.xml": exports.cvat(exports.cvat_polygon(), more=OTHER)},
    "supervisely": {
        "ann/a.jpg.json": exports.supervisely(exports.sly_polygon()),
        "ann/b.jpg.json": exports.supervisely(),
    },
    "labelbox": {"t.ndjson": exports.lines(row(label()), row(name="b.jpg"))},
    "labelbox-legacy": {
        "t.json": [
            exports.legacy_row(legacy()),
            exports.legacy_row(Label="Skip", **{"External ID": "b.jpg"}),
        ]
    },
    "label-studio": {"t.json": [exports.task(exports.region()), NOBODY]},
    "via": {"t.json": {"a": exports.via(exports.VIA_POLYGON), "b": exports.via(name="b.jpg")}},
    "labelme": {"a.json": exports.labelme(shape()), "a.jpg": PHOTO, "b.jpg": PHOTO},
    "createml": {"t.json": [exports.createml(), exports.createml(image="b.jpg", annotations=[])]},
    "yolo": {"labels/a.txt": exports.YOLO, "images/a.png": PHOTO, "images/b.png": PHOTO},
    "png": {"masks/a.png": SQUARE, "images/a.png": PHOTO, "images/b.png": PHOTO},
}


@pytest.mark.parametrize("name", UNANNOTATED)
def test_one_rule_for_images_that_nobody_annotated(saved, name):
    root = saved(truth=UNANNOTATED[name], pred={"a.png": SQUARE, "b.png": SQUARE})
    options = FILL if name == "createml" else {}
    report = score(root / "truth", root / "pred", **options)
    assert report.scores.miou == 1.0
    assert (report.truth["images"], report.truth["unannotated"]) == (1, 1)
    assert report.truth["unannotated_rule"] == "skip"
    assert "1 images without annotation left out" in report.to_text()
    report = score(root / "truth", root / "pred", unannotated="empty", **options)
    assert report.scores.foreground.iou == 0.5
    assert report.truth["unannotated_rule"] == "empty"
    assert "1 images without annotation scored as images without object" in report.to_text()


def test_the_rule_is_an_option_of_the_command(saved):
    root = saved(truth=UNANNOTATED["coco"], pred={"a.png": SQUARE, "b.png": SQUARE})
    words = ["validate", "--truth", str(root / "truth"), "--pred", str(root / "pred"), "--json"]
    result = CliRunner().invoke(cli, [*words, "--unannotated", "empty"])
    assert json.loads(result.stdout)["truth"]["unannotated"] == 1
    assert json.loads(result.stdout)["scores"]["iou_object"] == 0.5
    helped = CliRunner().invoke(cli, ["validate", "--help"]).output
    assert "LABELBOX_API_KEY" in helped
    assert "Images that nobody annotated are left out and counted" in helped
