import numpy as np
import pytest
from pycocotools import mask as coco_mask

from l4f_datagen.annotations.rle import coco_string_runs, decode_coco_rle, runs_to_mask
from l4f_datagen.core.errors import AnnotationRefused


def random_mask(seed: int):
    random = np.random.RandomState(seed)
    height, width = random.randint(1, 60, 2)
    return random.rand(height, width) < random.rand()


@pytest.mark.parametrize("seed", range(40))
def test_compressed_strings_decode_as_pycocotools_wrote_them(seed):
    mask = random_mask(seed)
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    record = {"size": rle["size"], "counts": rle["counts"].decode("ascii")}
    np.testing.assert_array_equal(decode_coco_rle(record, mask.shape, "r"), mask)


def test_long_runs_and_negative_differences_survive():
    mask = np.zeros((3000, 2000), bool)
    mask[5:2900:3, 7] = True
    mask[:, 900:1700] = True
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    record = {"size": rle["size"], "counts": rle["counts"].decode("ascii")}
    np.testing.assert_array_equal(decode_coco_rle(record, None, "r"), mask)


@pytest.mark.parametrize("seed", range(10))
def test_lists_run_down_the_columns_for_coco_and_along_the_rows_for_cvat(seed):
    mask = random_mask(seed)
    for order in "FC":
        flat = mask.ravel(order)
        edges = np.flatnonzero(np.diff(np.concatenate(([False], flat)))) if flat.size else []
        runs = np.diff(np.concatenate(([0], edges, [flat.size]))).astype(np.int64)
        np.testing.assert_array_equal(runs_to_mask(runs, mask.shape, "r", order=order), mask)


@pytest.mark.parametrize(
    ("rle", "match"),
    [
        ({"size": [2, 2], "counts": [1, 2]}, "cover 3 of 2 x 2 = 4 pixels"),
        ({"size": [2, 2], "counts": [5, -1]}, "below 0 or above the image"),
        ({"size": [2, 2], "counts": [1.5, 2.5]}, "not whole numbers"),
        ({"size": [2, 2], "counts": [True, 3]}, "not whole numbers"),
        ({"size": [2, 2], "counts": []}, "no run lengths"),
        ({"size": [2, 2], "counts": None}, "no run lengths"),
        ({"size": [2, 2], "counts": ""}, "cut or holds foreign"),
        ({"size": [2, 2], "counts": "\n"}, "cut or holds foreign"),
        ({"size": [2, 2], "counts": "4P"}, "cut or holds foreign"),
        ({"size": [2, 2], "counts": "é"}, "cut or holds foreign"),
        ({"size": [2, 2], "counts": "PPPPPPPP0"}, "a run length above the image"),
        ({"size": [2, 2], "counts": "5"}, "below 0 or above|cover 5 of"),
        ({"size": [3, 2], "counts": [6]}, "RLE of 2 x 3 pixels on an image of 2 x 2"),
        ({"size": [2], "counts": [4]}, "no .height, width."),
        ({"size": [2, "2"], "counts": [4]}, "must be whole numbers"),
        ({"size": [1 << 14, 1 << 14], "counts": [1 << 28]}, "16384 x 16384 pixels"),
    ],
)
def test_malformed_rle_is_refused_with_its_record(rle, match):
    with pytest.raises(AnnotationRefused, match=f"file annotation 7: .*({match})"):
        decode_coco_rle(rle, (2, 2), "file annotation 7")


def test_a_string_of_continuations_never_reads_beyond_its_end():
    with pytest.raises(AnnotationRefused, match="cut"):
        coco_string_runs("o" * 100, "r")
