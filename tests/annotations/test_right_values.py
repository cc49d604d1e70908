"""Exports that were once scored wrong without a word: each with the value it must score."""

import json
import unicodedata
import zipfile

import annotation_exports as exports
import numpy as np
import pytest
from annotation_exports import FAR_RING, PHOTO, RIGHT, RING, SQUARE, H, W, png, region, task
from click.testing import CliRunner
from PIL import ExifTags, Image

from l4f_datagen.annotations import load_annotations
from l4f_datagen.cli import cli
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.scoring import score

DECOMPOSED = unicodedata.normalize("NFD", "K\u00e4fer")


@pytest.fixture
def saved(tmp_path):
    """Writes files; masks as PNG, records as JSON, anything else as it is."""

    def save(**folders):
        for folder, files in folders.items():
            for name, content in files.items():
                path = tmp_path / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(content, np.ndarray):
                    content = png(content)
                elif isinstance(content, dict | list):
                    content = json.dumps(content).encode()
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path

    return save


@pytest.fixture
def iou(saved):
    """Object IoU of predictions against a truth file."""

    def call(name, truth, predictions, pred_options=(), **options):
        root = saved(truth={name: truth}, pred=predictions)
        report = score(root / "truth" / name, root / "pred", **dict(pred_options), **options)
        return report.scores.foreground.iou

    return call


def coco(*rings, **changes):
    records = [exports.annotation([np.ravel(ring).tolist()], iscrowd=0) for ring in rings]
    return exports.coco(*records, **changes)


def labelbox_label(ring=RING, **changes):
    return exports.labelbox_label(exports.labelbox_object(ring), **changes)


def labelbox(*rows):
    return exports.lines(*[exports.labelbox_row(*labels, name=name) for name, labels in rows])


def labelme(*shapes):
    return exports.labelme(*[exports.labelme_shape(name, ring) for name, ring in shapes])


def cvat(*names):
    more = [f'<image name="{name}" width="{W}" height="{H}"/>' for name in names]
    return exports.cvat(exports.cvat_polygon(), more="".join(more))


SKIPPED = {"annotations": {"objects": []}, "performance_details": {"skipped": True}}


def test_labelbox_skipped_labels_are_no_annotators(iou, saved):
    export = labelbox(("a.jpg", [labelbox_label(), SKIPPED]), ("b.jpg", [SKIPPED]))
    assert iou("t.ndjson", export, {"a.png": SQUARE, "b.png": SQUARE}) == 1.0
    truth = load_annotations(saved() / "truth" / "t.ndjson")
    assert (len(truth), truth.left_out) == (1, ("b.jpg",))
    assert "2 skipped or cancelled labels left out" in truth.notes()


def two_labels(right, wrong):
    return labelbox(("a.jpg", [labelbox_label(**right), labelbox_label(FAR_RING, **wrong)]))


def two_rows(**changes):
    other = exports.legacy_row(exports.legacy_object(FAR_RING), **{"ID": "2", **changes})
    return [exports.legacy_row(exports.legacy_object()), other]


def two_tasks(right, wrong):
    other = task(region(FAR_RING), **wrong)["annotations"]
    both = task(region(), **right)
    return [{**both, "annotations": both["annotations"] + other}]


BENCHMARK = {"performance": {"benchmark_reference_label": "label-1"}}


@pytest.mark.parametrize(
    ("name", "export"),
    [
        ("t.ndjson", two_labels({"details": {"is_benchmark_reference": True}}, BENCHMARK)),
        ("t.ndjson", two_labels({"id": "label-1"}, BENCHMARK)),
        ("t.ndjson", two_labels({}, {"details": {"reviews": [{"score": -1}]}})),
        ("t.json", two_rows(Reviews=[{"score": -1}])),
        ("t.json", two_rows(Skipped=True)),
        ("t.json", two_rows(**{"Benchmark ID": "1"})),
        ("t.json", two_tasks({"ground_truth": True}, {})),
        ("t.json", two_tasks({}, {"was_cancelled": True})),
        ("t.json", two_tasks({}, {"reviews": [{"accepted": False}]})),
        ("t.json", two_tasks({}, {"last_action": "rejected"})),
    ],
)
def test_references_count_alone_and_rejected_or_skipped_labels_do_not(iou, name, export):
    assert iou(name, export, {"a.png": SQUARE}) == 1.0
    assert iou(name, export, {"a.png": RIGHT}) == 0.0


def test_cvat_marks_every_mask_of_its_coco_export_as_crowd(iou):
    marked = {"category_id": 2, "iscrowd": 1, "attributes": {"occluded": False}}
    ellipse = exports.annotation(exports.rle(RIGHT), **marked, id=2)
    export = coco(RING)
    export["annotations"].append(ellipse)
    assert iou("t.json", export, {"a.png": SQUARE}, category="*") == 0.5
    assert iou("t.json", export, {"a.png": RIGHT}, category="dog") == 1.0
    assert iou("t.json", export, {"a.png": SQUARE}, category="*", crowd="ignore") == 1.0
    del ellipse["attributes"]  # as in COCO itself: a crowd
    assert iou("t.json", export, {"a.png": SQUARE | RIGHT}, category="*", crowd="auto") == 1.0


def test_16_bit_instance_ids_are_read_as_ids(iou, saved):
    ids = np.where(SQUARE, 100, np.where(RIGHT, 300, 0)).astype(np.uint16)
    predicted = {"a.png": SQUARE | RIGHT}
    with pytest.raises(AnnotationRefused, match=r"3 grey levels \(0, 100, 300\).*'>0'"):
        iou("m/a.png", ids, predicted)
    assert iou("m/a.png", ids, predicted, mask_value=">0") == 1.0
    assert iou("m/a.png", ids, {"a.png": RIGHT}, mask_value=300) == 1.0
    assert iou("m/a.png", ids, {"a.png": SQUARE}, mask_value=100, ignore_value=300) == 1.0


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_masks_are_turned_as_their_exif_says(saved, orientation):
    """The stored pixels lie as a camera held them; what is shown is the square."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    turned = np.rot90(SQUARE, {3: 2, 6: 1, 8: 3}[orientation])
    stored = png(np.ascontiguousarray(turned), exif=exif)
    root = saved(truth={"a.png": stored}, pred={"a.png": SQUARE}, other={"a.png": stored})
    for truth, predicted in (("truth", "pred"), ("pred", "truth"), ("other", "truth")):
        assert score(root / truth, root / predicted).scores.miou == 1.0


def test_a_region_belongs_to_all_of_its_labels_and_relations_are_none(iou):
    relation = {"from_id": "r", "to_id": "s", "type": "relation", "direction": "right"}
    export = [task(region(labels=["Wheel", "Car"]), region(FAR_RING, labels=["Car"]), relation)]
    assert iou("t.json", export, {"a.png": SQUARE | RIGHT}, category="Car") == 1.0
    assert iou("t.json", export, {"a.png": SQUARE}, category="Wheel") == 1.0


def test_uploads_of_one_name_are_two_images(saved):
    tasks = [task(region()), task(region(FAR_RING), image="/data/upload/3/99999999-a.jpg")]
    truth = load_annotations(saved(truth={"t.json": tasks}) / "truth" / "t.json")
    assert [item.stem for item in truth] == ["0a1b2c3d-a", "99999999-a"]
    np.testing.assert_array_equal(truth[1].load().mask, RIGHT)


FAR_VIA = exports.VIA_POLYGON | {"all_points_x": [x for x, _ in FAR_RING]}
VIA_BOTH = [exports.via(one) | {"size": n} for n, one in enumerate((exports.VIA_POLYGON, FAR_VIA))]
BOTH_RINGS = (RING, FAR_RING)
# Exports with two images of one name, one with the square left and one with it right.
SAME_NAMED = {
    "labelbox legacy": [
        exports.legacy_row(exports.legacy_object(ring), **{"ID": str(n), "DataRow ID": str(n)})
        for n, ring in enumerate(BOTH_RINGS)
    ],
    "labelbox": labelbox(*[("a.jpg", [labelbox_label(ring)]) for ring in BOTH_RINGS]),
    "label studio": [
        task(region(ring), image=f"https://h/image?id={n}") for n, ring in enumerate(BOTH_RINGS)
    ],
    "via": dict(zip(("a.jpg1", "a.jpg2"), VIA_BOTH, strict=True)),
    "createml": [exports.createml()] * 2,
    "coco": coco(RING, names=("a.jpg", "a.jpg")),
}


@pytest.mark.parametrize("case", SAME_NAMED)
def test_two_images_of_one_name_are_never_one_with_two_annotators(iou, case):
    options = {"boxes": "fill"} if case == "createml" else {"unannotated": "empty"}
    with pytest.raises(AnnotationRefused, match="both mean stem"):
        iou("t.json", SAME_NAMED[case], {"a.png": SQUARE, "image.png": SQUARE}, **options)


def test_the_size_of_an_image_is_not_taken_from_another_folder(saved):
    large = np.zeros((2 * H, 2 * W), bool)
    images = {"images/val/a.png": SQUARE, "images/train/a.png": large}
    root = saved(truth={"labels/val/a.txt": exports.YOLO, **images}, pred={"a.png": SQUARE})
    assert score(root / "truth", root / "pred").scores.miou == 1.0
    (root / "truth" / "labels" / "val" / "a.txt").rename(root / "truth" / "labels" / "a.txt")
    with pytest.raises(AnnotationRefused, match="2 images of this name differ in size"):
        score(root / "truth", root / "pred")


@pytest.mark.parametrize(
    ("label", "extra", "match"),
    [
        ("0 0,1 0,2 0,3 0,2 0,3 0,4", {}, "write class x y x y"),
        ("0 .5 .5 .2 .2 .4 .4 .6 .6", {"data.yaml": "kpt_shape: [2, 2]\nnames: [car]\n"}, "key po"),
    ],
)
def test_numbers_that_are_no_outline_are_refused(saved, label, extra, match):
    """Decimal commas once made masks of the images; key points once made polygons."""
    files = {"labels/a.txt": label, "images/a.png": PHOTO, **extra}
    root = saved(truth=files, pred={"a.png": SQUARE})
    with pytest.raises(AnnotationRefused, match=match):
        score(root / "truth", root / "pred")


def test_a_project_with_other_classes_has_no_vote(saved):
    """One image in two projects, one of cars and one of roads."""
    rows = [exports.labelbox_row(labelbox_label(), name=f"{n}.jpg") for n in "ab"]
    road = exports.labelbox_label(exports.labelbox_object(FAR_RING, name="road"))
    for row in rows:
        row["projects"]["roads"] = {"labels": [road]}
    del rows[1]["projects"]["p"]
    root = saved(truth={"t.ndjson": exports.lines(*rows)}, pred={"a.png": SQUARE, "b.png": SQUARE})
    truth = load_annotations(root / "truth" / "t.ndjson", category="car")
    assert score(truth, root / "pred").scores.miou == 1.0
    assert truth.left_out == ("b.jpg",)
    assert "2 labels of projects without the category left out" in truth.notes()


USUAL_VOIDS = ["__ignore__", "Ignore", "VOID", "__void__", "_ignored_", "DontCare", "out_of_roi"]


@pytest.mark.parametrize("name", [*USUAL_VOIDS, "don\u2019t care", "smoke"])
def test_void_classes_are_not_scored(iou, name):
    export, both = labelme(("person", RING), (name, FAR_RING)), {"a.png": SQUARE | RIGHT}
    if name == "smoke":  # none unless it is named
        assert iou("t.json", export, both, category="person") == 0.5
        assert iou("t.json", export, both, category="person", ignore_category="smoke") == 1.0
    else:
        assert iou("t.json", export, both) == 1.0
        assert iou("t.json", export, both, category="person") == 1.0


def test_objects_that_are_all_crowds_are_refused_with_what_reads_them(iou):
    export = exports.coco(exports.annotation(exports.rle(SQUARE), iscrowd=1))
    with pytest.raises(AnnotationRefused, match=r"marked iscrowd.*--crowd object"):
        iou("t.json", export, {"a.png": SQUARE})
    assert iou("t.json", export, {"a.png": SQUARE}, crowd="object") == 1.0


def test_hashes_in_names_are_no_numbers(saved):
    hashes = ["0123456789abcdef0123456789abcde1", "0123456789abcdef0123456789abcde0"]
    names = [f"car{n}_jpg.rf.{end}" for n, end in zip("xy", hashes, strict=True)]
    truth = dict(zip([f"{name}.png" for name in names], (SQUARE, RIGHT), strict=True))
    root = saved(truth=truth, pred={"cary.png": RIGHT, "carx.png": SQUARE},
                 other={"cary.png": RIGHT, "cars.png": SQUARE})  # fmt: skip
    report = score(root / "truth", root / "pred")
    assert (report.scores.miou, report.settings["pair_by"]) == (1.0, "stem")
    with pytest.raises(AnnotationRefused, match=r"carx_jpg.*: no prediction when pairing by stem"):
        score(root / "truth", root / "other")


@pytest.mark.parametrize(
    ("truth_name", "name"),
    [
        ("K\u00e4fer.png", f"{DECOMPOSED}.png"),
        ("my%20car.png", "my car.png"),
        ("0a1b2c3d-a.png", "a.png"),
        ("aachen_000000_000019_gtFine_labelIds.png", "aachen_000000_000019_leftImg8bit.png"),
    ],
)
def test_names_pair_by_what_they_say(saved, truth_name, name):
    root = saved(truth={truth_name: SQUARE, "z.png": RIGHT}, pred={name: SQUARE, "z.png": RIGHT})
    if "labelIds" in truth_name:
        (root / "truth" / "z.png").rename(root / "truth" / "z_gtFine_labelIds.png")
    assert score(root / "truth", root / "pred").scores.miou == 1.0


def test_geojson_and_closed_vectors_are_outlines(iou):
    def of_geojson(geometry):
        outlined = exports.labelbox_object(polygon=None, geojson=geometry)
        export = labelbox(("a.jpg", [exports.labelbox_label(outlined)]))
        return iou("t.ndjson", export, {"a.png": SQUARE})

    geometry = {"type": "Polygon", "coordinates": [[*RING, RING[0]]]}
    assert of_geojson(geometry) == 1.0
    assert of_geojson({"type": "Feature", "geometry": geometry, "properties": {}}) == 1.0
    with pytest.raises(AnnotationRefused, match="an object of kind 'geojson'"):
        of_geojson({"type": "GeometryCollection", "geometries": [geometry]})
    vertices = [{"id": str(n), "x": x, "y": y} for n, (x, y) in enumerate(exports.PERCENT)]
    vector = region(None, kind="vectorlabels", vertices=vertices, closed=True)
    assert iou("t.json", [task(vector)], {"a.png": SQUARE}) == 1.0
    vertices[1]["isBezier"] = True
    with pytest.raises(AnnotationRefused, match="an outline with curves or branches"):
        iou("t.json", [task(vector)], {"a.png": SQUARE})


IN_FRACTIONS = [0.1, 0.2, 0.4, 0.2, 0.4, 0.5]
TWO_IMAGES = [region() | {"to_name": "left"}, region(FAR_RING) | {"to_name": "right"}]


@pytest.mark.parametrize(
    ("export", "match"),
    [
        (exports.coco(exports.annotation([])), "annotation id 1: an object without outline and b"),
        (exports.coco(exports.annotation([IN_FRACTIONS])), "coordinates from 0 to 1 .* pixels"),
        ([task(*TWO_IMAGES)], r"several images of one task .*left, right"),
    ],
)
def test_objects_that_cannot_be_drawn_are_refused(iou, export, match):
    with pytest.raises(AnnotationRefused, match=match):
        iou("t.json", export, {"a.png": SQUARE})


def test_one_polygon_of_two_points_does_not_block_the_file(iou):
    assert iou("t.json", coco(RING, [[1, 1], [5, 5]]), {"a.png": SQUARE}) == 1.0


def test_shapes_cover_each_other_as_in_the_tools_own_masks(saved):
    window, hole = [[3, 4], [5, 4], [5, 6], [3, 6]], [[6, 4], [8, 4], [8, 6], [6, 6]]
    seen = SQUARE.copy()
    seen[4:6, 3:5] = seen[4:6, 6:8] = False
    shapes = [
        exports.cvat_polygon(window, "window", 2),
        exports.cvat_polygon(),
        exports.cvat_polygon(hole, "background", 1),
    ]
    colours = np.zeros((H, W, 3), np.uint8)
    colours[SQUARE], colours[4:6, 3:5], colours[4:6, 6:8] = (9, 9, 9), (1, 2, 3), (0, 0, 0)
    root = saved(
        xml={"annotations.xml": exports.cvat(*shapes)},
        masks={
            "labelmap.txt": "background:0,0,0::\ncar:9,9,9::\nwindow:1,2,3::\n",
            "SegmentationClass/a.png": colours,
        },
        labelme={"a.json": labelme(("car", RING), ("window", window), ("_background_", hole))},
        pred={"a.png": seen},
    )
    for truth in ("xml", "masks", "labelme"):
        assert score(root / truth, root / "pred", category="car").scores.miou == 1.0


def test_opaque_black_on_transparent_white_is_refused_with_both_ways_out(iou):
    white = np.full((H, W), 255, np.uint8)
    grey, alpha = np.where(SQUARE, 0, white), np.where(SQUARE, white, 0)
    cut = np.stack([grey, grey, grey, alpha], -1).astype(np.uint8)
    with pytest.raises(AnnotationRefused, match=r"--mask-value 255 \(white\) or alpha \(opaque\)"):
        iou("m/a.png", cut, {"a.png": SQUARE})
    assert iou("m/a.png", cut, {"a.png": SQUARE}, mask_value="alpha") == 1.0
    assert iou("m/a.png", cut, {"a.png": ~SQUARE}, mask_value="255") == 1.0


def test_the_border_of_a_trimap_is_void(iou):
    trimap = np.full((H, W), 2, np.uint8)
    trimap[2:9, 1:10], trimap[SQUARE] = 3, 1
    for predicted in (SQUARE, trimap != 2):
        assert iou("m/a.png", trimap, {"a.png": predicted}, mask_value=1, ignore_value=3) == 1.0
    assert iou("m/a.png", trimap, {"a.png": trimap != 2}, mask_value=1) < 0.6


def test_annotators_who_disagree_are_warned_about(saved):
    export = labelbox(("a.jpg", [labelbox_label(), labelbox_label(FAR_RING)]))
    both = labelbox(("b.jpg", [labelbox_label()]))
    root = saved(truth={"t.ndjson": f"{export}\n{both}"}, pred={"a.png": SQUARE, "b.png": SQUARE})
    report = score(root / "truth" / "t.ndjson", root / "pred")
    assert any("annotators tie on 70 pixels, 100% of what" in line for line in report.warnings)


def test_composed_and_decomposed_class_names_are_the_same(iou):
    export = labelme((DECOMPOSED, RING), ("other", FAR_RING))
    assert iou("t.json", export, {"a.png": SQUARE}, category="K\u00e4fer") == 1.0


def test_supervisely_bitmaps_may_be_plain_png(iou):
    export = exports.supervisely(exports.sly_bitmap(png(SQUARE)))
    assert iou("ann/a.jpg.json", export, {"a.jpg.png": SQUARE}) == 1.0


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/local-files/?d=dir%2Fa%20b.png", "dir/a b.png"),
        ("/tasks/1/resolve/?fileuri=czM6Ly9iL2RpciUyRmEucG5n", "dir/a.png"),
        ("s3://bucket/dir%2Fa.png", "dir/a.png"),
    ],
)
def test_images_are_named_by_their_decoded_path(saved, address, name):
    root = saved(truth={"t.json": [task(region(), image=address)]})
    assert load_annotations(root / "truth" / "t.json")[0].name == name


CARS = {f"task-{t}-annotation-7-by-1-tag-Car-{n}.png": m
        for t, n, m in ((1, 0, SQUARE), (1, 1, RIGHT), (2, 0, RIGHT))}  # fmt: skip
FOLDERS = {
    "brush to PNG": (
        {**CARS, "task-2-annotation-7-by-1-tag-Road-0.png": SQUARE},
        {"task-1.png": SQUARE | RIGHT, "task-2.png": RIGHT},
        {"category": "Car"},
    ),
    "labelme_json_to_dataset": (
        {
            "a_json/label.png": np.where(SQUARE, 2, np.where(RIGHT, 1, 0)).astype(np.uint8),
            "a_json/img.png": PHOTO,
            "a_json/label_viz.png": PHOTO,
            "a_json/label_names.txt": "_background_\nroad\ncar\n",
        },
        {"a.png": SQUARE},
        {"category": "car"},
    ),
    "images and masks in one folder": (
        {
            "benign (1).png": PHOTO,
            "benign (1)_mask.png": SQUARE,
            "benign (1)_mask_1.png": RIGHT,
            "benign (2).png": PHOTO,
            "benign (2)_mask.png": RIGHT,
        },
        {"benign (1).png": SQUARE | RIGHT, "benign (2).png": RIGHT},
        {},
    ),
    "Cityscapes PNG": (
        {
            "a_gtFine_labelIds.png": np.where(SQUARE, 26, 7).astype(np.uint8),
            "a_gtFine_color.png": PHOTO,
        },
        {"a_leftImg8bit.png": SQUARE},
        {"mask_value": 26},
    ),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_folders_of_masks_as_tools_write_them(saved, case):
    truth, predicted, options = FOLDERS[case]
    root = saved(truth=truth, pred=predicted)
    report = score(root / "truth", root / "pred", **options)
    assert report.scores.miou == 1.0
    assert report.scores.num_images == len(predicted)


VIA = {"a.jpg1": exports.via(exports.VIA_POLYGON)}
VIA_CSV = (
    "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
    'region_attributes\na.jpg,1,"{}",1,0,"{""name"":""rect"",""x"":2,""y"":3,""width"":7,'
    '""height"":5}","{""label"":""car""}"\n'
)
CITYSCAPES = exports.cityscapes(("cargroup", RING), ("out of roi", FAR_RING))
XML_RING = f"<polygon>{exports.XML_RING}</polygon>"
LABELME_XML = exports.labelme_xml(
    f"<deleted>0</deleted>{XML_RING}", f"<deleted>1</deleted>{XML_RING}"
)
FORMATS = {
    "via": ({"t.json": VIA}, {}),
    "via project": ({"t.json": {"_via_settings": {}, "_via_img_metadata": VIA}}, {}),
    "via CSV": ({"t.csv": VIA_CSV}, {"boxes": "fill"}),
    "yolo": (
        {"labels/a.txt": exports.YOLO, "images/a.png": PHOTO, "data.yaml": "names: [car]\n"},
        {"category": "car"},
    ),
    "yolo without images": ({"a.txt": exports.YOLO}, {}),
    "yolo with byte order marks": (
        {
            "labels/a.txt": f"\ufeff{exports.YOLO}\r\n",
            "images/a.png": PHOTO,
            "classes.txt": "\ufeffcar\r\n",
        },
        {"category": "car"},
    ),
    "cityscapes": ({"a_gtFine_polygons.json": CITYSCAPES}, {"category": "car"}),
    "createml": ({"t.json": [exports.createml()]}, {"boxes": "fill"}),
    "labelme-xml": ({"a.xml": LABELME_XML}, {}),
}


@pytest.mark.parametrize("case", FORMATS)
def test_further_formats_are_read(saved, case):
    files, options = FORMATS[case]
    root = saved(truth=files, pred={"a.png": SQUARE})
    (name,) = list(files)[:1]
    truth = root / "truth" / name if case == "via CSV" else root / "truth"
    opened = load_annotations(truth, **options)
    assert opened.format == case.split(" ")[0]
    assert score(opened, root / "pred").scores.miou == 1.0


def test_coco_results_are_predictions_named_by_the_truth(saved):
    square, right = (exports.annotation(exports.rle(mask)) for mask in (SQUARE, RIGHT))
    truth = exports.coco(square, right | {"image_id": 2}, names=("second.jpg", "first.jpg"))
    found = [
        square | {"score": 0.9},
        right | {"score": 0.4},
        right | {"score": 0.8, "image_id": 2},
        square | {"score": 0.9, "category_id": 2},
    ]
    root = saved(truth={"t.json": truth}, pred={"r.json": found})
    report = score(root / "truth" / "t.json", root / "pred" / "r.json", with_ap=True)
    assert report.scores.miou == 1.0
    assert report.average_precision == pytest.approx({"ap": 1, "ap50": 1, "ap75": 1})
    assert any("1 detections with a score of at most 0.5" in note for note in report.notes)
    report = score(root / "truth" / "t.json", root / "pred" / "r.json", pred_mask_value=">0.3")
    assert report.scores.foreground.iou == pytest.approx(2 / 3)


def test_a_refused_prediction_names_its_own_flags(saved):
    ids = np.where(SQUARE, 100, np.where(RIGHT, 300, 0)).astype(np.uint16)
    root = saved(
        truth={"a.png": SQUARE},
        pred={"a.png": ids},
        two={"a.json": labelme(("car", RING), ("road", FAR_RING))},
    )
    with pytest.raises(AnnotationRefused, match=r"choose --pred-mask-value, .*'>0'$"):
        score(root / "truth", root / "pred")
    with pytest.raises(AnnotationRefused, match="choose --pred-category from 'car', 'road'"):
        score(root / "truth", root / "two")


def test_a_zip_of_masks_is_a_folder_and_hard_masks_have_no_average_precision(tmp_path, saved):
    saved(pred={"a.png": SQUARE})
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("a.png", png(SQUARE))
    scores = score(tmp_path / "t.zip", tmp_path / "pred").to_dict()["scores"]
    assert (scores["miou"], scores["f1"]) == (1.0, 1.0)
    with pytest.raises(AnnotationRefused, match="leave out --ap"):
        score(tmp_path / "t.zip", tmp_path / "pred", with_ap=True)


NOBODY = {"data": {"image": "b.jpg"}, "annotations": []}
UNANNOTATED = {
    "coco": {"t.json": coco(RING, names=("a.jpg", "b.jpg"))},
    "cvat": {"t.xml": cvat("b.jpg")},
    "supervisely": {
        "ann/a.jpg.json": exports.supervisely(exports.sly_polygon()),
        "ann/b.jpg.json": exports.supervisely(),
    },
    "labelbox": {"t.ndjson": labelbox(("a.jpg", [labelbox_label()]), ("b.jpg", []))},
    "label-studio": {"t.json": [task(region()), NOBODY]},
    "via": {"t.json": {"a": exports.via(exports.VIA_POLYGON), "b": exports.via(name="b.jpg")}},
    "labelme": {"a.json": labelme(("car", RING)), "a.jpg": PHOTO, "b.jpg": PHOTO},
    "createml": {"t.json": [exports.createml(), exports.createml(image="b.jpg", annotations=[])]},
    "yolo": {"labels/a.txt": exports.YOLO, "images/a.png": PHOTO, "images/b.png": PHOTO},
    "png": {"masks/a.png": SQUARE, "images/a.png": PHOTO, "images/b.png": PHOTO},
}


@pytest.mark.parametrize("name", UNANNOTATED)
def test_one_rule_for_images_that_nobody_annotated(saved, name):
    root = saved(truth=UNANNOTATED[name], pred={"a.png": SQUARE, "b.png": SQUARE})
    options = {"boxes": "fill"} if name == "createml" else {}
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
