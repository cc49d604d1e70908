"""Masks cut anew by colours: on discs whose true outline is known."""

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from l4f_datagen.training import colour_cut
from l4f_datagen.training.colour_cut import cut_by_colour, fit_colours, ground_density

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


def test_a_rim_that_the_matte_is_unsure_of_is_no_ground(monkeypatch):
    """A disc whose rim lies between the colours of its middle and of the ground."""
    truth, middle = disc(16), disc(12)
    rim = truth & ~middle
    tones = ((0.7, -0.5, -0.4), (0.2, -0.05, -0.2), (-0.3, 0.4, 0.0))
    image = 0.15 * torch.from_numpy(np.random.RandomState(0).randn(1, 3, SIDE, SIDE))
    for part, tone in zip((middle, rim, ~truth), tones, strict=True):
        image = image + part * torch.tensor(tone)[None, :, None, None]
    alpha = torch.where(rim, 0.45, 0.1 + 0.8 * middle.float())
    assert iou(cut_by_colour(image, alpha) > 0.5, truth) > 0.98
    monkeypatch.setattr(colour_cut, "BAND_AS_GROUND", 1.0)
    assert iou(cut_by_colour(image, alpha) > 0.5, truth) < 0.6


def test_only_the_band_around_the_outline_changes():
    truth = disc(13)
    image = photograph(truth)
    image[:, :, :6, :6] = photograph(torch.ones_like(truth))[:, :, :6, :6]  # of its colour, far off
    assert not (cut_by_colour(image, disc(11).float())[:, :, :6, :6] > 0.5).any()


def test_images_are_cut_each_by_its_own_colours():
    images = torch.cat([photograph(disc(13), 1), -photograph(disc(10), 2)])
    drawn = torch.cat([disc(12), disc(11)]).float()
    together = cut_by_colour(images, drawn)
    alone = torch.cat([cut_by_colour(images[k : k + 1], drawn[k : k + 1]) for k in range(2)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    assert iou(together > 0.5, torch.cat([disc(13), disc(10)])) > 0.95


def test_where_colours_tell_nothing_the_mask_stays():
    for level in (0.0, 1.0):
        alphas = torch.full((1, 1, SIDE, SIDE), level)
        assert torch.equal(cut_by_colour(photograph(disc(13)), alphas), alphas)
    cut = cut_by_colour(torch.zeros(1, 3, SIDE, SIDE), disc(13).float())
    assert iou(cut > 0.5, disc(13)) > 0.97


def test_density_against_scikit_learn():
    rng = np.random.RandomState(0)
    colours = np.concatenate([rng.randn(300, 3) * 0.1 + c for c in (-0.7, -0.2, 0.3, 0.8)])
    planes = torch.from_numpy(colours.T[None]).float()
    found = fit_colours(planes, torch.ones(1, len(colours))).density(planes)[0].numpy()
    fitted = GaussianMixture(4, random_state=0, reg_covar=4e-4).fit(colours)
    offset = found - fitted.score_samples(colours)
    assert np.abs(offset - offset.mean()).mean() < 0.1  # a constant is left out


def test_ground_has_shadows_and_still_is_a_density():
    """Integrated over a grid of colours it gives what the plain mixture gives."""
    ground = torch.tensor([0.4, 0.1, -0.1])
    colours = (ground + 0.05 * torch.randn(400, 3, generator=torch.Generator().manual_seed(0))).T
    mixture = fit_colours(colours[None], torch.ones(1, 400))
    axis = torch.linspace(-1.2, 1.2, 81)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).reshape(1, 3, -1)
    plain, shaded = mixture.density(grid).exp().sum(), ground_density(mixture, grid).exp().sum()
    assert float(shaded / plain) == pytest.approx(1, rel=0.02)
    dark = (0.65 * (ground + 1) - 1)[None, :, None]
    bluish = torch.tensor([-0.3, -0.2, 0.3])[None, :, None]
    assert ground_density(mixture, dark) > ground_density(mixture, bluish) + 5


def test_an_undecided_shadow_beside_the_object_goes_to_the_ground(monkeypatch):
    truth = disc(13)
    image = photograph(truth, noise=0.05)
    shadow = torch.roll(truth, 3, 3) & ~truth
    image = torch.where(shadow, 0.5 * (image + 1) - 1, image)
    alpha = torch.where(shadow, 0.5, 0.1 + 0.8 * truth.float())
    cut = cut_by_colour(image, alpha) > 0.5
    monkeypatch.setattr(colour_cut, "ground_density", lambda ground, at: ground.density(at))
    without = cut_by_colour(image, alpha) > 0.5
    assert iou(cut, truth) > iou(without, truth) + 0.03
