import numpy as np
import pytest
import torch

from l4f_datagen.checkpoints.native import save_discriminator, save_generator
from l4f_datagen.core.errors import UsageError
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.recipe import FiltersPart, GeneratorPart, check_recipe
from l4f_datagen.rendering.plan import Draw
from l4f_datagen.rendering.probes import (
    ProbeContext,
    flip_iou,
    noise_iou,
    open_probes,
    paired_iou,
)
from l4f_datagen.rendering.render import Renderer, renderer_of

DRAWS = [Draw(1, 1.0, 0), Draw(2, 0.5, 0), Draw(3, 1.0, 4), Draw(4, 1.0, 9)]
THRESHOLD = 0.45
WIDTHS = {4: 4, 8: 4, 16: 3, 32: 2}


def iou(first, second):
    either = (first | second).sum()
    return (first & second).sum() / either if either else 1.0


def z_of(seed):
    return torch.from_numpy(np.random.RandomState(seed).randn(1, 8).astype(np.float32))


@pytest.fixture
def networks(make_generator, make_alpha):
    generator = make_generator(32, noise=1.5)
    return generator, make_alpha(generator)


def probing(name, probe, networks):
    return Renderer(*networks, mask_threshold=THRESHOLD, probes={name: probe})


def test_the_iou_of_pairs_as_by_hand():
    first, second = np.random.RandomState(0).rand(2, 5, 9, 11) > 0.6
    first[3], second[3] = False, False
    second[4] = ~first[4]
    found = paired_iou(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    expected = [iou(a, b) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found[3], found[4]) == (1.0, 0.0)


def under_other_noise(generator, draw):
    stream = np.random.RandomState(np.array([draw.seed, 3], np.uint32))
    noise = generator.noise("random", [stream])
    return generator(z_of(draw.seed), draw.psi, noise=noise), slice(None)


def mirrored(generator, draw):
    ws = generator.truncate(generator.mapping(z_of(draw.seed)), draw.psi)
    return generator.synthesis(ws, generator.noise("const"), mirror_at=8), slice(None, None, -1)


class TestRenderedOtherwise:
    @pytest.mark.parametrize(
        ("probe", "otherwise"), [(noise_iou, under_other_noise), (flip_iou, mirrored)]
    )
    def test_is_the_iou_with_that_render(self, networks, probe, otherwise):
        samples = probing("p", probe, networks).render(DRAWS)
        for draw, sample in zip(DRAWS, samples, strict=True):
            synthesis, columns = otherwise(networks[0], draw)
            other = networks[1](synthesis.features)[0, 0].numpy()[:, columns] > THRESHOLD
            assert sample.scores["p"] == pytest.approx(iou(sample.mask, other), abs=2e-3)
        # Else nothing was rendered otherwise.
        assert min(sample.scores["p"] for sample in samples) < 0.99

    def test_is_one_where_noise_has_no_strength(self, make_generator, make_alpha):
        generator = make_generator(32, noise=0.0)
        renderer = probing("n", noise_iou, (generator, make_alpha(generator)))
        assert [sample.scores["n"] for sample in renderer.render(DRAWS)] == [1.0] * 4

    def test_is_one_where_all_layers_treat_left_and_right_alike(self, networks):
        for name, parameter in networks[0].named_parameters():
            if name.endswith("weight") and parameter.ndim == 4:
                parameter.copy_((parameter + parameter.flip(3)) / 2)
        samples = probing("f", flip_iou, networks).render(DRAWS)
        assert min(sample.scores["f"] for sample in samples) > 0.995

    def test_the_alpha_network_alone_could_not_tell(self, networks):
        """Why the layout is mirrored and not the features: there the answer is always one."""
        generator, alpha = networks
        z = torch.from_numpy(np.random.RandomState(0).randn(3, 8).astype(np.float32))
        features = generator(z).features
        mirrored = {side: [each.flip(3) for each in two] for side, two in features.items()}
        torch.testing.assert_close(alpha(mirrored).flip(3), alpha(features), atol=1e-5, rtol=0)


class TestDiscriminator:
    FILTER = FiltersPart(preset="none", discriminator={"min": 0})

    @pytest.fixture
    def judge(self):
        torch.manual_seed(5)
        return Discriminator(32, WIDTHS).eval().requires_grad_(False)

    @pytest.fixture
    def opened(self, tmp_path, networks):
        """The probe for a file of this name."""

        def call(name):
            part = GeneratorPart(weights=str(tmp_path / name))
            return open_probes(self.FILTER, part, networks[0])["discriminator"]

        return call

    @pytest.mark.parametrize("name", ["both.safetensors", "generator.safetensors"])
    def test_a_score_is_its_own_pictures_alone(self, networks, judge, opened, tmp_path, name):
        """By the discriminator in the generator's own file, or by the one that lies beside it."""
        generator, _ = networks
        save_generator(tmp_path / name, generator.spec, generator.state_dict())
        file = name if name.startswith("both") else "discriminator.safetensors"
        save_discriminator(tmp_path / file, judge)
        renderer = probing("d", opened(name), networks)
        together = [sample.scores["d"] for sample in renderer.render(DRAWS)]
        alone = [renderer.render([draw])[0].scores["d"] for draw in DRAWS]
        assert together == pytest.approx(alone, abs=1e-4)
        assert np.ptp(together) > 0.01
        assert together[2] == pytest.approx(float(judge(generator(z_of(4)).image)), abs=1e-4)

    def test_none_and_one_for_another_size_are_refused(self, tmp_path, networks, judge, opened):
        spec, state = networks[0].spec, networks[0].state_dict()
        save_generator(tmp_path / "g.safetensors", spec, state)
        # Under another name than those of `pretrain` it belongs to another generator.
        save_discriminator(tmp_path / "discriminator.safetensors", judge)
        remedy = "switch this filter off, or give a checkpoint with both networks"
        text = rf"^filters.discriminator: .*g.safetensors gives none \(.*; {remedy}$"
        with pytest.raises(UsageError, match=text):
            opened("g.safetensors")
        save_generator(tmp_path / "generator.safetensors", spec, state)
        small = Discriminator(16, {side: WIDTHS[side] for side in (4, 8, 16)})
        save_discriminator(tmp_path / "discriminator.safetensors", small)
        with pytest.raises(UsageError, match="takes 16 px, images have 32; switch this filter"):
            opened("generator.safetensors")


def test_only_what_is_on_is_measured(networks):
    generator, alpha = networks
    part = GeneratorPart(weights="not opened")
    assert open_probes(FiltersPart(), part, generator) == {}
    both = FiltersPart(noise={}, flip={})
    assert list(open_probes(both, part, generator)) == ["noise_iou", "flip_iou"]
    recipe = check_recipe({"domain": "x", "filters": {"preset": "strict", "noise": {}}}, "f")
    assert list(renderer_of(recipe, generator, alpha).probes) == ["noise_iou"]
    assert renderer_of(recipe, generator, None).probes == {}


def test_a_take_renders_otherwise_with_the_samples_own_crop(networks):
    seen = []

    def probe(take: ProbeContext):
        seen.append(take)
        return torch.zeros(len(take.seeds))

    crop = (2, 4, 30, 20)
    renderer = Renderer(*networks, mask_threshold=THRESHOLD, crop=crop, probes={"p": probe})
    samples = renderer.render(DRAWS)
    [take] = seen
    assert take.mask.shape == (4, 16, 28)
    with torch.inference_mode():
        again = take.rerender(take.noise, None)
    for sample, mask, other in zip(samples, take.mask, again, strict=True):
        np.testing.assert_array_equal(sample.mask, mask.numpy())
        np.testing.assert_array_equal(sample.mask, other.numpy())
