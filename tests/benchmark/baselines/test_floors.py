import numpy as np
import pytest

from l4f_datagen.benchmark.baselines.floors import colour_gmm_masks, otsu_masks
from l4f_datagen.training.object_size import otsu_threshold

pytest.importorskip("sklearn")


def discs(count=4, side=32):
    """Discs of one colour on noisy ground of another, with their masks."""
    stream = np.random.RandomState(0)
    rows, columns = np.mgrid[:side, :side]
    images, masks = [], []
    for _ in range(count):
        y, x = stream.randint(10, side - 10, 2)
        mask = (rows - y) ** 2 + (columns - x) ** 2 < 49
        ground, paint = stream.randint(0, 90, 3), stream.randint(150, 255, 3)
        image = np.where(mask[..., None], paint, ground) + stream.randint(-8, 9, (side, side, 3))
        images.append(image.clip(0, 255).astype(np.uint8))
        masks.append(mask)
    return np.stack(images), np.stack(masks)


@pytest.mark.parametrize("floor", [otsu_masks, colour_gmm_masks])
def test_easy_pictures_are_split(floor):
    images, masks = discs()
    found = floor(images, seed=1)
    assert (found & masks).sum() / (found | masks).sum() > 0.95
    np.testing.assert_array_equal(found, floor(images, seed=1))


def test_the_librarys_otsu_and_our_own_part_the_same_bins():
    threshold_otsu = pytest.importorskip("skimage.filters").threshold_otsu
    stream = np.random.RandomState(2)
    for share in (0.1, 0.4, 0.7):
        heaps = np.where(stream.rand(4000) < share, stream.randn(4000) + 5, stream.randn(4000))
        values = heaps.astype(np.float32)
        half_bin = np.ptp(values) / 512  # the library names a bin's centre, ours its upper edge
        assert otsu_threshold(values) == pytest.approx(threshold_otsu(values) + half_bin, rel=1e-4)


@pytest.mark.parametrize("floor", [otsu_masks, colour_gmm_masks])
def test_a_flat_picture_has_no_object(floor):
    assert not floor(np.full((1, 16, 16, 3), 80, np.uint8)).any()
