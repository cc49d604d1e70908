"""Bad input through the door: one line that names file and record, and exit code 4."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from l4f_datagen.cli import cli

SIDE = 24
MASK = np.zeros((SIDE, SIDE), bool)
MASK[6:18, 6:18] = True
SQUARE = [[6, 6], [18, 6], [18, 18], [6, 18]]


def coco(ring=None, segmentation=None, **annotation):
    flat = [[value for point in ring or SQUARE for value in point]]
    record = {"id": 7, "image_id": 1, "category_id": 1, "segmentation": segmentation or flat}
    return json.dumps(
        {
            "images": [{"id": 1, "file_name": "a.png", "height": SIDE, "width": SIDE}],
            "categories": [{"id": 1, "name": "car"}],
            "annotations": [{**record, **annotation}],
        }
    ).encode()


def rle_of_all():
    return {"size": [SIDE, SIDE], "counts": [0, SIDE * SIDE]}


def labelbox(*rings):
    objects = [
        {"feature_id": f"f{k}", "name": "car", "polygon": [{"x": x, "y": y} for x, y in ring]}
        for k, ring in enumerate(rings)
    ]
    row = {
        "data_row": {"id": "d", "external_id": "a.png"},
        "media_attributes": {"width": SIDE, "height": SIDE},
        "projects": {"p": {"labels": [{"annotations": {"objects": objects}}]}},
    }
    return json.dumps(row).encode()


BOW_TIE = [[4, 4], [20, 20], [20, 4], [4, 20]]
ALL_OF_IT = [[0, 0], [SIDE, 0], [SIDE, SIDE], [0, SIDE]]
NAN = float("nan")
FAR = [[100, 100], [120, 100], [120, 120]]
EXPORTS = {
    "outside the image": (
        "t.json", coco(FAR), "t.json annotation id 7: a polygon from (100, 100) to (120, 120) lies "
        "outside its image of 24 x 24 pixels"),
    "outside, Labelbox": (
        "t.ndjson", labelbox(FAR), "object f0: a polygon from (100, 100) to"),
    "NaN coordinates": (
        "t.json", coco([[1, 1], [NAN, 4], [9, 9]]),
        "t.json annotation id 7: polygon coordinate nan; write finite numbers"),
    "NaN coordinates, Labelbox": (
        "t.ndjson", labelbox(SQUARE, [[1, 1], [2, NAN], [3, 3]]),
        "object f1: polygon coordinate nan"),
    "crosses itself": (
        "t.json", coco(BOW_TIE), "t.json annotation id 7: the polygon crosses itself"),
    "two points": (
        "t.ndjson", labelbox([[1, 1], [5, 5], [1, 1]]),
        "object f0: a polygon of 2 distinct points"),
    "all crowds": (
        "t.json", coco(segmentation=rle_of_all(), iscrowd=1),
        "t.json: every object is marked iscrowd, as a crowd that is not scored"),
    "RLE of another size": (
        "t.json", coco(segmentation={"size": [9, 9], "counts": [0, 81]}),
        "annotation id 7: an RLE of 9 x 9 pixels on an image of 24 x 24"),
    "RLE that ends early": (
        "t.json", coco(segmentation={"size": [SIDE, SIDE], "counts": [0, 5]}),
        "annotation id 7: run lengths cover 5 of 24 x 24 = 576 pixels"),
    "dangling image": (
        "t.json", coco(image_id=5), "annotation id 7: image_id 5 is not listed"),
    "no object": (
        "t.json", b'{"images": [{"id": 1, "file_name": "a.png", "height": 9, "width": 9}], '
        b'"categories": [], "annotations": []}', "t.json: no annotated image among 1"),
    "0 bytes": ("t.json", b"", "t.json: 0 bytes; export or copy the file again"),
    "UTF-16": (
        "t.json", coco().decode().encode("utf-16"), "t.json: UTF-16 text; save the file as UTF-8"),
    "Latin-1": (
        "t.json", coco().replace(b'"car"', '"Käfer"'.encode("latin-1")),
        "t.json: not UTF-8 text (byte"),
    "cut JSON": ("t.json", coco()[:-9], "t.json: not JSON (line 1 column"),
    "no known format": ("t.txt", b"labels, somewhere", "t.txt: no known annotation format"),
}  # fmt: skip


@pytest.fixture
def refused(tmp_path):
    (tmp_path / "pred").mkdir()
    Image.fromarray(MASK.astype(np.uint8) * 255).save(tmp_path / "pred" / "a.png")

    def call(truth, *flags):
        words = ["validate", "--truth", truth, "--pred", tmp_path / "pred", *flags]
        result = CliRunner().invoke(cli, [str(word) for word in words])
        assert result.exit_code == 4, result.output
        assert result.output.count("\n") == 1
        return result.output

    return call


@pytest.mark.parametrize("case", EXPORTS)
def test_bad_exports_are_one_line_and_exit_4(tmp_path, refused, case):
    name, data, words = EXPORTS[case]
    (tmp_path / name).write_bytes(data)
    said = refused(tmp_path / name)
    assert said.startswith(f"Error: {tmp_path / name}")
    assert words in said


def levels(**places):
    picture = MASK.astype(np.uint8) * 255
    for value, share in places.items():
        picture[: int(share * SIDE)] = int(value[1:])
    return picture


PICTURES = {
    "another size": (MASK[:12].astype(np.uint8) * 255,
                     "prediction of a.png: 24 x 24 pixels, its truth 24 x 12"),
    "grey levels": (levels(v9=0.2, v90=0.1), "a.png: 4 grey levels (0, 9, 90, 255) in a mask; "
                    "choose --mask-value"),
    "empty": (MASK.astype(np.uint8) * 0, "truth: not one object pixel in 1 images"),
    "a coloured image": (np.random.RandomState(0).randint(0, 256, (24, 24, 3)).astype(np.uint8),
                           "a.png: a coloured image; choose --mask-value"),
}  # fmt: skip


@pytest.mark.parametrize("case", PICTURES)
def test_bad_mask_pictures_are_one_line_and_exit_4(tmp_path, refused, case):
    picture, words = PICTURES[case]
    (tmp_path / "truth").mkdir()
    Image.fromarray(picture).save(tmp_path / "truth" / "a.png")
    assert words in refused(tmp_path / "truth")


def test_void_everywhere_is_refused(tmp_path, refused):
    (tmp_path / "truth").mkdir()
    Image.new("L", (SIDE, SIDE), 255).save(tmp_path / "truth" / "a.png")
    said = refused(tmp_path / "truth", "--mask-value", "1")
    assert "truth a.png: every pixel is marked ignore" in said


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "a.png: 0 bytes"),
        (b"\x89PNG\r\n\x1a\n cut", "a.png: is damaged"),
        (b"GIF no picture", "a.png: is not a readable image"),
    ],
)
def test_broken_mask_files_are_one_line_and_exit_4(tmp_path, refused, data, words):
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "a.png").write_bytes(data)
    assert words in refused(tmp_path / "truth")


def test_an_empty_folder_and_a_missing_one_are_told_apart(tmp_path, refused):
    (tmp_path / "truth").mkdir()
    assert "truth: an empty folder" in refused(tmp_path / "truth")
    assert "nowhere: no such file or folder" in refused(tmp_path / "nowhere")


def test_a_polygon_that_only_touches_itself_is_read(tmp_path):
    """Two squares that meet in one corner: what is inside is beyond doubt."""
    ring = [[4, 4], [12, 4], [12, 12], [20, 12], [20, 20], [12, 20], [12, 12], [4, 12]]
    (tmp_path / "t.json").write_bytes(coco(ring))
    mask = np.zeros((SIDE, SIDE), bool)
    mask[4:12, 4:12] = mask[12:20, 12:20] = True
    (tmp_path / "pred").mkdir()
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "pred" / "a.png")
    words = ["validate", "--truth", str(tmp_path / "t.json"), "--pred", str(tmp_path / "pred")]
    result = CliRunner().invoke(cli, [*words, "--min-miou", "1"])
    assert result.exit_code == 0, result.output
