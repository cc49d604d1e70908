import numpy as np
import pycocotools.mask as coco_mask
import pytest
from scipy import ndimage

from l4f_datagen.core.masks import area_px, bbox_xywh, mask_to_rle
from l4f_datagen.dataset.formats.instances import find_instances
from l4f_datagen.recipe import OutputPart

RLE, POLYGON = OutputPart(), OutputPart(coco_segmentation="polygon")
COMPONENTS = OutputPart(coco_segmentation="polygon", instances="components")


def blobs(number, shape=(23, 31)):
    rng = np.random.RandomState(0)
    return [ndimage.gaussian_filter(rng.randn(*shape), 1.5) > 0.1 for _ in range(number)]


def decoded(rle):
    return coco_mask.decode(rle).astype(bool)


def test_each_is_measured_as_if_alone():
    masks = [*blobs(5), np.ones((23, 31), np.bool_)]
    for mask, [instance] in zip(masks, find_instances(masks, RLE), strict=True):
        assert instance.rle == mask_to_rle(mask)
        assert instance.area_px == area_px(mask)
        assert instance.bbox_xywh == bbox_xywh(mask)
        assert (instance.outlines, instance.num_holes) == ((), 0)


def test_an_empty_mask_has_none():
    empty = np.zeros((23, 31), np.bool_)
    [first] = blobs(1)
    assert [len(found) for found in find_instances([empty, first, empty], COMPONENTS)][::2] == [
        0,
        0,
    ]
    assert find_instances([empty], RLE) == [()]
    assert find_instances([], RLE) == []


def test_components_share_out_the_mask():
    [mask] = blobs(1)
    [found] = find_instances([mask], COMPONENTS)
    count = ndimage.label(mask, np.ones((3, 3)))[1]
    assert len(found) == count > 3
    assert sum(instance.area_px for instance in found) == area_px(mask)
    assert (sum(decoded(instance.rle).astype(int) for instance in found) == mask).all()
    assert all(len(instance.outlines) == 1 for instance in found)


def test_holes_are_counted():
    ring = np.ones((9, 9), np.bool_)
    ring[3:5, 3:5] = ring[6, 6] = False
    [[instance]] = find_instances([ring], POLYGON)
    assert (len(instance.outlines), instance.num_holes) == (1, 2)


def test_more_than_a_byte_of_them():
    dots = np.zeros((64, 64), np.bool_)
    dots[::2, ::2] = True
    [found] = find_instances([dots], COMPONENTS)
    assert len(found) == 32 * 32
    assert {instance.area_px for instance in found} == {1}
    assert found[33].bbox_xywh == (2, 2, 1, 1)


@pytest.mark.parametrize("output", [POLYGON, COMPONENTS])
def test_outlines_rasterise_exactly(output):
    for mask in blobs(4):
        [found] = find_instances([mask], output)
        drawn = np.zeros_like(mask)
        for instance in found:
            polygons = [ring.points_xy.ravel().astype(float).tolist() for ring in instance.outlines]
            drawn |= decoded(coco_mask.merge(coco_mask.frPyObjects(polygons, *mask.shape)))
        np.testing.assert_array_equal(drawn, ndimage.binary_fill_holes(mask))
