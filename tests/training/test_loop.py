import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.training import loop as loop_module
from l4f_datagen.training import steps
from l4f_datagen.training.images import draw_latents, render_batch
from l4f_datagen.training.sources import BACKGROUNDS, SourceContext
from l4f_datagen.training.state import build_alpha, new_state, step_stream
from l4f_datagen.training.steps import train_step

SILENT = {
    "adversarial_weight": 0.0,
    "binarization_weight": 0.0,
    "fg_coverage_weight": 0.0,
    "bg_coverage_weight": 0.0,
}


def everything(state):
    """All tensors of a training, optimisers included, by name."""
    found = {}
    for name in state.STORED:
        tensors = getattr(state, name).state_dict()
        if name.endswith("optim"):
            tensors = {
                f"{k}.{part}": value
                for k, slots in tensors["state"].items()
                for part, value in slots.items()
            }
        found |= {f"{name}.{k}": value.clone() for k, value in tensors.items()}
    return found


def same(first, second):
    assert set(first) == set(second)
    return all(torch.equal(first[name], second[name]) for name in first)


def draw_batch(part, generator, stream):
    background = BACKGROUNDS[part.background](SourceContext(part, generator))
    draws = draw_latents(part.training.batch, generator, stream)
    return render_batch(part, generator, background, draws)


@pytest.fixture
def run(make_trainer):
    def train(generator, part, *, state=None):
        facts = []
        trainer = make_trainer(part, generator, state)
        network = trainer.run(lambda state, fact: facts.append(fact))
        return trainer.state, facts, network

    return train


def with_sgd(state, rate=0.1):
    state.alpha_optim = torch.optim.SGD(state.alpha.parameters(), rate)
    state.d_optim = torch.optim.SGD(state.discriminator.parameters(), rate)
    return state


class TestReproducible:
    def test_a_resumed_run_ends_bit_for_bit_alike(self, run, make_generator, make_part, tmp_path):
        generator = make_generator()
        part = make_part(steps=6, ema_steps=4.0)
        whole, all_facts, _ = run(generator, part)

        half = make_part(steps=3, ema_steps=4.0)
        stopped, first_facts, _ = run(generator, half)
        stopped.save(tmp_path / "state.pt")
        assert not list(tmp_path.glob("*.part"))
        torch.manual_seed(99)
        np.random.seed(99)
        resumed = new_state(part, make_generator())
        resumed.load(tmp_path / "state.pt")
        assert (resumed.step, resumed.recent) == (3, first_facts)
        _, last_facts, _ = run(make_generator(), part, state=resumed)

        assert same(everything(resumed), everything(whole))
        assert first_facts + last_facts == all_facts
        assert resumed.recent == whole.recent

    def test_the_seed_decides_and_nothing_else_does(self, run, make_generator, make_part):
        generator = make_generator()
        torch.manual_seed(1)
        first, facts, _ = run(generator, make_part(steps=3))
        torch.manual_seed(2)
        torch.rand(5)
        second, again, _ = run(generator, make_part(steps=3))
        assert same(everything(first), everything(second))
        assert facts == again
        other, others, _ = run(generator, make_part(steps=3, seed=4))
        assert facts[0] != others[0]
        assert not torch.equal(other.alpha.out.weight, first.alpha.out.weight)

    def test_every_step_has_its_own_stream(self):
        numbers = {step_stream(seed, step).randint(2**31) for seed in range(8) for step in range(8)}
        assert len(numbers) == 64
        assert step_stream(2**32 - 1, 0).rand() == step_stream(2**32 - 1, 0).rand()

    def test_weights_come_from_the_seed_and_torchs_stream_stays(self, make_generator, make_part):
        torch.manual_seed(5)
        before = torch.rand(1)
        torch.manual_seed(5)
        training = new_state(make_part(), make_generator())
        assert torch.equal(torch.rand(1), before)
        assert same(everything(training), everything(new_state(make_part(), make_generator())))
        other = new_state(make_part(seed=4), make_generator())
        assert not torch.equal(other.alpha.out.weight, training.alpha.out.weight)
        assert not torch.equal(other.discriminator.fc.weight, training.discriminator.fc.weight)
        assert torch.equal(training.average.out.weight, training.alpha.out.weight)

    def test_the_generator_stays_as_it_is(self, run, make_generator, make_part):
        generator = make_generator()
        before = copy.deepcopy(generator.state_dict())
        run(generator, make_part(steps=2))
        assert same(before, generator.state_dict())


class TestImages:
    def test_foreground_is_truncated_and_background_is_not(self, make_generator, make_part):
        generator = make_generator(noise=0.0)  # what is left is a function of z and psi
        for rule in ("conv1", "const"):
            images = draw_batch(make_part(rule, psi=0.3, batch=3), generator, step_stream(3, 0))
            z = torch.from_numpy(step_stream(3, 0).randn(3, 8).astype(np.float32))
            foreground = generator(z, 0.3)
            assert torch.allclose(images.fg_image, foreground.image, atol=1e-6)
            expected = generator(z, 1.0, mute=rule).image
            assert torch.allclose(images.bg_image, expected, atol=1e-6)
            for side, pair in foreground.features.items():
                for feature, own in zip(pair, images.features[side], strict=True):
                    assert torch.allclose(feature, own, atol=1e-6)

    def test_noise_is_fresh_for_either_and_for_every_sample(self, make_generator, make_part):
        generator = make_generator()
        passes = []
        generator.synthesis.register_forward_pre_hook(lambda net, given: passes.append(given))
        images = draw_batch(make_part(batch=2), generator, step_stream(0, 0))
        assert [given[2:] for given in passes] == [(None,), ("conv1",)]
        foreground, background = (given[1] for given in passes)
        corners = {
            float(noise[-1][k, 0, 0, 0]) for noise in (foreground, background) for k in (0, 1)
        }
        assert len(corners) == 4
        assert foreground[-1].shape == background[-1].shape == (2, 1, 16, 16)
        again = generator.synthesis(*passes[0])
        assert torch.equal(again.image, images.fg_image)


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
        training = with_sgd(new_state(part, make_generator()), rate=0.01)
        training.step = step
        torch.manual_seed(0)
        real, fake = torch.randn(2, 3, 16, 16), torch.randn(2, 3, 16, 16)
        twin = copy.deepcopy(training.discriminator)
        loss = steps.discriminator_step(training, part.training, [real], [fake], [True])
        expected = self.reference(twin, part.training, real, fake, step, 0.01)
        assert loss == pytest.approx(expected, rel=1e-5)
        for name, value in twin.state_dict().items():
            own = training.discriminator.state_dict()[name]
            torch.testing.assert_close(own, value, rtol=1e-4, atol=1e-6, msg=name)

    def test_real_score_weight_lowers_the_score_of_a_real_image(self, make_generator, make_part):
        torch.manual_seed(0)
        real, fake = torch.randn(2, 3, 16, 16), torch.randn(2, 3, 16, 16)
        scores = {}
        for weight in (0.0, 1.0):
            part = make_part(real_score_weight=weight)
            training = new_state(part, make_generator())
            steps.discriminator_step(training, part.training, [real], [fake], [True])
            scores[weight] = training.discriminator(real)[0].item()
        assert scores[1.0] < scores[0.0]

    def test_optimisers_are_the_papers(self, make_generator, make_part):
        part = make_part(learning_rate=2e-3, d_reg_interval=16)
        training = new_state(part, make_generator())
        (alpha,), (critic,) = training.alpha_optim.param_groups, training.d_optim.param_groups
        assert alpha["lr"] == pytest.approx(2e-3 * 4 / 5)
        assert alpha["betas"] == pytest.approx((0, 0.99199), abs=1e-5)
        assert critic["lr"] == pytest.approx(2e-3 * 16 / 17)
        assert critic["betas"] == pytest.approx((0, 0.99059), abs=1e-5)

    def test_pretrained(self, make_generator, make_part):
        generator = make_generator()
        torch.manual_seed(77)
        given = Discriminator(16, generator.spec.channels).eval().requires_grad_(False)
        before = copy.deepcopy(given.state_dict())
        scratch = new_state(make_part(), generator, given)
        assert not same(scratch.discriminator.state_dict(), before)
        training = new_state(make_part(discriminator="pretrained"), generator, given)
        assert same(training.discriminator.state_dict(), before)
        assert all(parameter.requires_grad for parameter in training.discriminator.parameters())
        # The alpha network starts from the seed, whichever discriminator it meets.
        assert same(training.alpha.state_dict(), scratch.alpha.state_dict())

    def test_pretrained_but_missing(self, make_generator, make_part):
        expected = (
            r"alpha.training.discriminator: asks for a pretrained one, but the checkpoint has none;"
            r" set alpha.training.discriminator to scratch"
        )
        with pytest.raises(UsageError, match=expected):
            new_state(make_part(discriminator="pretrained"), make_generator())


TERMS = {
    "adversarial_weight": lambda alpha, logits: F.softplus(-logits).mean(),
    "binarization_weight": lambda alpha, logits: (0.5 - (alpha - 0.5).abs()).mean(),
    "fg_coverage_weight": lambda alpha, logits: (0.9 - alpha.mean(dim=(1, 2, 3))).mean(),
    "bg_coverage_weight": lambda alpha, logits: (alpha.mean(dim=(1, 2, 3)) - 0.05).mean(),
}


class TestAlphaStep:
    @pytest.fixture
    def delta(self, make_generator, make_trainer):
        """One step: the alpha network before and after, and the discriminator's logits."""
        return lambda part: self.step(make_trainer(part, make_generator()))

    def step(self, trainer, rate=0.1):
        part, generator = trainer.part, trainer.generator
        training = with_sgd(trainer.state, rate)
        before = copy.deepcopy(training.alpha)
        facts = train_step(training, trainer.context())
        images = draw_batch(part, generator, step_stream(part.training.seed, 0))
        alpha = before(images.features)
        mixed = alpha * images.fg_image + (1 - alpha) * images.bg_image
        return before, training, facts, alpha, training.discriminator(mixed)

    @pytest.mark.parametrize("name", TERMS)
    def test_every_weight_scales_its_own_term(self, delta, make_part, name):
        # Both hinges are open: alpha starts near a half, between 0.05 and 0.9.
        coverage = {"min_fg_coverage": 0.9, "min_bg_coverage": 0.95}
        part = make_part(**SILENT | coverage | {name: 3.0})
        before, training, _, alpha, logits = delta(part)
        loss = 3.0 * TERMS[name](alpha, logits)
        slopes = torch.autograd.grad(loss, list(before.parameters()))
        pairs = zip(before.named_parameters(), training.alpha.parameters(), slopes, strict=True)
        assert max(slope.abs().max() for slope in slopes) > 1e-4
        for (where, old), new, slope in pairs:
            torch.testing.assert_close(new, old - 0.1 * slope, rtol=1e-3, atol=1e-6, msg=where)

    def test_fg_coverage_takes_the_binarisation_weight_by_default(self, delta, make_part):
        weights = {}
        for name, told in (("none", None), ("same", 1.2), ("other", 5.0)):
            part = make_part(fg_coverage_weight=told, binarization_weight=1.2, min_fg_coverage=0.9)
            weights[name] = delta(part)[1].alpha.out.weight
        assert torch.equal(weights["none"], weights["same"])
        assert not torch.equal(weights["none"], weights["other"])

    def test_facts(self, delta, make_part):
        part = make_part()
        _, training, facts, alpha, logits = delta(part)
        assert (facts.step, training.step) == (1, 1)
        assert facts.alpha_coverage == pytest.approx(alpha.mean().item(), rel=1e-5)
        smaller = torch.minimum(alpha, 1 - alpha).mean().item()
        assert facts.binarization == pytest.approx(smaller, rel=1e-5)
        assert facts.realism == pytest.approx(F.softplus(-logits).mean().item(), rel=1e-4)
        assert facts.d_loss > 0

    def test_ema(self, make_generator, make_part, make_trainer):
        trainer = make_trainer(make_part(steps=5, ema_steps=3.0), make_generator())
        expected = trainer.state.alpha.out.weight.detach().clone()
        seen = []
        trainer.run(lambda state, facts: seen.append(state.alpha.out.weight.detach().clone()))
        for step, live in enumerate(seen, 1):
            keep = min(0.5 ** (1 / 3), step / (step + 9))
            expected = keep * expected + (1 - keep) * live
        torch.testing.assert_close(trainer.state.average.out.weight, expected)
        assert not torch.allclose(trainer.state.average.out.weight, seen[-1])

    def test_without_ema_the_live_weights_are_kept(self, run, make_generator, make_part):
        training, _, network = run(make_generator(), make_part(steps=2, ema_steps=0.0))
        assert network is training.average
        assert same(training.average.state_dict(), training.alpha.state_dict())
        assert not network.training

    @pytest.mark.parametrize("mirror", [True, False])
    def test_reals_are_mirrored_one_by_one(
        self, make_generator, make_part, make_trainer, monkeypatch, mirror
    ):
        trainer = make_trainer(make_part(batch=12, mirror=mirror), make_generator())
        ramp = torch.linspace(-1, 1, 16).expand(12, 3, 16, 16)
        trainer.sources = replace(trainer.sources, reals=lambda stream, batch: ramp)
        shown = []

        def spy(state, config, reals, fakes, firsts, ranks):
            shown.extend(reals[0])
            return 0.0

        monkeypatch.setattr(steps, "discriminator_step", spy)
        for _ in range(2):
            train_step(trainer.state, trainer.context())
        flipped = [torch.equal(image, ramp[0].flip(2)) for image in shown]
        assert all(f or torch.equal(i, ramp[0]) for f, i in zip(flipped, shown, strict=True))
        assert (4 <= sum(flipped) <= 20) if mirror else not any(flipped)


AUTO = {"balance": "auto", "attempts": 3}


@pytest.fixture
def collapse_in(monkeypatch):
    """From step 2 on, the matte of the given attempts is all white (or not a number)."""
    real = loop_module.train_step

    def collapse(attempts, bias=40.0):
        def spoiled(state, context):
            if state.attempt in attempts and state.step >= 1:
                with torch.no_grad():
                    state.alpha.out.weight.zero_()
                    state.alpha.out.bias.fill_(bias)
            return real(state, context)

        monkeypatch.setattr(loop_module, "train_step", spoiled)

    return collapse


class TestRestarts:
    @pytest.fixture
    def trainer_of(self, make_generator, make_part, make_trainer):
        return lambda state=None, **values: make_trainer(
            make_part(**AUTO | values), make_generator(), state
        )

    def test_a_collapse_is_answered_by_a_changed_setting(self, trainer_of, collapse_in, caplog):
        collapse_in({1})
        seen, trainer = [], trainer_of(steps=25)
        network = trainer.run(lambda state, facts: seen.append(facts))
        assert trainer.state.failures == ["all-white"]
        assert "all white at step 21; starting again with area x 2" in caplog.text
        assert [(facts.attempt, facts.step) for facts in seen] == [
            *((1, step) for step in range(1, 22)),
            *((2, step) for step in range(1, 26)),
        ]
        assert network is trainer.state.average

    def test_not_a_number_is_noticed_at_once(self, trainer_of, collapse_in, caplog):
        collapse_in({1}, bias=math.nan)
        trainer = trainer_of(steps=4)
        network = trainer.run()
        assert trainer.state.failures == ["not-a-number"]
        expected = "not a number at step 2; starting again with learning rate x 0.5"
        assert expected in caplog.text
        assert all(torch.isfinite(value).all() for value in network.state_dict().values())

    @pytest.mark.slow
    def test_after_three_failures_it_stops_with_advice(self, trainer_of, collapse_in):
        collapse_in({1, 2, 3})
        expected = (
            r"alpha training: collapsed: the matte is all white \(mean alpha 1.000\) in attempt 3, "
            r"after: the matte is all white, then the matte is all white; raise alpha.training.bg"
        )
        with pytest.raises(L4FError, match=expected) as caught:
            trainer_of(steps=30).run()
        assert caught.value.exit_code == 1

    def test_attempts_start_from_other_weights(self, make_generator, make_part):
        generator, part = make_generator(), make_part()
        first = new_state(part, generator)
        second = new_state(part, generator, failures=("all-white",))
        again = new_state(part, generator, failures=("all-white",))
        assert second.attempt == 2
        assert not torch.equal(first.alpha.out.weight, second.alpha.out.weight)
        assert torch.equal(again.alpha.out.weight, second.alpha.out.weight)

    @pytest.mark.slow
    def test_a_run_resumed_in_its_second_attempt_ends_alike(
        self, trainer_of, collapse_in, tmp_path
    ):
        collapse_in({1})

        def keep(state, facts):
            if (facts.attempt, facts.step) == (2, 3):
                state.save(tmp_path / "state.pt")

        whole, again = trainer_of(steps=22), trainer_of(steps=22)
        whole.run(keep)
        again.state.load(tmp_path / "state.pt")
        assert (again.state.attempt, again.state.step, len(again.state.snapshots)) == (2, 3, 1)
        again.run()
        assert same(everything(again.state), everything(whole.state))
        assert (again.state.recent, again.state.balance) == (
            whole.state.recent,
            whole.state.balance,
        )

    @pytest.mark.parametrize(("bias", "words"), [(30.0, "all white"), (-30.0, "all black")])
    def test_a_collapsed_run_is_refused_again_when_resumed(
        self, make_generator, make_part, make_trainer, tmp_path, bias, words
    ):
        generator, part = make_generator(), make_part(**SILENT, steps=2)
        trainer = make_trainer(part, generator)
        trainer.state.alpha.out.bias.data.fill_(bias)
        with pytest.raises(L4FError, match=words) as caught:
            trainer.run(lambda state, facts: state.save(tmp_path / "state.pt"))
        assert caught.value.exit_code == 1
        again = make_trainer(part, generator)
        again.state.load(tmp_path / "state.pt")
        assert again.state.step == part.training.steps
        with pytest.raises(L4FError, match=words):
            again.run()


class TestState:
    def test_on_a_full_disk_nothing_is_left(self, tmp_path, make_generator, make_part, fill_disk):
        fill_disk(tmp_path / "state.pt")
        with pytest.raises(OSError, match="No space left"):
            new_state(make_part(), make_generator()).save(tmp_path / "state.pt")
        assert not list(tmp_path.iterdir())

    def load(self, path, generator, part):
        new_state(part, generator).load(path)

    @pytest.mark.parametrize("content", [b"", b"no state", b"PK\x03\x04" + bytes(50)])
    def test_what_is_no_state(self, tmp_path, make_generator, make_part, content):
        file = tmp_path / "state.pt"
        file.write_bytes(content)
        expected = (
            r"state.pt: is not a training state of this recipe \(\w+\); "
            r"use another --out or remove the file"
        )
        with pytest.raises(UsageError, match=expected):
            self.load(file, make_generator(), make_part())

    def test_a_state_cut_short(self, tmp_path, make_generator, make_part):
        file = tmp_path / "state.pt"
        new_state(make_part(), make_generator()).save(file)
        file.write_bytes(file.read_bytes()[:-2000])
        with pytest.raises(UsageError, match="is not a training state of this recipe"):
            self.load(file, make_generator(), make_part())

    def test_a_state_of_another_network(self, tmp_path, make_generator, make_part):
        new_state(make_part(), make_generator(32)).save(tmp_path / "state.pt")
        with pytest.raises(UsageError, match=r"is not a training state of this recipe \(Runtime"):
            self.load(tmp_path / "state.pt", make_generator(16), make_part())

    def test_a_state_that_would_run_code(self, tmp_path, make_generator, make_part):
        torch.save({"alpha": print}, tmp_path / "state.pt")
        with pytest.raises(UsageError, match=r"is not a training state .*\(UnpicklingError\)"):
            self.load(tmp_path / "state.pt", make_generator(), make_part())


class TestBuild:
    @pytest.mark.parametrize(
        ("lowest", "resolutions"),
        [(None, [8, 16, 32]), (16, [16, 32]), (32, [32]), (8, [8, 16, 32])],
    )
    def test_lowest_resolution(self, make_generator, make_part, lowest, resolutions):
        network = build_alpha(make_part(lowest_resolution=lowest), make_generator(32))
        assert network.resolutions == resolutions

    @pytest.mark.parametrize("lowest", [4, 12, 64])
    def test_a_resolution_that_is_not_there(self, make_generator, make_part, lowest):
        expected = (
            rf"alpha.lowest_resolution: must be one of 8, 16, 32, got {lowest}; "
            "name a resolution of the trunk"
        )
        with pytest.raises(UsageError, match=expected):
            build_alpha(make_part(lowest_resolution=lowest), make_generator(32))
