"""Two-sided training: a second discriminator for what is left without the object."""

import copy
import math

import numpy as np
import pytest
import torch

from l4f_datagen.core.errors import UsageError
from l4f_datagen.recipe import TrainingPart
from l4f_datagen.training import loop, losses, self_training, steps
from l4f_datagen.training.balance import (
    TWO_SIDED_PULL,
    TWO_SIDED_WEIGHTS,
    UNCHANGED,
    LossBalance,
    r1_gamma,
    weights_at,
)
from l4f_datagen.training.balance import coverage_range as range_of
from l4f_datagen.training.state import new_state
from l4f_datagen.training.steps import draw_shares, mattes, rest_gradient

TWO_SIDED = {"balance": "two-sided", "batch": 4}


def tensors(state):
    rest = state.rest
    nets = {"alpha": state.alpha, "main": state.discriminator, "rest": rest.network}
    found = {f"{n}.{k}": v.clone() for n, net in nets.items() for k, v in net.state_dict().items()}
    slots = rest.optim.state_dict()["state"].items()
    return found | {f"{k}.{part}": v.clone() for k, one in slots for part, v in one.items()}


def test_the_rest_is_the_image_with_background_in_the_objects_place():
    draw = np.random.RandomState(0)
    fg, bg = draw.uniform(-1, 1, (2, 2, 3, 4, 4))
    alpha = draw.uniform(0, 1, (2, 1, 4, 4))
    whole = alpha * bg + (1 - alpha) * fg
    expected = whole.reshape(2, 3, 2, 2, 2, 2).mean(axis=(3, 5))
    found = losses.rest_image(*(torch.from_numpy(part) for part in (fg, bg, alpha)))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_the_second_discriminator_sees_half_the_side_and_no_border():
    image = torch.ones(1, 3, 64, 64, requires_grad=True)
    seen = losses.seen_as_ground(image)
    assert seen.shape == (1, 3, 32, 32)
    assert (seen[..., 2:-2, 2:-2] == 1).all()
    assert float(seen.detach().sum()) == 3 * 28**2
    seen.sum().backward()
    assert not image.grad[..., :4].any()
    assert image.grad[..., 4:-4, 4:-4].all()


def test_a_resumed_training_ends_bit_for_bit_alike(
    make_trainer, make_generator, make_part, tmp_path
):
    one_attempt = TWO_SIDED | {"min_bg_coverage": 0.2}
    generator, part = make_generator(), make_part(steps=4, **one_attempt)
    whole = make_trainer(part, generator)
    whole.run()
    cut = make_trainer(make_part(steps=2, **one_attempt), generator)
    cut.run()
    cut.state.save(tmp_path / "state.pt")
    resumed = make_trainer(part, generator)
    resumed.state.load(tmp_path / "state.pt")
    resumed.run()
    first, second = tensors(whole.state), tensors(resumed.state)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    facts = resumed.state.recent[-1]
    assert facts.rest_d_loss > 0
    assert facts.rest_realism > 0


def test_a_state_of_one_discriminator_is_refused(make_generator, make_part, tmp_path):
    new_state(make_part(), make_generator()).save(tmp_path / "state.pt")
    state = new_state(make_part(**TWO_SIDED), make_generator())
    with pytest.raises(UsageError, match="not a training state"):
        state.load(tmp_path / "state.pt")


def test_the_gradient_is_that_of_the_second_discriminators_loss(
    make_trainer, make_generator, make_part
):
    trainer = make_trainer(make_part(**TWO_SIDED), make_generator())
    state, config = trainer.state, trainer.part.training
    (share,) = draw_shares(state, trainer.context())
    alpha, images = mattes(state, config, share), share.images

    def loss(matte):
        rest = losses.rest_image(images.fg_image, images.own_bg_image, matte)
        return float(torch.nn.functional.softplus(-state.rest.network(rest)).mean())

    realism, slope = rest_gradient(state, config, share, alpha)
    assert float(realism) == pytest.approx(loss(alpha), rel=1e-5)
    # Along the gradient itself the difference is large enough for float32.
    step = slope / slope.norm() * 1e-2
    difference = (loss(alpha + step) - loss(alpha - step)) / 2
    assert float((slope * step).sum()) == pytest.approx(difference, rel=0.02)


def test_the_hole_is_filled_with_the_images_own_background(make_trainer, make_generator, make_part):
    generator, found = make_generator(), {}
    for shuffled in (False, True):
        part = make_part(**TWO_SIDED).model_copy(update={"background_shuffled": shuffled})
        trainer = make_trainer(part, generator)
        (share,) = draw_shares(trainer.state, trainer.context())
        found[shuffled] = share.images
    assert torch.equal(found[True].own_bg_image, found[False].bg_image)
    assert not torch.equal(found[True].bg_image, found[False].bg_image)


def test_shares_add_up_to_the_joint_batch(make_trainer, make_generator, make_part, monkeypatch):
    monkeypatch.setattr(steps, "GROUP", 1)
    generator, found = make_generator(), []
    for accumulate in (1, 2):
        part = make_part(steps=1, accumulate=accumulate, **(TWO_SIDED | {"batch": 8}))
        trainer = make_trainer(part, generator)
        shares = draw_shares(trainer.state, trainer.context())
        rows = steps.shares_of(8, accumulate)
        bare = torch.empty(8, *shares[0].bare.shape[1:])
        for picked, share in zip(rows, shares, strict=True):
            bare[picked] = share.bare
        found.append(bare)
    torch.testing.assert_close(found[0], found[1])


def test_weights_are_the_measured_setting_and_a_recipes_are_factors(make_generator, make_part):
    plain = {"area_weight": 0.1, "binarization_weight": 0.6}
    part = make_part(**TWO_SIDED, **plain)
    coverage = range_of(part, make_generator())
    assert (coverage.lower, coverage.upper) == (0.05, 0.8)
    weights = weights_at(part.training, coverage, 0, LossBalance(0.4, 1.0), UNCHANGED)
    for name, value in TWO_SIDED_WEIGHTS.items():
        assert getattr(weights, name) == pytest.approx(value)
    assert weights.rest == weights.adversarial == pytest.approx(TWO_SIDED_PULL / 0.4)
    twice = make_part(**TWO_SIDED, **plain | {"area_weight": 0.2}, rest_weight=0.5)
    weights = weights_at(twice.training, coverage, 0, LossBalance(1.0, 1.0), UNCHANGED)
    assert weights.area == pytest.approx(2 * TWO_SIDED_WEIGHTS["area"])
    assert weights.rest == pytest.approx(0.5 * TWO_SIDED_PULL)


def test_r1_is_the_authors_or_grows_with_the_image():
    assert r1_gamma(TrainingPart(balance="fixed"), 64) == 10
    two_sided = TrainingPart(balance="two-sided")
    assert [r1_gamma(two_sided, side) for side in (64, 128, 1024)] == [1, 4, 10]
    assert r1_gamma(TrainingPart(balance="two-sided", r1_gamma=3), 64) == 3


class TestSizeOfTheObject:
    """The first attempt has a wide limit and measures the object; a small one gets another."""

    @pytest.fixture
    def measured(self, monkeypatch):
        def measure(covered):
            for module in (loop, self_training):
                monkeypatch.setattr(module, "parted", lambda *_: (0.7, covered))

        return measure

    def train(self, make_trainer, make_generator, make_part, **more):
        part = make_part(steps=2, self_training=0, **TWO_SIDED, **more)
        trainer, attempts = make_trainer(part, make_generator()), []
        network = trainer.run(lambda state, facts: attempts.append(facts.attempt))
        return trainer, attempts, network

    def test_a_small_object_starts_again_with_a_narrow_limit(
        self, make_trainer, make_generator, make_part, measured, caplog
    ):
        measured(0.3)
        trainer, attempts, network = self.train(make_trainer, make_generator, make_part, attempts=1)
        assert attempts == [1, 1, 2, 2]
        assert trainer.upper_limit == pytest.approx(0.5)
        weights = weights_at(
            trainer.part.training,
            trainer.coverage,
            0,
            LossBalance(1.0, 1.0),
            trainer.context().scales,
        )
        assert weights.coverage.upper == pytest.approx(0.5)
        assert network is trainer.state.average
        assert "the object covers about 0.30 of the image" in caplog.text
        assert "less than half of the image at step 2; starting again" in caplog.text

    def test_the_networks_of_a_large_object_go_on(
        self, make_trainer, make_generator, make_part, measured, monkeypatch, caplog
    ):
        measured(0.6)
        starts, ends, step = [], [], loop.train_step

        def judges(state):
            return copy.deepcopy(
                [state.discriminator.state_dict(), state.rest.network.state_dict()]
            )

        def noted(state, context):
            biases = (float(state.alpha.out.bias.detach()), float(state.average.out.bias))
            starts.append((judges(state), biases, context.scales))
            facts = step(state, context)
            ends.append((judges(state), float(state.average.out.bias)))
            return facts

        monkeypatch.setattr(loop, "train_step", noted)
        trainer, attempts, network = self.train(make_trainer, make_generator, make_part)
        assert attempts == [1, 1, 2, 2, 3, 3]
        assert trainer.upper_limit == pytest.approx(0.8)
        assert [scales.binarization for *_, scales in starts] == [1, 1, 4, 4, 4, 4]
        assert [scales.at_once for *_, scales in starts] == [False] * 2 + [True] * 4
        level = math.log(0.7 / 0.3)  # at which the mattes part, as ``measured`` has it
        for (before, bias), (after, biases, _) in ((ends[1], starts[2]), (ends[3], starts[4])):
            assert biases == pytest.approx((bias - level,) * 2, abs=1e-5)
            for one, other in zip(before, after, strict=True):
                assert all(torch.equal(one[name], other[name]) for name in one)
        assert float(network.out.bias) == pytest.approx(ends[-1][1] - level, abs=1e-5)
        assert "half of the image at step 2; going on with binarization x 4" in caplog.text

    def test_a_recipes_own_limit_is_kept(
        self, make_trainer, make_generator, make_part, monkeypatch
    ):
        monkeypatch.setattr(loop, "parted", None)
        own = {"min_bg_coverage": 0.4}
        trainer, attempts, _ = self.train(make_trainer, make_generator, make_part, **own)
        assert attempts == [1, 1]
        assert trainer.upper_limit == pytest.approx(0.6)

    @pytest.mark.parametrize("covered", [0.3, 0.6])
    def test_a_training_stopped_between_the_attempts_goes_on_alike(
        self, make_trainer, make_generator, make_part, measured, tmp_path, covered
    ):
        measured(covered)
        part = make_part(steps=2, self_training=0, **TWO_SIDED)
        whole = make_trainer(part, make_generator())

        def keep(state, facts):
            if (facts.attempt, facts.step) == (1, 2):
                state.save(tmp_path / "state.pt")

        whole.run(keep)
        again = make_trainer(part, make_generator())
        again.state.load(tmp_path / "state.pt")
        again.run()
        first, second = tensors(whole.state), tensors(again.state)
        assert all(torch.equal(first[name], second[name]) for name in first)
