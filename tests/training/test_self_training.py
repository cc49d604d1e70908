"""Self-training: a network learns the outline that the colours show."""

import numpy as np
import pytest
import torch
from skimage.filters import threshold_otsu

from l4f_datagen.training import self_training
from l4f_datagen.training.self_training import (
    centred,
    corrected_masks,
    parting_level,
    self_train,
)
from l4f_datagen.training.state import build_alpha


def build(generator, part):
    torch.manual_seed(0)
    return build_alpha(part, generator).eval().requires_grad_(False)


def test_it_is_a_function_of_seed_and_network(make_generator, make_part, monkeypatch):
    monkeypatch.setattr(self_training, "BATCHES", 2)
    generator, found = make_generator(), []
    for seed in (3, 3, 4):
        part = make_part(batch=2, seed=seed)
        network = build(generator, part)
        before = [value.clone() for value in network.parameters()]
        trained, agreements = self_train(network, part, generator, 2)
        assert all(map(torch.equal, before, network.parameters()))
        assert len(agreements) == 2
        assert all(0 <= value <= 1 for value in agreements)
        assert not trained.training
        assert not any(p.requires_grad for p in trained.parameters())
        found.append(torch.cat([p.flatten() for p in trained.parameters()]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_the_network_learns_the_cuts(make_generator, make_part, monkeypatch):
    """The cut is a level of the first network's alpha here: a function that it can learn."""
    generator, part = make_generator(), make_part(batch=4)

    def above_the_mean(images, alphas, *, soft=False):
        return (alphas > alphas.mean()).float()

    monkeypatch.setattr(self_training, "corrected_masks", above_the_mean)
    network = build(generator, part)
    result, _ = self_train(network, part, generator, 3)
    images, features = self_training._render(part, generator, np.random.RandomState(99))
    with torch.no_grad():
        wanted = above_the_mean(images, network(features))
        errors = [float((net(features) - wanted).abs().mean()) for net in (network, result)]
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize("soft", [True, False])
def test_large_images_are_corrected_small(monkeypatch, soft):
    sides = []

    def correct(images, alphas):
        sides.append(images.shape[-1])
        assert -0.5 < float(images.min()) + (0 if soft else 1) < 0.5
        return alphas

    monkeypatch.setattr(self_training, "with_colours" if soft else "cut_by_colour", correct)
    for side in (64, 256):
        alphas, images = torch.zeros(1, 1, side, side), torch.zeros(1, 3, side, side)
        alphas[:, :, side // 4 : side // 2, side // 4 : side // 2] = 0.9
        images[:, :, : side // 2] = -1
        targets = corrected_masks(images, alphas, soft=soft)
        assert targets.shape == alphas.shape
        assert ((targets > 0.5) == (alphas > 0.5)).all()
        assert float(targets.max()) == 1
    assert sides == [64, 128]


@pytest.mark.parametrize(("start", "stop"), [(22, 42), (14, 50)], ids=["too small", "too large"])
def test_soft_mattes_of_the_wrong_size_are_corrected_by_colours(start, stop):
    truth, drawn = torch.zeros(2, 1, 1, 64, 64)
    truth[:, :, 20:44, 20:44] = 1
    drawn[:, :, start:stop, start:stop] = 1
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.05
    masks = corrected_masks(truth - 0.5 + noise, 0.4 + 0.2 * drawn, soft=True) > 0.5
    both, either = masks & (truth > 0.5), masks | (truth > 0.5)
    assert float(both.sum() / either.sum()) > 0.95


def test_the_parting_level_is_otsus():
    rng = np.random.default_rng(0)
    for low, high, share in ((0.6, 0.9, 0.3), (0.45, 0.55, 0.5), (0.1, 0.8, 0.05)):
        large = rng.normal(high, 0.03, int(4000 * share))
        alphas = np.concatenate([rng.normal(low, 0.03, 4000 - len(large)), large]).clip(0, 1)
        alphas = alphas.astype(np.float32).reshape(4, 1, 25, 40)
        found = parting_level(torch.from_numpy(alphas))
        known = threshold_otsu(alphas, nbins=256)
        assert ((alphas > found) == (alphas > known)).mean() > 0.995
    for level in (0.0, 0.3, 1.0):  # one level alone has no parting
        assert parting_level(torch.full((1, 1, 4, 4), level)) == 0.5


def test_a_full_matte_is_centred_and_keeps_its_order(make_generator, make_part):
    """As after the adversarial steps: all of the image above 0.5, the object most."""
    generator, part = make_generator(), make_part(batch=4)
    network = build(generator, part)
    network.out.weight *= 20
    network.out.bias += 2
    moved = centred(network, part, generator)
    _, features = self_training._render(part, generator, np.random.RandomState(5))
    before, after = network.logits(features).flatten(), moved.logits(features).flatten()
    torch.testing.assert_close(after - before, (after - before).mean().expand_as(after))
    assert float((after - before).mean()) < 0
    known = threshold_otsu(torch.sigmoid(before).numpy())
    agreed = (torch.sigmoid(before) > float(known)) == (after > 0)
    assert float(agreed.float().mean()) > 0.9
    assert network.out.bias != moved.out.bias
