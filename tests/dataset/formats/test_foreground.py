"""Colours at a soft edge: a composite of known object and background comes apart again."""

import numpy as np
import pytest

from l4f_datagen.dataset.formats.foreground import foreground_rgb


def known_composite(side):
    """Object and background of slowly changing colours, soft alpha of a disc, and their mix."""
    y, x = np.mgrid[:side, :side] / side
    distance = np.hypot(x - 0.5, y - 0.5)
    alpha = np.clip((0.3 - distance) * 16, 0, 1).astype(np.float32)
    true = np.dstack([200 + 40 * x, 60 + 60 * y, 30 + 20 * x])
    ground = np.dstack([30 + 60 * y, 150 + 60 * x, 120 + 60 * y])
    image = np.rint(alpha[..., None] * true + (1 - alpha[..., None]) * ground).astype(np.uint8)
    return image, alpha, true


@pytest.mark.parametrize("side", [64, 256])
def test_the_error_of_colours_falls_where_object_and_background_mix(side):
    image, alpha, true = known_composite(side)
    found = foreground_rgb(image, alpha)
    assert (found.shape, found.dtype) == ((side, side, 3), np.uint8)
    mixed = (alpha > 0.05) & (alpha < 0.95)
    before = np.abs(image[mixed] - true[mixed]).mean()
    assert np.abs(found[mixed] - true[mixed]).mean() < before / 20
    # Over black: what a viewer sees as a rim.
    weight = alpha[mixed][:, None]
    assert np.abs(weight * (found[mixed] - true[mixed])).max() < 12
    np.testing.assert_array_equal(found[alpha == 1], image[alpha == 1])


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_an_empty_and_a_full_matte_keep_the_image(level):
    image, alpha, _ = known_composite(32)
    np.testing.assert_array_equal(foreground_rgb(image, np.full_like(alpha, level)), image)
