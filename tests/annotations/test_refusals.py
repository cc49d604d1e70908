"""Bad input through the door: one line that names file and record, and exit code 4."""

import zlib

import annotation_exports as exports
import numpy as np
import pytest
from annotation_exports import (
    FAR_RING,
    RING,
    SIDES,
    SQUARE,
    H,
    W,
    annotation,
    coco,
    cvat,
    labelme,
    lines,
    png,
    region,
    supervisely,
    task,
)
from annotation_exports import labelbox_label as label
from annotation_exports import labelbox_object as outlined
from annotation_exports import labelbox_row as row
from annotation_exports import labelme_shape as shape
from annotation_exports import legacy_row as legacy
from click.testing import CliRunner

from l4f_datagen.annotations import READERS
from l4f_datagen.cli import cli


def grey(on):
    return np.where(SQUARE, on, 0).astype(np.uint8)


def image(**changes):
    return {"id": 1, "file_name": "a", **SIDES, **changes}


def studio(*tasks):
    return list(tasks)


FAR = [[x + 90, y] for x, y in FAR_RING]
OUTLINE = np.ravel(RING).tolist()
ALL = exports.rle(np.ones((H, W), bool), compressed=False)
COLOURS = np.random.RandomState(0).randint(0, 256, (H, W, 3)).astype(np.uint8)
CROP = {"points": [[2, 3], [8, 7]], "shape_type": "mask"}
BARE = {"id": "x", "type": "polygon", **exports.LS_SIDES, "value": {"points": exports.PERCENT}}
TWO_IMAGES = [region() | {"to_name": "left"}, region(FAR_RING) | {"to_name": "right"}]
BITMASK = region(None, kind="bitmasklabels", imageDataURL="data:,!!")
BEZIER = [{"x": x, "y": y, "isBezier": x > 9} for x, y in exports.PERCENT]
CURVED = region(None, kind="vectorlabels", vertices=BEZIER, closed=True)
MAP = '{"tileLayerUrl": ""}'
POLYGON = exports.cvat_polygon()
MASK = '<mask label="car" rle="{}" left="{}" top="0" width="2" height="2"/>'
TWICE = '<image name="a.jpg" width="30" height="20"/>'
BOMB = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;">]>
<annotations><image name="&lol2;" width="3" height="3"/></annotations>"""
OUTSIDE = """<?xml version="1.0"?>
<!DOCTYPE annotations SYSTEM "file:///etc/passwd">
<annotations><image name="a" width="3" height="3"/></annotations>"""
BANNED = "a document type may be a bomb"
ANY = {"category": "*"}
# What is in the file, and parts of what is said; options.
REFUSED = [
    (coco(images=[]), "t.txt annotation id 1: image_id 1 is not listed"),
    (coco(annotations={}), "t.txt: `annotations` is not a list"),
    (coco(categories=[{"id": 1}]), "t.txt category id 1: name None"),
    (coco(annotations=[annotation()] * 2), "t.txt annotation id 1: the id is used twice"),
    (coco(annotation([[1, 2, 3]])), "annotation id 1: a polygon that is not a list of x, y, x, y"),
    (coco(annotation([OUTLINE, 3])), "not a list of x, y, x, y"),
    (coco(annotation({"size": [30, 20], "counts": [600]})),
     "annotation id 1: an RLE of 20 x 30 pixels on an image of 30 x 20"),
    (coco(images=[image(file_name="../../a")]), "image id 1: image name '../../a' leads out"),
    (coco(images=[image(height=1e9, width=1e9)]), "1000000000 x 1000000000 pixels"),
    (coco(images=[image(), image()]), "t.txt image id 1: the id is used twice"),
    (coco(annotation([])), "annotation id 1: an object of kind 'without outline and box'"),
    (coco(annotation([[0.1, 0.2, 0.4, 0.2, 0.4, 0.5]])), "coordinates from 0 to 1 on 30 x 20"),
    (coco(annotation(ALL, iscrowd=1)), "t.txt: every object is marked iscrowd", "--crowd object"),
    (coco(annotation([np.ravel(FAR).tolist()])), "t.txt annotation id 1: a polygon from (107, 3)",
     "to (114, 8) lies outside its image of 30 x 20 pixels"),
    (lines(row(label()), {}), "t.txt line 2: no `data_row`"),
    (lines(row(label()), [1]), "t.txt line 2: no record"),
    (lines(row({})), "a label without `annotations`"),
    (lines(row({"annotations": {"frames": {}}})), "a label of a video"),
    (lines(row(label(outlined(name=None)))), "object feature_id 'f': name None"),
    (lines(row(label(outlined(polygon=[{"x": 1}])))), "'f': polygon coordinate None"),
    (lines(row(label(outlined(FAR)))), "object feature_id 'f': a polygon from (107, 3) to"),
    (lines(row(label(outlined(polygon=None, composite_mask={"color_rgb": [1, 2]})))),
     "'f': color_rgb [1, 2]"),
    (lines(row(label(outlined(polygon=None, geojson={"type": "GeometryCollection"})))),
     "an object of kind 'geojson'"),
    (lines(row(label(outlined(polygon=None, mask={"url": "https://h/f"})))),
     "object feature_id 'f': its mask f is not found here: no folder", "or --download"),
    (lines(row(media_attributes={"width": 1e6, "height": 1e6})), "1000000 x 1000000 pixels"),
    (lines(row(data_row={})), "image name None"),
    (lines(row(), row()), "no annotated image among 2"),
    (lines(row(label())) + '\n{"data_row": ',
     "t.txt line 2: not JSON (line 1 column 14"),
    (studio(legacy(exports.legacy_object()), 3), "t.txt row 2: no record"),
    (studio(legacy(Label=[{"frameNumber": 1}])), "t.txt row 1: a label of a video"),
    (studio(legacy(Label="{broken")), "t.txt row 1 Label: not JSON"),
    (studio(legacy(**{"Labeled Data": MAP})), "map tiles"),
    (studio(legacy(4)), "row 1 object 1: no record"),
    (studio(legacy(exports.legacy_object(title=None))), "object featureId 'f': title None"),
    (studio(legacy(Label={"car": "POLYGON ((1 2, 3 x, 4 5))"})), 'class "car": geometry'),
    (studio(legacy(exports.legacy_object(page=0))), "boxes or points only"),
    (studio(task(region()), 3), "t.txt row 2: no record"),
    (studio({"data": {"image": "a"}, "annotations": [{}]}), "`result` is not a list"),
    (studio(task({**region(), "value": 3})), "annotation 1 region 1: no `value` and `type`"),
    (studio(task({**region(), "image_rotation": 90})), "region 1: the image was rotated"),
    (studio(task(region(), {**region(), "original_width": 31})), "images of different sizes"),
    (studio(task(BARE)), "region 1: a region without a label"),
    (studio(task({**BARE, "id": []})), "region 1: a region without a label"),
    (studio(task(region([[270, 180], [273, 180], [273, 184]]))), "region 1: a polygon", "outside"),
    (studio(task(BITMASK)), "broken base64"),
    (studio(task(*TWO_IMAGES)), "several images of one task (to_name left, right)"),
    (studio(task(CURVED)), "an outline with curves or branches"),
    (studio({"data": {"image": "b.jpg"}, "annotations": []}), "no annotated image"),
    (labelme(3), "t.txt shape 1: no record"),
    (labelme(shape(label=None)), "t.txt shape 1: label None"),
    (labelme(shape(points=[[1, 2], [3, float("nan")], [4, 5]])), "shape 1: polygon coordinate nan"),
    (labelme(shape(**CROP)), "shape 1: no base64 image"),
    (labelme(shape(mask="AAAA", **CROP)), "shape 1: is not a readable image"),
    (labelme(shape(mask=exports.in_base64(png(SQUARE)), **CROP)), "30 x 20 pixels for points (2"),
    (labelme(shape(), imageHeight="20"), "t.txt: height '20'"),
    (labelme(shape(), imagePath="../.."), "leads out"),
    (labelme(shapes={}), "`shapes` is not a list"),
    (supervisely(3), "t.txt object 1: no record", ANY),
    (supervisely(exports.sly_polygon(exterior=None)), "no `exterior` and `interior`"),
    (supervisely({"classTitle": "c", "geometryType": "bitmap"}), "object 1: origin None"),
    (supervisely(exports.sly_bitmap(b"\0\0\0")), "neither zlib nor PNG"),
    (supervisely(exports.sly_bitmap(zlib.compress(b"no png"))), "is not a readable image"),
    (supervisely(exports.sly_bitmap(png(SQUARE[:4, :4]), (100, 3))), "at (100, 3) lies outside"),
    (supervisely(exports.sly_polygon(), size={"height": 10**6, "width": 10**6}),
     "1000000 x 1000000"),
    (cvat(POLYGON[:-3]), "t.txt: broken XML"),
    ("<?xml version='1.0'?><root/>", "t.txt: XML of 'root'"),
    (cvat(more="<track/>"), "t.txt: tracks of a video"),
    (cvat(image='name="a" width="30"'), "t.txt image a: height None"),
    (cvat(image='name="../a" width="3" height="3"'), "leads out of its folder"),
    (cvat(POLYGON.replace('label="car"', "")), "image a.jpg polygon 1: no label"),
    (cvat('<polygon label="car" points="1,1;2,2"/>'), "polygon 1: a polygon of 2 distinct"),
    (cvat('<polygon label="car" points="1,1;2,x"/>'), "polygon 1: polygon coordinate 'x'"),
    (cvat(MASK.format("1, 2", 0)), "mask 1: run lengths cover 3"),
    (cvat(MASK.format("4", 90)), "at (90, 0) lies outside"),
    (cvat(MASK.format("4", "x")), "rle '4' at 'x', 0"),
    (cvat(POLYGON, more=TWICE), "image a.jpg: the image is listed twice"),
    *[(text, "t.txt: XML with <!", BANNED)
      for text in (BOMB, OUTSIDE, BOMB.lower(), "<?xml?><!ENTITY x 'y'><annotations/>")],
    # Another encoding does not smuggle a document type.
    (BOMB.replace("?>", ' encoding="utf-16"?>', 1).encode("utf-16"),
     "t.txt: UTF-16 text; save the file as UTF-8"),
    # Decimal commas once made masks of the images.
    ("0 0,1 0,2 0,3 0,2 0,3 0,4", "t.txt line 1: '0 0,1 0", "write class x y x y"),
    ("0 .5 .5 .2 .2 .4 .4 .6", "7 coordinates; write x y of at least three points"),
    ("0 1 1 20 20 40 40", "coordinates outside 0 to 1", "divide x by the width"),
    (png(COLOURS), "t.txt: a coloured image; choose --mask-value"),
    (b"\x89PNG\r\n\x1a\n cut", "t.txt: is damaged"),
    (b"hello", "t.txt: no known annotation format; known are labelbox"),
    (b"{}", "no known annotation format"),
    (b"[]", "no known annotation format"),
    (b"[3]", "t.txt row 1: no record"),
    (b'{"a": ', "t.txt: not JSON (line 1"),
    (b"\xff\xfe{\x00}\x00", "UTF-16 text; save the file as UTF-8"),
    (b'{"a": "\xff"}', "t.txt: not UTF-8"),
    (b"", "t.txt: 0 bytes; export or copy the file again"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_is_broken_is_named(refused, number):
    content, *said = REFUSED[number]
    options = said.pop() if isinstance(said[-1], dict) else {}
    line = refused(content, "t.txt", **options)
    assert all(part in line for part in said), line


@pytest.fixture
def run(saved):
    def call(truth, *flags):
        root = saved(pred={"a.png": SQUARE}, **truth)
        words = ["validate", "--truth", root / next(iter(truth)), "--pred", root / "pred", *flags]
        return CliRunner().invoke(cli, [str(word) for word in words])

    return call


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        ({"t": {"a.json": coco(annotation([np.ravel(FAR).tolist()]))}}, "lies outside its imag"),
        ({"t": {"a.png": SQUARE[:9]}}, "a.png: 30 x 20 pixels, its truth 30 x 9"),
        ({"t": {"a.png": grey(0)}}, "t: not one object pixel in 1 images"),
        ({"t": {"a.png": COLOURS}}, "a.png: a coloured image; choose --mask-value"),
        ({"nowhere": {}}, "nowhere: no such file or folder"),
    ],
)
def test_bad_truth_is_one_line_and_exit_4(run, truth, said):
    result = run(truth)
    assert (result.exit_code, result.output.count("\n")) == (4, 1), result.output
    assert said in result.output


def test_void_everywhere_is_refused(run):
    said = run({"t": {"a.png": np.full((H, W), 255, np.uint8)}}, "--mask-value", "1").output
    assert "t a.png: every pixel is marked ignore" in said


def test_the_format_may_be_given(refused):
    said = refused({"images": []}, format="voc")
    assert said.startswith("annotation format 'voc': unknown; choose from")
    for name in READERS:
        refused({"images": []}, format=name)
    assert "XML with <!" in refused(BOMB, "t.txt", format="cvat")
