import json

import numpy as np
import pytest
import torch

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.models.unet import to_tensor
from l4f_datagen.segmenter.augmentation import Augmentation
from l4f_datagen.segmenter.training import (
    Arrays,
    Plan,
    new_training,
    places_of,
    predict,
    train,
    train_segmenter,
    train_step,
)

STILL = Augmentation(0.0, 0.0, (1.0, 1.0), 0.0, (1.0, 1.0), 0.0, 0.0, 0.0)


def small(**changes):
    return Plan(**{"steps": 12, "batch": 4, "width": 3, "depth": 3, **changes})


def weights(training):
    return {name: value.clone() for name, value in training.network.state_dict().items()}


def test_every_epoch_shows_every_sample_once():
    plan = small(batch=3)
    seen = np.concatenate([places_of(plan, step, 7) for step in range(7)])
    for epoch in range(3):
        assert sorted(seen[epoch * 7 : epoch * 7 + 7]) == list(range(7))
    assert not np.array_equal(seen[:7], seen[7:14])
    assert not np.array_equal(seen[:3], places_of(small(batch=3, seed=1), 0, 7))


def test_a_batch_may_be_larger_than_the_set():
    assert sorted(places_of(small(batch=6), 0, 2)) == [0, 0, 0, 1, 1, 1]


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


def test_a_resumed_training_goes_on_bit_for_bit(make_arrays, tmp_path):
    samples, plan = make_arrays(), small()
    whole = new_training(plan)
    losses = []
    train(whole, plan, samples, lambda training, loss: losses.append(loss))

    class Stopped(Exception):
        pass

    def stop(training, loss):
        if training.step == 5:
            training.save(tmp_path / "state.pt")
        if training.step == 7:
            raise Stopped

    with pytest.raises(Stopped):
        train(new_training(plan), plan, samples, stop)
    resumed = new_training(plan)
    resumed.load(tmp_path / "state.pt")
    assert resumed.step == 5
    rest = []
    train(resumed, plan, samples, lambda training, loss: rest.append(loss))
    assert rest == losses[5:]
    for name, value in weights(whole).items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_seeds_give_other_networks_and_leave_the_global_stream_alone():
    before = torch.get_rng_state()
    one, again, other = (weights(new_training(small(seed=seed))) for seed in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(before, torch.get_rng_state())


def test_a_damaged_state_is_refused(tmp_path):
    (tmp_path / "state.pt").write_bytes(b"no state")
    with pytest.raises(UsageError, match="is not a training state of this segmenter"):
        new_training(small()).load(tmp_path / "state.pt")


def test_a_state_of_another_network_is_refused(tmp_path):
    new_training(small(width=4)).save(tmp_path / "state.pt")
    with pytest.raises(UsageError, match=r"not a training state .*RuntimeError.*remove the file"):
        new_training(small()).load(tmp_path / "state.pt")


def test_a_loss_that_is_not_finite_stops_the_training(make_arrays):
    training, samples = new_training(small()), make_arrays(4)
    torch.nn.init.constant_(training.network.out.weight, float("nan"))
    with pytest.raises(L4FError, match="the loss is nan at step 1; give another --seed"):
        train_step(training, small(), samples.batch(np.arange(4)))


def test_pixels_outside_the_image_do_not_count():
    """Made smaller by half, the frame is three quarters padding: the loss must not see it."""
    half = Augmentation(0.0, 1.0, (0.5, 0.5), 0.0, (1.0, 1.0), 0.0, 0.0, 0.0)
    plan = small(augmentation=half)
    training = new_training(plan)
    torch.nn.init.zeros_(training.network.out.weight)
    torch.nn.init.constant_(training.network.out.bias, 2.0)
    white = np.full((2, 16, 16), 1, np.float32)
    loss = train_step(training, plan, (np.zeros((2, 16, 16, 3), np.uint8), white))
    assert loss == pytest.approx(np.log1p(np.exp(-2.0)), rel=1e-5)


def test_bytes_become_floats_from_minus_one_to_one():
    pixels = np.array([[[[0, 128, 255]]]], np.uint8)
    assert to_tensor(pixels).shape == (1, 3, 1, 1)
    assert to_tensor(pixels)[0, :, 0, 0].tolist() == pytest.approx([-1, 1 / 255, 1], abs=1e-6)


def test_arrays_in_one_call(make_arrays):
    samples = make_arrays(4)
    network = train_segmenter(samples.images, samples.alphas, seed=0, steps=2, batch=2, width=2)
    found = predict(network, samples.images, batch=3)
    assert found.shape == (4, 16, 16)
    assert found.dtype == np.float32
    assert not network.training


def test_a_plan_is_plain_data():
    from dataclasses import asdict

    assert json.loads(json.dumps(asdict(Plan())))["steps"] == 1000
    assert len(Arrays(np.zeros((3, 8, 8, 3), np.uint8), np.zeros((3, 8, 8), np.float32))) == 3
