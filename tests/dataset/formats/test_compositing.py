from dataclasses import replace

import numpy as np
import pytest

from l4f_datagen.dataset.formats.compositing import composite_rgb, cutout_rgba


def test_a_composite_mixes_by_the_soft_matte(discs):
    sample = discs.make_disc(1)
    background = np.random.RandomState(0).randint(0, 256, (16, 16, 3)).astype(np.uint8)
    alpha = sample.alpha.astype(np.float64)[:, :, None]
    exact = alpha * sample.image + (1 - alpha) * background
    mixed = composite_rgb(sample, background)
    assert mixed.dtype == np.uint8
    assert np.abs(mixed - exact).max() <= 0.5 + 1e-4
    assert ((alpha > 0) & (alpha < 1)).sum() > 0


def test_a_cutout_keeps_colours_where_it_is_transparent(discs):
    sample = discs.make_disc(1)
    rgba = cutout_rgba(sample)
    assert (rgba.shape, rgba.dtype) == ((16, 16, 4), np.uint8)
    np.testing.assert_array_equal(rgba[..., :3], sample.image)
    np.testing.assert_array_equal(rgba[..., 3], np.rint(sample.alpha * 255))
    assert rgba[0, 0, 3] == 0 < rgba[0, 0, :3].max()


@pytest.mark.parametrize(
    "background", [np.zeros((16, 15, 3), np.uint8), np.zeros((16, 16, 3), np.float32)]
)
def test_other_backgrounds_are_refused(discs, background):
    with pytest.raises(ValueError, match=r"seed0000001: expected background uint8 \(16, 16, 3\), "):
        composite_rgb(replace(discs.make_disc(1)), background)
