"""Masks cut anew by colours: on discs whose true outline is known."""

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from l4f_datagen.training.colour_cut import colour_density, cut_by_colour

SIDE = 48


def disc(radius_px):
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    return torch.from_numpy((x**2 + y**2 < radius_px**2)[None, None])


def photograph(mask, seed=0, noise=0.15):
    """A reddish disc of two tones on greenish ground, noisy."""
    rng = np.random.RandomState(seed)
    tone = torch.from_numpy(rng.uniform(-0.15, 0.15, (1, 1, SIDE, SIDE)).round()).float()
    object_, ground = torch.tensor([0.5, -0.3, -0.2]), torch.tensor([-0.3, 0.3, -0.1])
    image = torch.where(mask, object_[None, :, None, None] + tone, ground[None, :, None, None])
    return image + torch.from_numpy(rng.randn(1, 3, SIDE, SIDE) * noise).float()


def iou(first, second):
    return float((first & second).sum() / (first | second).sum())


@pytest.mark.parametrize("drawn_px", [11, 15], ids=["too small", "too large"])
def test_a_mask_of_the_wrong_size_is_cut_to_the_object(drawn_px):
    truth, drawn = disc(13), disc(drawn_px)
    cut = cut_by_colour(photograph(truth), 0.1 + 0.8 * drawn.float())
    assert iou(drawn, truth) < 0.8
    assert iou(cut > 0.5, truth) > 0.97


def test_only_the_band_around_the_outline_changes():
    truth = disc(13)
    image = photograph(truth)
    image[:, :, :6, :6] = photograph(torch.ones_like(truth))[:, :, :6, :6]  # of its colour, far off
    cut = cut_by_colour(image, disc(11).float())
    assert not (cut[:, :, :6, :6] > 0.5).any()


def test_images_are_cut_each_by_its_own_colours():
    masks = torch.cat([disc(13), disc(10)])
    images = torch.cat([photograph(disc(13), 1), -photograph(disc(10), 2)])
    drawn = torch.cat([disc(12), disc(11)]).float()
    together = cut_by_colour(images, drawn)
    alone = torch.cat([cut_by_colour(images[k : k + 1], drawn[k : k + 1]) for k in range(2)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    assert iou(together > 0.5, masks) > 0.95


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_an_empty_or_full_mask_stays(level):
    alphas = torch.full((1, 1, SIDE, SIDE), level)
    assert torch.equal(cut_by_colour(photograph(disc(13)), alphas), alphas)


def test_an_image_of_one_colour_keeps_its_mask():
    cut = cut_by_colour(torch.zeros(1, 3, SIDE, SIDE), disc(13).float())
    assert iou(cut > 0.5, disc(13)) > 0.97


def test_density_against_scikit_learn():
    rng = np.random.RandomState(0)
    colours = np.concatenate([rng.randn(300, 3) * 0.1 + c for c in (-0.7, -0.2, 0.3, 0.8)])
    found = colour_density(torch.from_numpy(colours.T[None]).float(), torch.ones(1, len(colours)))[
        0
    ].numpy()
    fitted = GaussianMixture(4, random_state=0, reg_covar=4e-4).fit(colours)
    known = fitted.score_samples(colours)
    offset = found - known
    assert np.abs(offset - offset.mean()).mean() < 0.1  # a constant is left out
