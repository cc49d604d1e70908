"""Exports that were once scored wrong without a word: each with the value it must score."""

import unicodedata
import zipfile

import annotation_exports as exports
import numpy as np
import pytest
from annotation_exports import (
    FAR_RING,
    PHOTO,
    RIGHT,
    RING,
    SQUARE,
    H,
    W,
    png,
    region,
    task,
)
from PIL import ExifTags, Image

from l4f_datagen.annotations import load_annotations
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.scoring import score

DECOMPOSED = unicodedata.normalize("NFD", "K\u00e4fer")
BOTH = SQUARE | RIGHT


@pytest.fixture
def iou(saved):
    """Object IoU of the prediction of `a` against a truth file."""

    def call(name, truth, predicted, **options):
        root = saved(truth={name: truth}, pred={"a.png": predicted})
        return score(root / "truth" / name, root / "pred", **options).scores.foreground.iou

    return call


def coco(*rings, **changes):
    records = [exports.annotation([np.ravel(ring).tolist()], iscrowd=0) for ring in rings]
    return exports.coco(*records, **changes)


def label(ring=RING, **changes):
    return exports.labelbox_label(exports.labelbox_object(ring), **changes)


def labelbox(*rows):
    return exports.lines(*[exports.labelbox_row(*labels, name=name) for name, labels in rows])


def labelme(*shapes):
    return exports.labelme(*[exports.labelme_shape(name, ring) for name, ring in shapes])


def two_labels(right, wrong):
    return "t.ndjson", labelbox(("a.jpg", [label(**right), label(FAR_RING, **wrong)]))


def two_rows(**changes):
    other = exports.legacy_row(exports.legacy_object(FAR_RING), **{"ID": "2", **changes})
    return "t.json", [exports.legacy_row(exports.legacy_object()), other]


def two_tasks(right, wrong):
    other = task(region(FAR_RING), **wrong)["annotations"]
    both = task(region(), **right)
    return "t.json", [{**both, "annotations": both["annotations"] + other}]


BENCHMARK = {"performance": {"benchmark_reference_label": "label-1"}}


@pytest.mark.parametrize(
    "export",
    [
        two_labels({"details": {"is_benchmark_reference": True}}, BENCHMARK),
        two_labels({"id": "label-1"}, BENCHMARK),
        two_labels({}, {"details": {"reviews": [{"score": -1}]}}),
        two_labels({}, {"performance": {"skipped": True}}),
        two_rows(Reviews=[{"score": -1}]),
        two_rows(Reviews='[{"score": -1}]'),
        two_rows(Skipped=True),
        two_rows(**{"Benchmark ID": "1"}),
        two_tasks({"ground_truth": True}, {}),
        two_tasks({}, {"was_cancelled": True}),
        two_tasks({}, {"reviews": [{"accepted": False}]}),
        two_tasks({}, {"last_action": "rejected"}),
    ],
)
def test_references_count_alone_and_rejected_or_skipped_labels_do_not(iou, export):
    assert iou(*export, SQUARE) == 1.0
    assert iou(*export, RIGHT) == 0.0


def marked(**changes):
    """CVAT marks every mask of its COCO export as crowd."""
    both = coco(RING)
    ellipse = exports.annotation(exports.rle(RIGHT), category_id=2, iscrowd=1, id=2, **changes)
    return "t.json", {**both, "annotations": [*both["annotations"], ellipse]}


OF_CVAT = marked(attributes={"occluded": False})
IDS = "m/a.png", np.where(SQUARE, 100, np.where(RIGHT, 300, 0)).astype(np.uint16)
RELATION = {"from_id": "r", "to_id": "s", "type": "relation", "direction": "right"}
WHEELS = region(labels=["Wheel", "Car"]), region(FAR_RING, labels=["Car"]), RELATION
TRIMAP = np.full((H, W), 2, np.uint8)
TRIMAP[2:9, 1:10], TRIMAP[SQUARE] = 3, 1
WHITE = np.full((H, W), 255, np.uint8)
GREY, ALPHA = np.where(SQUARE, 0, WHITE), np.where(SQUARE, WHITE, 0)
CUT = "m/a.png", np.stack([GREY, GREY, GREY, ALPHA], -1).astype(np.uint8)
KAEFER = "t.json", labelme((DECOMPOSED, RING), ("other", FAR_RING))
SMOKE = "t.json", labelme(("person", RING), ("smoke", FAR_RING))
VOIDS = ["__ignore__", "Ignore", "VOID", "__void__", "_ignored_", "DontCare", "out_of_roi"]
SCORED = [  # export, prediction, options, IoU
    (OF_CVAT, SQUARE, {"category": "*"}, 0.5),
    (OF_CVAT, RIGHT, {"category": "dog"}, 1.0),
    (OF_CVAT, SQUARE, {"category": "*", "crowd": "ignore"}, 1.0),
    (marked(), BOTH, {"category": "*", "crowd": "auto"}, 1.0),  # as in COCO itself: a crowd
    (IDS, BOTH, {"mask_value": ">0"}, 1.0),
    (IDS, RIGHT, {"mask_value": 300}, 1.0),
    (IDS, SQUARE, {"mask_value": 100, "ignore_value": 300}, 1.0),
    # A region belongs to all of its labels, and relations are none.
    (("t.json", [task(*WHEELS)]), BOTH, {"category": "Car"}, 1.0),
    (("t.json", [task(*WHEELS)]), SQUARE, {"category": "Wheel"}, 1.0),
    # The border of a trimap is void.
    (("m/a.png", TRIMAP), SQUARE, {"mask_value": 1, "ignore_value": 3}, 1.0),
    (("m/a.png", TRIMAP), TRIMAP != 2, {"mask_value": 1, "ignore_value": 3}, 1.0),
    (("m/a.png", TRIMAP), TRIMAP != 2, {"mask_value": 1}, 35 / 63),
    (CUT, SQUARE, {"mask_value": "alpha"}, 1.0),
    (CUT, ~SQUARE, {"mask_value": "255"}, 1.0),
    (KAEFER, SQUARE, {"category": "K\u00e4fer"}, 1.0),
    (SMOKE, BOTH, {"category": "person"}, 0.5),
    (SMOKE, BOTH, {"category": "person", "ignore_category": "smoke"}, 1.0),
    *[(("t.json", labelme(("person", RING), (name, FAR_RING))), BOTH, options, 1.0)
      for name in (*VOIDS, "don\u2019t care") for options in ({}, {"category": "person"})],
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(SCORED)))
def test_objects_voids_and_crowds_score_as_they_should(iou, number):
    export, predicted, options, expected = SCORED[number]
    assert iou(*export, predicted, **options) == pytest.approx(expected, abs=1e-12)


def test_what_needs_a_choice_says_which(iou):
    with pytest.raises(AnnotationRefused, match=r"3 grey levels \(0, 100, 300\).*'>0'"):
        iou(*IDS, BOTH)
    with pytest.raises(AnnotationRefused, match=r"--mask-value 255 \(white\) or alpha \(opaque\)"):
        iou(*CUT, SQUARE)


def test_uploads_of_one_name_are_two_images(opened):
    tasks = [task(region()), task(region(FAR_RING), image="/data/upload/3/99999999-a.jpg")]
    truth = opened(tasks)
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
    "labelbox": labelbox(*[("a.jpg", [label(ring)]) for ring in BOTH_RINGS]),
    "label studio": [
        task(region(ring), image=f"https://h/image?id={n}") for n, ring in enumerate(BOTH_RINGS)
    ],
    "via": dict(zip(("a.jpg1", "a.jpg2"), VIA_BOTH, strict=True)),
    "createml": [exports.createml()] * 2,
    "coco": coco(RING, names=("a.jpg", "a.jpg")),
}


@pytest.mark.parametrize("case", SAME_NAMED)
def test_two_images_of_one_name_are_never_one_with_two_annotators(saved, case):
    options = {"boxes": "fill"} if case == "createml" else {"unannotated": "empty"}
    root = saved(truth={"t.json": SAME_NAMED[case]}, pred={"a.png": SQUARE, "image.png": SQUARE})
    with pytest.raises(AnnotationRefused, match="both mean stem"):
        score(root / "truth", root / "pred", **options)


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({"data.yaml": "kpt_shape: [2, 2]\nnames: [car]\n"}, "key points"),  # once made polygons
        ({"data.yaml": "names: [car\n"}, "data.yaml: .* write it again"),
        ({"images/b/a.png": np.zeros((2 * H, W), bool)}, "2 images of this name differ in size"),
        ({"images/a.png": b"\x89PNG"}, "images/a.png: is damaged"),
    ],
)
def test_what_lies_beside_yolo_labels_is_checked(saved, files, match):
    root = saved(truth={"labels/a.txt": exports.YOLO, "images/c/a.png": PHOTO, **files})
    with pytest.raises(AnnotationRefused, match=match):
        load_annotations(root / "truth")


def test_a_project_with_other_classes_has_no_vote(saved):
    """One image in two projects, one of cars and one of roads."""
    rows = [exports.labelbox_row(label(), name=f"{n}.jpg") for n in "ab"]
    road = exports.labelbox_label(exports.labelbox_object(FAR_RING, name="road"))
    for row in rows:
        row["projects"]["roads"] = {"labels": [road]}
    del rows[1]["projects"]["p"]
    root = saved(truth={"t.ndjson": exports.lines(*rows)}, pred={"a.png": SQUARE, "b.png": SQUARE})
    truth = load_annotations(root / "truth", category="car")
    assert score(truth, root / "pred").scores.miou == 1.0
    assert truth.left_out == ("b.jpg",)
    assert "2 labels of projects without the category left out" in truth.notes()


def test_annotators_who_disagree_are_warned_about(saved):
    export = labelbox(("a.jpg", [label(), label(FAR_RING)]), ("b.jpg", [label()]))
    root = saved(truth={"t.ndjson": export}, pred={"a.png": SQUARE, "b.png": SQUARE})
    report = score(root / "truth", root / "pred")
    assert any("annotators tie on 70 pixels, 100% of what" in line for line in report.warnings)


def turned(orientation, quarters):
    """The square as a camera held it, with the EXIF that shows it upright."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return {"a.png": png(np.ascontiguousarray(np.rot90(SQUARE, quarters)), exif=exif)}


THE_SQUARE = {"a.png": SQUARE}
HASHED = [f"car{n}_jpg.rf.0123456789abcdef0123456789abcde{end}.png" for n, end in ("x1", "y0")]
HASHED_TRUTH = dict(zip(HASHED, (SQUARE, RIGHT), strict=True))
WINDOW, HOLE = [[3, 4], [5, 4], [5, 6], [3, 6]], [[6, 4], [8, 4], [8, 6], [6, 6]]
SEEN, COLOURS = SQUARE.copy(), np.zeros((H, W, 3), np.uint8)
COLOURS[SQUARE], COLOURS[4:6, 3:5], COLOURS[4:6, 6:8] = (9, 9, 9), (1, 2, 3), (0, 0, 0)
SEEN[4:6, 3:5] = SEEN[4:6, 6:8] = False
COVERED = exports.cvat(exports.cvat_polygon(WINDOW, "window", 2), exports.cvat_polygon(),
                       exports.cvat_polygon(HOLE, "background", 1))  # fmt: skip
LABELS = np.where(SQUARE, 2, np.where(RIGHT, 1, 0)).astype(np.uint8)
LABELS[15:, :4] = 255  # not scored
LARGE = np.zeros((2 * H, 2 * W), bool)
CARS = {f"task-{t}-annotation-7-by-1-tag-Car-{n}.png": m
        for t, n, m in ((1, 0, SQUARE), (1, 1, RIGHT), (2, 0, RIGHT))}  # fmt: skip
FOLDERS = {  # truth, prediction, options: all of it is right
    **{f"turned by EXIF {n}": (turned(n, quarters), THE_SQUARE, {})
       for n, quarters in ((3, 2), (6, 1), (8, 3))},
    **{f"prediction turned by EXIF {n}": (THE_SQUARE, turned(n, quarters), {})
       for n, quarters in ((3, 2), (6, 1), (8, 3))},
    # Names pair by what they say, and the hashes in them are no numbers.
    **{f"named {one}": ({one: SQUARE, other: RIGHT}, {named: SQUARE, "z.png": RIGHT}, {})
       for one, named, other in (
           ("K\u00e4fer.png", f"{DECOMPOSED}.png", "z.png"),
           ("my%20car.png", "my car.png", "z.png"),
           ("0a1b2c3d-a.png", "a.png", "z.png"),
           ("b_000_gtFine_labelIds.png", "b_000_leftImg8bit.png", "z_gtFine_labelIds.png"))},
    "named with hashes": (HASHED_TRUTH, {"cary.png": RIGHT, "carx.png": SQUARE}, {}),
    # Shapes cover each other as in the tools' own masks.
    "covered, CVAT": ({"annotations.xml": COVERED}, {"a.png": SEEN}, {"category": "car"}),
    "covered, CVAT masks": (
        {"labelmap.txt": "background:0,0,0::\ncar:9,9,9::\nwindow:1,2,3::\n",
         "SegmentationClass/a.png": COLOURS}, {"a.png": SEEN}, {"category": "car"}),
    "covered, labelme": (
        {"a.json": labelme(("car", RING), ("window", WINDOW), ("_background_", HOLE))},
        {"a.png": SEEN}, {"category": "car"}),
    # The size of an image is not taken from another folder.
    "sized": ({"labels/val/a.txt": exports.YOLO, "images/val/a.png": PHOTO,
               "images/train/a.png": LARGE}, THE_SQUARE, {}),
    "brush to PNG": (
        {**CARS, "task-2-annotation-7-by-1-tag-Road-0.png": SQUARE},
        {"task-1.png": BOTH, "task-2.png": RIGHT}, {"category": "Car"}),
    "labelme_json_to_dataset": (
        {"a_json/label.png": LABELS,
         "a_json/img.png": PHOTO, "a_json/label_viz.png": PHOTO,
         "a_json/label_names.txt": "_background_\nroad\ncar\n"},
        {"a.png": LABELS > 1}, {"category": "car"}),
    "images and masks in one folder": (
        {"benign (1).png": PHOTO, "benign (1)_mask.png": SQUARE, "benign (1)_mask_1.png": RIGHT,
         "benign (2).png": PHOTO, "benign (2)_mask.png": RIGHT},
        {"benign (1).png": BOTH, "benign (2).png": RIGHT}, {}),
    "masks alone, several of an image": (
        {"masks/a_mask.png": SQUARE, "masks/a_mask_1.png": RIGHT}, {"a.png": BOTH}, {}),
    "Cityscapes PNG": (
        {"a_gtFine_labelIds.png": np.where(SQUARE, 26, 7).astype(np.uint8),
         "a_gtFine_color.png": PHOTO}, {"a_leftImg8bit.png": SQUARE}, {"mask_value": 26}),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDERS)
def test_folders_as_tools_write_them(saved, case):
    truth, predicted, options = FOLDERS[case]
    root = saved(truth=truth, pred=predicted)
    report = score(root / "truth", root / "pred", **options)
    assert report.scores.miou == 1.0
    assert report.scores.num_images == len(predicted)
    assert report.settings["pair_by"] == "stem"


def test_names_with_hashes_that_do_not_pair_are_refused(saved):
    root = saved(truth=HASHED_TRUTH, pred={"cary.png": RIGHT, "cars.png": SQUARE})
    with pytest.raises(AnnotationRefused, match=r"carx_jpg.*: no prediction when pairing by stem"):
        score(root / "truth", root / "pred")


def test_a_refused_prediction_names_its_own_flags(saved):
    root = saved(
        truth={"a.png": SQUARE},
        pred={"a.png": IDS[1]},
        two={"a.json": labelme(("car", RING), ("road", FAR_RING))},
    )
    with pytest.raises(AnnotationRefused, match=r"choose --pred-mask-value, .*'>0'"):
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
