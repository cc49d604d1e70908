import numpy as np
import pytest

from l4f_datagen.benchmark.baselines.colours import (
    background_groups,
    border,
    gmm_masks,
    otsu_masks,
)

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


@pytest.mark.parametrize("masks_of", [otsu_masks, gmm_masks])
def test_easy_images_are_split(masks_of):
    images, masks = discs()
    found = masks_of(images)
    assert (found & masks).sum() / (found | masks).sum() > 0.95
    np.testing.assert_array_equal(found, masks_of(images))


@pytest.mark.parametrize("masks_of", [otsu_masks, gmm_masks])
def test_a_flat_image_has_no_object(masks_of):
    assert not masks_of(np.full((1, 16, 16, 3), 80, np.uint8)).any()


def test_the_border_is_a_frame():
    edge = border((6, 8))
    assert edge.sum() == 6 * 8 - 2 * 4
    assert not edge[2:-2, 2:-2].any()


def test_groups_at_the_border_are_background():
    labels = np.zeros((2, 12, 12), int)
    labels[:, 4:8, 4:8] = 1  # never at the border
    labels[:, :, :3] = 2  # a strip along one side
    assert background_groups(labels, 4).tolist() == [True, False, True, False]
