"""One step, by hand and in shares."""

import copy
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from l4f_datagen.recipe import AlphaPart
from l4f_datagen.training import losses, steps
from l4f_datagen.training.sources import draw_latents, render_batch
from l4f_datagen.training.state import new_state, step_stream
from l4f_datagen.training.steps import draw_shares, rest_gradient, shares_of, train_step

AUTO = {"balance": "auto", "area_weight": 0.1, "ema_steps": 3.0}
TWO_SIDED = {"balance": "two-sided", "batch": 4}
RANKS = Path(__file__).with_name("two_ranks.py")
TERMS = {
    "adversarial_weight": lambda alpha, logits: F.softplus(-logits).mean(),
    "binarization_weight": lambda alpha, logits: (0.5 - (alpha - 0.5).abs()).mean(),
    "fg_coverage_weight": lambda alpha, logits: (0.9 - alpha.mean(dim=(1, 2, 3))).mean(),
    "bg_coverage_weight": lambda alpha, logits: (alpha.mean(dim=(1, 2, 3)) - 0.05).mean(),
}


def with_sgd(state, rate=0.1):
    state.alpha_optim = torch.optim.SGD(state.alpha.parameters(), rate)
    state.main.optim = torch.optim.SGD(state.main.network.parameters(), rate)
    return state


class TestDiscriminator:
    def reference(self, net, config, real, fake, step, rate):
        """Two plain gradient steps, the second one only every d_reg_interval steps."""

        def descend(loss):
            slopes = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
            with torch.no_grad():
                for parameter, slope in zip(net.parameters(), slopes, strict=True):
                    if slope is not None:
                        parameter -= rate * slope

        loss = torch.log1p(torch.exp(-net(real))).mean() + torch.log1p(torch.exp(net(fake))).mean()
        descend(loss)
        if step % config.d_reg_interval == 0:
            real = real.clone().requires_grad_(True)
            logits = net(real)
            (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
            norm = (slope**2).sum() / len(real)
            lazy = config.r1_gamma / 2 * config.d_reg_interval * norm
            descend(lazy + config.real_score_weight * logits[0])
        return loss.item()

    @pytest.mark.parametrize("real_score_weight", [0.0, 1.0])
    @pytest.mark.parametrize("step", [0, 1, 2])
    def test_one_step_by_hand(self, make_generator, make_part, step, real_score_weight):
        part = make_part(r1_gamma=10.0, d_reg_interval=2, real_score_weight=real_score_weight)
        state, config = with_sgd(new_state(part, make_generator()), rate=0.01), part.training
        state.step = step
        torch.manual_seed(0)
        real, fake = torch.randn(2, 3, 16, 16), torch.randn(2, 3, 16, 16)
        twin = copy.deepcopy(state.main.network)
        loss = steps.discriminator_step(state, state.main, config, [real], [fake], [True])
        expected = self.reference(twin, config, real, fake, step, 0.01)
        assert loss == pytest.approx(expected, rel=1e-5)
        found, wanted = state.main.network.state_dict(), twin.state_dict()
        torch.testing.assert_close(dict(found), dict(wanted), rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("mirror", [True, False])
    def test_reals_are_mirrored_one_by_one(self, trainer_of, monkeypatch, mirror):
        trainer = trainer_of(batch=12, mirror=mirror)
        ramp = torch.linspace(-1, 1, 16).expand(12, 3, 16, 16)
        trainer.sources = replace(trainer.sources, reals=lambda stream, batch: ramp)
        shown = []

        def spy(state, learner, config, reals, fakes, firsts, ranks):
            shown.extend(reals[0])
            return 0.0

        monkeypatch.setattr(steps, "discriminator_step", spy)
        for _ in range(2):
            train_step(trainer.state, trainer.context())
        flipped = [torch.equal(image, ramp[0].flip(2)) for image in shown]
        assert all(f or torch.equal(i, ramp[0]) for f, i in zip(flipped, shown, strict=True))
        assert (4 <= sum(flipped) <= 20) if mirror else not any(flipped)


class TestAlphaStep:
    @pytest.fixture
    def delta(self, trainer_of):
        """One step: the alpha network before, the state after, and what it was computed from."""

        def step(**values):
            trainer = trainer_of(**values)
            state = with_sgd(trainer.state)
            before, facts = copy.deepcopy(state.alpha), train_step(state, trainer.context())
            stream, batch = step_stream(trainer.part.training.seed, 0), trainer.part.training.batch
            draws = draw_latents(batch, trainer.generator, stream)
            images = render_batch(
                trainer.part, trainer.generator, trainer.sources.background, draws
            )
            alpha = before(images.features)
            mixed = alpha * images.fg_image + (1 - alpha) * images.bg_image
            return before, state, facts, alpha, state.main.network(mixed)

        return step

    @pytest.mark.parametrize("name", TERMS)
    def test_every_weight_scales_its_own_term(self, delta, name):
        # Both hinges are open: alpha starts near a half, between 0.05 and 0.9.
        coverage = {"min_fg_coverage": 0.9, "min_bg_coverage": 0.95}
        weights = dict.fromkeys(TERMS, 0.0) | {name: 3.0}
        before, state, _, alpha, logits = delta(**coverage, **weights)
        loss = 3.0 * TERMS[name](alpha, logits)
        slopes = torch.autograd.grad(loss, list(before.parameters()))
        pairs = zip(before.named_parameters(), state.alpha.parameters(), slopes, strict=True)
        assert max(slope.abs().max() for slope in slopes) > 1e-4
        for (where, old), new, slope in pairs:
            torch.testing.assert_close(new, old - 0.1 * slope, rtol=1e-3, atol=1e-6, msg=where)

    def test_fg_coverage_takes_the_binarisation_weight_by_default(self, delta):
        unset, equal, other = (
            delta(fg_coverage_weight=told, binarization_weight=1.2, min_fg_coverage=0.9)[1]
            for told in (None, 1.2, 5.0)
        )
        assert torch.equal(unset.alpha.out.weight, equal.alpha.out.weight)
        assert not torch.equal(unset.alpha.out.weight, other.alpha.out.weight)

    def test_facts(self, delta):
        _, state, facts, alpha, logits = delta()
        assert (facts.step, state.step) == (1, 1)
        assert facts.alpha_coverage == pytest.approx(alpha.mean().item(), rel=1e-5)
        smaller = torch.minimum(alpha, 1 - alpha).mean().item()
        assert facts.binarization == pytest.approx(smaller, rel=1e-5)
        assert facts.realism == pytest.approx(F.softplus(-logits).mean().item(), rel=1e-4)
        assert facts.d_loss > 0

    def test_average(self, trainer_of):
        trainer = trainer_of(steps=5, ema_steps=3.0)
        expected, seen = trainer.state.alpha.out.weight.detach().clone(), []
        trainer.run(lambda state, facts: seen.append(state.alpha.out.weight.detach().clone()))
        for step, live in enumerate(seen, 1):
            keep = min(0.5 ** (1 / 3), step / (step + 9))
            expected = keep * expected + (1 - keep) * live
        torch.testing.assert_close(trainer.state.average.out.weight, expected)

    def test_without_an_average_the_live_network_is_the_result(self, trainer_of):
        trainer = trainer_of(steps=2, ema_steps=0.0)
        network, live = trainer.run(), trainer.state.alpha.state_dict()
        assert network is trainer.state.average
        assert all(torch.equal(value, live[name]) for name, value in network.state_dict().items())
        assert not network.training

    def test_the_first_step_of_auto_only_measures(self, trainer_of):
        trainer = trainer_of(**AUTO)
        state, context = trainer.state, trainer.context()
        before = state.alpha.out.weight.detach().clone()
        train_step(state, context)
        assert torch.equal(state.alpha.out.weight, before)
        assert state.balance.grad_norm > 0
        train_step(state, context)
        assert not torch.equal(state.alpha.out.weight, before)


class TestTwoSided:
    def test_the_gradient_is_that_of_the_second_discriminators_loss(self, trainer_of):
        trainer = trainer_of(**TWO_SIDED)
        state, config = trainer.state, trainer.part.training
        (share,) = draw_shares(state, trainer.context())
        with torch.no_grad():
            alpha, images = state.alpha(share.images.features), share.images

        def loss(matte):
            rest = losses.rest_image(images.fg_image, images.own_bg_image, matte)
            return float(F.softplus(-state.rest.network(rest)).mean())

        realism, slope = rest_gradient(state, config, share, alpha)
        assert float(realism) == pytest.approx(loss(alpha), rel=1e-5)
        # Along the gradient itself the difference is large enough for float32.
        step = slope / slope.norm() * 1e-2
        difference = (loss(alpha + step) - loss(alpha - step)) / 2
        assert float((slope * step).sum()) == pytest.approx(difference, rel=0.02)

    def test_the_hole_is_filled_with_the_images_own_background(self, trainer_of, make_part):
        found = []
        for shuffled in (False, True):
            part = make_part(**TWO_SIDED).model_copy(update={"background_shuffled": shuffled})
            trainer = trainer_of(part=part)
            (share,) = draw_shares(trainer.state, trainer.context())
            found.append(share.images)
        assert torch.equal(found[1].own_bg_image, found[0].bg_image)
        assert not torch.equal(found[1].bg_image, found[0].bg_image)

    def test_bare_backgrounds_of_shares_are_those_of_the_joint_batch(self, trainer_of, monkeypatch):
        monkeypatch.setattr(steps, "GROUP", 1)
        found = []
        for accumulate in (1, 2):
            trainer = trainer_of(steps=1, accumulate=accumulate, balance="two-sided", batch=8)
            shares = draw_shares(trainer.state, trainer.context())
            bare = torch.empty(8, *shares[0].bare.shape[1:])
            for picked, share in zip(shares_of(8, accumulate), shares, strict=True):
                bare[picked] = share.bare
            found.append(bare)
        torch.testing.assert_close(*found)


class TestShares:
    @pytest.mark.parametrize(
        ("batch", "count"), [(16, 1), (16, 2), (16, 4), (8, 2), (6, 3), (4, 4)]
    )
    def test_they_are_a_partition_that_keeps_the_discriminators_groups(self, batch, count):
        shares = shares_of(batch, count)
        assert [len(share) for share in shares] == [batch // count] * count
        assert sorted(k for share in shares for k in share) == list(range(batch))
        if (batch, count) == (16, 2):
            assert all((k + 4) % 16 in share for share in shares for k in share)

    @pytest.mark.parametrize("values", [AUTO, {"real_score_weight": 1.0}])
    def test_they_give_the_numbers_of_the_whole(self, trainer_of, values):
        trained, facts = [], []
        for accumulate in (1, 2):
            trainer = trainer_of(batch=8, accumulate=accumulate, **values)
            facts.append([train_step(trainer.state, trainer.context()) for _ in range(3)])
            trained.append(trainer.state.stored())
        for whole, shared in zip(*facts, strict=True):
            assert vars(shared) == pytest.approx(vars(whole), rel=1e-4)
        for name in ("alpha", "average", "discriminator"):
            pair = (dict(stored[name].state_dict()) for stored in trained)
            torch.testing.assert_close(*pair, rtol=1e-3, atol=1e-4)

    def test_accumulate_has_to_divide_the_batch(self):
        with pytest.raises(ValueError, match="accumulate 3 does not divide the batch of 8"):
            AlphaPart.model_validate({"training": {"batch": 8, "accumulate": 3}})

    @pytest.mark.slow
    def test_two_processes_train_as_one(self, trainer_of, tmp_path):
        """Two gloo processes with half the batch each end where one with the joint batch ends."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        launch = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, str(RANKS), str(tmp_path)]
        runs = [subprocess.Popen(command, env=launch | {"RANK": rank}) for rank in ("0", "1")]
        assert [run.wait(timeout=240) for run in runs] == [0, 0]
        both = [torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1)]
        torch.testing.assert_close(*both, rtol=0, atol=0)
        trainer = trainer_of(steps=3, batch=8, **AUTO)
        trainer.run()
        alone = trainer.state.alpha.state_dict()
        torch.testing.assert_close(both[0], alone, rtol=1e-3, atol=1e-4)
