import numpy as np
import pytest
import torch

from l4f_datagen.segmenter.augmentation import (
    Augmentation,
    add_grain,
    augment,
    move,
    recolour,
    soften,
)

NOTHING = Augmentation(0.0, 0.0, (1.0, 1.0), 0.0, (1.0, 1.0), 0.0, 0.0, 0.0)


def stream(seed=0):
    return np.random.RandomState(seed)


def picture(batch=6, size=16):
    """Noise whose red channel is its alpha: what moves one must move the other."""
    draw = torch.Generator().manual_seed(1)
    alpha = (torch.rand(batch, 1, size, size, generator=draw) > 0.5).float()
    image = torch.rand(batch, 3, size, size, generator=draw)
    image[:, :1] = alpha
    return image, alpha


def test_nothing_asked_for_changes_nothing():
    image, alpha = picture()
    changed, moved, weight = augment(image, alpha, stream(), NOTHING)
    torch.testing.assert_close(changed, image, atol=1e-5, rtol=0)
    torch.testing.assert_close(moved, alpha, atol=1e-5, rtol=0)
    assert (weight == 1).all()


def test_the_stream_alone_decides():
    image, alpha = picture()
    one, again, other = (
        augment(image, alpha, stream(seed), Augmentation())[0] for seed in (5, 5, 6)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_alpha_goes_where_the_image_goes():
    image, alpha = picture(batch=32)
    changed, moved, weight = move(image, alpha, stream(), Augmentation(moved=1.0))
    torch.testing.assert_close(changed[:, :1], moved, atol=1e-5, rtol=0)
    assert not torch.equal(moved, alpha)
    assert set(weight.unique().tolist()) == {0.0, 1.0}


def test_mirroring_is_exact_and_of_single_images():
    image, alpha = picture(batch=32)
    _, moved, _ = move(image, alpha, stream(), Augmentation(mirror=0.5, moved=0.0))
    straight = (moved - alpha).abs().amax((1, 2, 3)) < 1e-4
    mirrored = (moved - alpha.flip(3)).abs().amax((1, 2, 3)) < 1e-4
    assert (straight ^ mirrored).all()
    assert 5 < int(mirrored.sum()) < 27


def test_an_image_made_smaller_has_weight_inside_only():
    image, alpha = picture()
    how = Augmentation(mirror=0.0, moved=1.0, zoom=(0.5, 0.5), shift=0.0)
    _, _, weight = move(image, alpha, stream(), how)
    assert (weight[:, :, 4:12, 4:12] == 1).all()
    assert float(weight.sum()) == 6 * 8 * 8


def test_colours_stay_within_the_asked_range():
    image = torch.full((64, 3, 2, 2), 0.5)
    changed = recolour(image, stream(), Augmentation(gain=(0.8, 1.2), lift=0.1))
    assert 0.3 <= float(changed.min()) < 0.35
    assert 0.65 < float(changed.max()) <= 0.7
    assert (changed[:, :, 0, 0] == changed[:, :, 1, 1]).all()
    assert (changed[:, 0] != changed[:, 1]).any()


def test_softening_lowers_contrast_and_keeps_the_mean():
    image, _ = picture()
    soft = soften(image, stream(), Augmentation(blurred=1.0))
    assert float(soft.std()) < 0.6 * float(image.std())
    assert float(soft.mean()) == pytest.approx(float(image.mean()), abs=0.03)


def test_grain_has_at_most_the_asked_strength():
    noise = add_grain(torch.zeros(16, 3, 32, 32), stream(), Augmentation(grain=0.1))
    spread = noise.std(dim=(1, 2, 3))
    assert 0.05 < float(spread.max()) < 0.11
    assert float(spread.min()) < 0.05
