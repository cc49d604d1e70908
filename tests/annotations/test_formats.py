"""One square in every spelling of every format, and one rule for images nobody annotated."""

import json
import re

import annotation_exports as exports
import numpy as np
import pytest
from annotation_exports import FILL, PHOTO, SPELLINGS, SQUARE, H, W
from annotation_exports import labelbox_row as row
from click.testing import CliRunner

from l4f_datagen.annotations import READERS, load_annotations
from l4f_datagen.cli import cli
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.scoring import score

UNSIZED = ("coco-results", "labelbox-legacy", "via", "yolo alone", "yolo box", "createml",
           "cvat-masks", "png", "hf")  # fmt: skip


@pytest.mark.parametrize("case", SPELLINGS)
def test_every_spelling_of_the_square_is_read(saved, case):
    files, options = SPELLINGS[case]
    options = dict(options)
    root = saved(t=files, masks=options.get("masks", {}))
    if options.pop("masks", None):
        options["masks_dir"] = root / "masks"
    (name,) = list(files)[:1]
    truth = load_annotations(root / "t" / (name if len(files) == 1 else ""), **options)
    assert truth.format == case.split(" ")[0]
    assert truth[0].stem == "a"
    assert truth[0].size_hw == (None if case.startswith(UNSIZED) else (H, W))
    for item in truth:
        loaded = item.load((H, W))
        np.testing.assert_array_equal(loaded.mask, SQUARE)
        assert loaded.ignore is None or case == "cityscapes"


def test_every_reader_is_spelled():
    assert {case.split(" ")[0] for case in SPELLINGS} == set(READERS)


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
SKIPPED = exports.labelbox_label(performance={"skipped": True})
SKIPPED = row(SKIPPED | {"annotations": {"objects": []}}, name="b.jpg")
OTHER = f'<image name="b.jpg" width="{W}" height="{H}"/>'
UNANNOTATED = {
    "coco": {"t.json": exports.coco(names=("a.jpg", "b.jpg"))},
    "cvat": {"t.xml": exports.cvat(exports.cvat_polygon(), more=OTHER)},
    "supervisely": {
        "ann/a.jpg.json": exports.supervisely(exports.sly_polygon()),
        "ann/b.jpg.json": exports.supervisely(),
    },
    "labelbox": {"t.ndjson": exports.lines(row(exports.labelbox_label()), row(name="b.jpg"))},
    "labelbox skipped": {"t.ndjson": exports.lines(row(exports.labelbox_label()), SKIPPED)},
    "labelbox-legacy": {
        "t.json": [
            exports.legacy_row(exports.legacy_object()),
            exports.legacy_row(Label="Skip", **{"External ID": "b.jpg"}),
        ]
    },
    "label-studio": {"t.json": [exports.task(exports.region()), NOBODY]},
    "via": {"t.json": {"a": exports.via(exports.VIA_POLYGON), "b": exports.via(name="b.jpg")}},
    "labelme": {"a.json": exports.labelme(exports.labelme_shape()), "a.jpg": PHOTO, "b.jpg": PHOTO},
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
    helped = " ".join(CliRunner().invoke(cli, ["validate", "--help"]).output.split())
    assert "LABELBOX_API_KEY" in helped
    assert "Images that nobody annotated are left out and counted" in helped
