from dataclasses import replace

import numpy as np
import pytest
import torch

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.segmenter.training import (
    Augmentation,
    Plan,
    augment,
    new_training,
    places_of,
    predict,
    train,
    train_step,
)

STILL = Augmentation("none", 0.0, (1.0, 1.0), 0.0, (1.0, 1.0), 0.0, 0.0, 0.0)


def small(**changes):
    return Plan(**{"steps": 12, "batch": 4, "width": 3, "depth": 3, **changes})


def stream(seed=0):
    return np.random.RandomState(seed)


def picture(batch=6, size=16):
    """Noise whose red channel is its alpha: what moves one must move the other."""
    draw = torch.Generator().manual_seed(1)
    alpha = (torch.rand(batch, 1, size, size, generator=draw) > 0.5).float()
    image = torch.rand(batch, 3, size, size, generator=draw)
    image[:, :1] = alpha
    return image, alpha


def changed(image, alpha, **how):
    """Image, alpha and weight where nothing but this is asked for."""
    return augment(image, alpha, stream(), replace(STILL, **how))


def test_every_epoch_shows_every_sample_once():
    assert sorted(places_of(small(batch=6), 0, 2)) == [0, 0, 0, 1, 1, 1]  # more than there are
    plan = small(batch=3)
    seen = np.concatenate([places_of(plan, step, 7) for step in range(7)])
    for epoch in range(3):
        assert sorted(seen[epoch * 7 : epoch * 7 + 7]) == list(range(7))
    assert not np.array_equal(seen[:7], seen[7:14])
    assert not np.array_equal(seen[:3], places_of(small(batch=3, seed=1), 0, 7))


def test_the_learning_rate_rises_for_a_fifth_and_falls_to_almost_nothing():
    plan = small(steps=100, learning_rate=0.01)
    rates = [plan.learning_rate_at(step) for step in range(100)]
    assert int(np.argmax(rates)) in (18, 19, 20)
    assert max(rates) == pytest.approx(0.01, rel=1e-3)
    assert np.all(np.diff(rates[:19]) > 0)
    assert np.all(np.diff(rates[20:]) < 0)
    assert 0 < rates[-1] < 1e-4


def test_it_overfits_a_trivial_set_and_the_loss_falls(make_arrays):
    samples = make_arrays()
    plan = small(steps=60, batch=8, width=4, learning_rate=0.05, augmentation=STILL)
    losses = []
    network = train(new_training(plan), plan, samples, lambda training, loss: losses.append(loss))
    assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:5])
    found = predict(network, samples.images) > 0.5
    assert (found == (samples.alphas > 0.5)).mean() > 0.99
    assert not network.training


def test_seeds_give_other_networks_and_leave_the_global_stream_alone():
    before = torch.get_rng_state()
    nets = (new_training(small(seed=seed)).network for seed in (1, 1, 2))
    one, again, other = (net.state_dict() for net in nets)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(before, torch.get_rng_state())


def test_a_state_that_is_damaged_or_of_another_network_is_refused(tmp_path):
    path = tmp_path / "state.pt"
    path.write_bytes(b"no state")
    with pytest.raises(UsageError, match="is not a training state of this segmenter"):
        new_training(small()).load(path)
    new_training(small(width=4)).save(path)
    with pytest.raises(UsageError, match=r"not a training state .*RuntimeError.*remove the file"):
        new_training(small()).load(path)


def test_a_loss_that_is_not_finite_stops_the_training(make_arrays):
    training, samples = new_training(small()), make_arrays(4)
    torch.nn.init.constant_(training.network.out.weight, float("nan"))
    with pytest.raises(L4FError, match="the loss is nan at step 1; give another --seed"):
        train_step(training, small(), samples.batch(np.arange(4)))


def test_pixels_outside_the_image_do_not_count():
    """Made smaller by half, the frame is three quarters padding: the loss must not see it."""
    half = Augmentation("none", 1.0, (0.5, 0.5), 0.0, (1.0, 1.0), 0.0, 0.0, 0.0)
    plan = small(augmentation=half)
    training = new_training(plan)
    torch.nn.init.zeros_(training.network.out.weight)
    torch.nn.init.constant_(training.network.out.bias, 2.0)
    white = np.full((2, 16, 16), 1, np.float32)
    loss = train_step(training, plan, (np.zeros((2, 16, 16, 3), np.uint8), white))
    assert loss == pytest.approx(np.log1p(np.exp(-2.0)), rel=1e-5)


def test_nothing_asked_for_changes_nothing_and_the_stream_alone_decides():
    image, alpha = picture()
    same, unmoved, weight = changed(image, alpha)
    torch.testing.assert_close(same, image, atol=1e-5, rtol=0)
    torch.testing.assert_close(unmoved, alpha, atol=1e-5, rtol=0)
    assert (weight == 1).all()
    one, again, other = (augment(image, alpha, stream(k), Augmentation())[0] for k in (5, 5, 6))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_alpha_goes_where_the_image_goes():
    image, alpha = picture(batch=32)
    placed, moved, weight = changed(
        image, alpha, symmetry="mirror", moved=1.0, zoom=(0.75, 1.35), shift=0.08
    )
    torch.testing.assert_close(placed[:, :1], moved, atol=1e-5, rtol=0)
    assert not torch.equal(moved, alpha)
    assert set(weight.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("symmetry", "height", "allowed"),
    [("none", 16, 1), ("mirror", 16, 2), ("square", 16, 8), ("square", 8, 4)],
)
def test_turns_and_flips_are_exact_and_as_many_as_the_symmetry_allows(symmetry, height, allowed):
    image, alpha = (plane[:, :, :height] for plane in picture(batch=64))
    _, moved, weight = changed(image, alpha, symmetry=symmetry)
    assert (weight == 1).all()
    found = []
    for one, before in zip(moved[:, 0], alpha[:, 0], strict=True):
        forms = [before.rot90(k) for k in range(4)]
        forms += [form.flip(1) for form in forms]
        alike = [form.shape == one.shape and torch.allclose(one, form, atol=1e-4) for form in forms]
        assert sum(alike) == 1
        found.append(alike.index(True))
    assert len(set(found)) == allowed
    assert min(map(found.count, set(found))) > 1


def test_an_image_made_smaller_has_weight_inside_only():
    _, _, weight = changed(*picture(), moved=1.0, zoom=(0.5, 0.5))
    assert (weight[:, :, 4:12, 4:12] == 1).all()
    assert float(weight.sum()) == 6 * 8 * 8


def test_colours_stay_within_the_asked_range():
    grey = torch.full((64, 4, 2, 2), 0.5)
    found = changed(grey[:, :3], grey[:, 3:], gain=(0.8, 1.2), lift=0.1)[0]
    assert 0.3 <= float(found.min()) < 0.35
    assert 0.65 < float(found.max()) <= 0.7
    assert (found[:, :, 0, 0] == found[:, :, 1, 1]).all()
    assert (found[:, 0] != found[:, 1]).any()


def test_softening_lowers_contrast_and_keeps_the_mean():
    image, alpha = picture()
    soft = changed(image, alpha, blurred=1.0)[0]
    assert float(soft.std()) < 0.6 * float(image.std())
    assert float(soft.mean()) == pytest.approx(float(image.mean()), abs=0.03)


def test_grain_has_at_most_the_asked_strength():
    black = torch.zeros(16, 4, 32, 32)
    spread = changed(black[:, :3], black[:, 3:], grain=0.1)[0].std(dim=(1, 2, 3))
    assert 0.05 < float(spread.max()) < 0.11
    assert float(spread.min()) < 0.05
