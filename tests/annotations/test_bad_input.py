"""Bad input through the door: one line that names file and record, and exit code 4."""

import json

import annotation_exports as exports
import numpy as np
import pytest
from annotation_exports import FAR_RING, SQUARE, H, W, png
from click.testing import CliRunner

from l4f_datagen.annotations import READERS, load_annotations
from l4f_datagen.cli import cli
from l4f_datagen.core.errors import AnnotationRefused


def coco(ring):
    record = exports.annotation([np.ravel(ring).tolist()])
    return json.dumps(exports.coco(record)).encode()


def grey(on):
    return np.where(SQUARE, on, 0).astype(np.uint8)


FAR = [[x + 90, y] for x, y in FAR_RING]
ALL = exports.rle(np.ones((H, W), bool), compressed=False)
LABELBOX = exports.lines(exports.labelbox_row(exports.labelbox_label(exports.labelbox_object(FAR))))
COLOURS = np.random.RandomState(0).randint(0, 256, (H, W, 3)).astype(np.uint8)
TRUTHS = {  # file name, content, what is said
    "outside the image": (
        "t.json", coco(FAR), "t.json annotation id 1: a polygon from (107, 3) to (114, 8) lies "
        "outside its image of 30 x 20 pixels"),
    "outside, Labelbox": ("t.ndjson", LABELBOX.encode(), "object f: a polygon from (107, 3) to"),
    "all crowds": (
        "t.json", json.dumps(exports.coco(exports.annotation(ALL, iscrowd=1))).encode(),
        "t.json: every object is marked iscrowd, as a crowd that is not scored"),
    "0 bytes": ("t.json", b"", "t.json: 0 bytes; export or copy the file again"),
    "no known format": ("t.txt", b"labels, somewhere", "t.txt: no known annotation format"),
    "another size": ("a.png", png(SQUARE[:9]), "a.png: 30 x 20 pixels, its truth 30 x 9"),
    "empty": ("a.png", png(grey(0)), "a.png: not one object pixel in 1 images"),
    "a coloured image": ("a.png", png(COLOURS), "a.png: a coloured image; choose --mask-value"),
    "no image": ("a.png", b"\x89PNG\r\n\x1a\n cut", "a.png: is damaged"),
}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    (tmp_path / "pred").mkdir()
    (tmp_path / "pred" / "a.png").write_bytes(png(SQUARE))

    def call(truth, *flags):
        words = ["validate", "--truth", truth, "--pred", tmp_path / "pred", *flags]
        return CliRunner().invoke(cli, [str(word) for word in words])

    return call


@pytest.mark.parametrize("case", TRUTHS)
def test_bad_truth_is_one_line_and_exit_4(tmp_path, run, case):
    name, data, words = TRUTHS[case]
    (tmp_path / name).write_bytes(data)
    result = run(tmp_path / name)
    assert (result.exit_code, result.output.count("\n")) == (4, 1), result.output
    assert words in result.output


def test_void_everywhere_empty_folders_and_missing_ones(tmp_path, run):
    (tmp_path / "truth").mkdir()
    assert "truth: an empty folder" in run(tmp_path / "truth").output
    assert "nowhere: no such file or folder" in run(tmp_path / "nowhere").output
    (tmp_path / "truth" / "a.png").write_bytes(png(np.full((H, W), 255, np.uint8)))
    said = run(tmp_path / "truth", "--mask-value", "1").output
    assert "truth a.png: every pixel is marked ignore" in said


def test_a_polygon_that_only_touches_itself_is_read(tmp_path, run):
    """Two squares that meet in one corner: what is inside is beyond doubt."""
    ring = [[2, 3], [6, 3], [6, 8], [9, 8], [9, 12], [6, 12], [6, 8], [2, 8]]
    mask = np.zeros((H, W), bool)
    mask[3:8, 2:6] = mask[8:12, 6:9] = True
    (tmp_path / "t.json").write_bytes(coco(ring))
    (tmp_path / "pred" / "a.png").write_bytes(png(mask))
    result = run(tmp_path / "t.json", "--min-miou", "1")
    assert result.exit_code == 0, result.output


FOREIGN = ("ibm_cloud_annotations", "scale_ai", "superannotate", "unity_perception", "vott")


@pytest.mark.parametrize("name", FOREIGN)
def test_formats_nobody_reads_are_refused_with_the_list(fixtures, name):
    with pytest.raises(AnnotationRefused, match="no known annotation format; known are labelbox"):
        load_annotations(fixtures / "panlabel" / f"sample_valid.{name}.json")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"hello", "no known annotation format"),
        (b"{}", "no known annotation format"),
        (b"[]", "no known annotation format"),
        (b"[3]", "no known annotation format"),
        (b'{"a": ', r"not JSON \(line 1"),
        (b"\xff\xfe{\x00}\x00", "UTF-16 text; save the file as UTF-8"),
        (b'{"a": "\xff"}', "not UTF-8"),
    ],
)
def test_files_that_are_none(tmp_path, content, match):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(AnnotationRefused, match=match):
        load_annotations(tmp_path / "x.json")


def test_the_format_may_be_given(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"images": []}))
    with pytest.raises(AnnotationRefused, match="annotation format 'voc': unknown; choose from"):
        load_annotations(tmp_path / "x.json", format="voc")
    for name in READERS:
        with pytest.raises(AnnotationRefused):
            [item.load() for item in load_annotations(tmp_path / "x.json", format=name)]
