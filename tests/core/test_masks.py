import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from l4f_datagen.annotations.drawing import decode_coco_rle
from l4f_datagen.core import masks

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # busy machines
SMALL = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))


def picture(text):
    return np.array([[cell == "#" for cell in line] for line in text.split()])


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9, np.float64(0.9)])
def test_threshold_is_strict_and_the_same_for_numpy_and_torch(threshold):
    around = np.nextafter(np.float32(threshold), np.float32([-1, 2]), dtype=np.float32)
    if threshold == 0:  # the next numbers are denormals, which a process may have switched off
        around = np.finfo(np.float32).tiny * np.float32([-1, 1])
    alpha = np.array([[around[0], np.float32(threshold), around[1]]], np.float32)
    mask, in_torch = (masks.alpha_to_mask(a, threshold) for a in (alpha, torch.from_numpy(alpha)))
    assert (mask.dtype, in_torch.dtype) == (np.bool_, torch.bool)
    assert mask.tolist() == in_torch.tolist() == [[False, False, True]]


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
def test_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(ValueError, match="mask_threshold: expected 0 <= threshold < 1, got"):
        masks.alpha_to_mask(np.zeros((2, 2), np.float32), threshold)


@PATIENT
@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, max_side=7)))
def test_instances_agree_with_a_plain_count_and_with_pycocotools(stack):
    filled = [mask for mask in stack if mask.any()]
    found = masks.measure_instances(filled, outlined=False)
    for mask, instance in zip(filled, found, strict=True):
        rows, columns = np.nonzero(mask)
        x, y, width, height = instance.bbox_xywh
        assert (y, x) == (rows.min(), columns.min())
        assert (y + height, x + width) == (rows.max() + 1, columns.max() + 1)
        assert instance.area_px == len(rows) == round(masks.coverage(mask) * mask.size)
        assert instance.rle == masks.mask_to_rle(mask)
        assert instance.bbox_xywh == tuple(coco_mask.toBbox(instance.rle))
        assert instance.area_px == coco_mask.area(instance.rle)
        assert (instance.outlines, instance.num_holes) == ((), 0)


def flood_fill(mask):
    """Areas of the 8-connected parts, by a plain flood."""
    left, areas = {(int(y), int(x)) for y, x in np.argwhere(mask)}, []
    while left:
        edge, area = [left.pop()], 0
        while edge:
            y, x = edge.pop()
            area += 1
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge += near
        areas.append(area)
    return areas


@PATIENT
@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, max_side=7)))
def test_components_of_many_masks_agree_with_a_flood(stack):
    areas = [flood_fill(mask) for mask in stack]
    num_components, largest_share = masks.count_components(stack)
    assert num_components.tolist() == [len(each) for each in areas]
    shares = [max(each, default=0) / max(sum(each), 1) for each in areas]
    np.testing.assert_allclose(largest_share, shares)


@pytest.mark.parametrize(
    ("change", "text", "changed"),
    [
        (masks.largest_component, "... ...", "... ..."),
        (masks.largest_component, "#.# ..#", "..# ..#"),
        (masks.largest_component, "#.. .#. ... ..#", "#.. .#. ... ..."),  # corners connect
        (masks.largest_component, "#.# #.#", "#.. #.."),  # of equals the first
        (masks.largest_component, "###", "###"),
        (masks.fill_holes, "### #.# ###", "### ### ###"),
        (masks.fill_holes, ".#. #.# .#.", ".#. ### .#."),  # no 4-connected way out
        (masks.fill_holes, "#.# #.# ###", "#.# #.# ###"),
        (masks.fill_holes, "... ... ...", "... ... ..."),
        (
            masks.edge_pixels,
            "...... .####. .####. .####. ......",
            "...... .####. .#..#. .####. ......",
        ),
        (masks.edge_pixels, "### ### ..#", "... ##. ..#"),  # the border is no edge
    ],
)
def test_changes(change, text, changed):
    mask = picture(text)
    np.testing.assert_array_equal(change(mask), picture(changed))
    np.testing.assert_array_equal(mask, picture(text))


def test_border():
    contacts = {"... .#. ...": 0.0, "#.. .#. ...": 1 / 8, "### ### ###": 1.0}
    contacts |= {"....# ..... .....": 1 / 12, "#.#": 2 / 3}  # of a single row every pixel
    for text, contact in contacts.items():
        stack = np.stack([picture(text)] * 2)
        assert masks.border_contacts(stack) == pytest.approx([contact] * 2)


DECODE = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@DECODE
@PATIENT
@given(SMALL)
def test_rle_is_what_pycocotools_and_our_reader_decode(mask):
    rle = masks.mask_to_rle(mask)
    assert json.loads(json.dumps(rle)) == rle
    np.testing.assert_array_equal(coco_mask.decode(rle).astype(bool), mask)
    np.testing.assert_array_equal(decode_coco_rle(rle, mask.shape, "test"), mask)


def fill(rings, shape):
    """Even-odd filling: a pixel is inside where a ray to its left crosses an odd count of edges."""
    inside = np.zeros(shape, np.bool_)
    for ring in rings:
        for (x, y), (to_x, to_y) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if x == to_x:
                inside[min(y, to_y) : max(y, to_y), x:] ^= True
    return inside


def doubled_area(ring):
    x, y = ring.astype(int).T
    return int(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


@PATIENT
@given(SMALL)
def test_polygons_are_exact(mask):
    rings = masks.polygons_xy(mask)
    areas = [doubled_area(ring.points_xy) / 2 for ring in rings]
    assert sum(areas) == np.count_nonzero(mask)
    assert [ring.is_hole for ring in rings] == [area < 0 for area in areas]
    assert sum(not ring.is_hole for ring in rings) == len(flood_fill(mask))
    np.testing.assert_array_equal(fill([ring.points_xy for ring in rings], mask.shape), mask)


def test_polygon_of_a_square_with_a_hole():
    rings = masks.polygons_xy(picture("##### #...# #.#.# #...# #####"))
    assert [ring.is_hole for ring in rings] == [False, True, False]
    assert rings[0].points_xy.tolist() == [[5, 0], [5, 5], [0, 5], [0, 0]]
    assert rings[0].points_xy.dtype == np.int32
    assert masks.polygons_xy(np.zeros((4, 4), np.bool_)) == []


@DECODE
def test_pycocotools_fills_an_outer_ring_as_the_mask():
    y, x = np.mgrid[:64, :64]
    mask = (x - 30.2) ** 2 / 400 + (y - 33.7) ** 2 / 150 < 1
    [ring] = masks.polygons_xy(mask)
    encoded = coco_mask.frPyObjects([ring.points_xy.ravel().tolist()], 64, 64)
    np.testing.assert_array_equal(coco_mask.decode(encoded)[:, :, 0].astype(bool), mask)
