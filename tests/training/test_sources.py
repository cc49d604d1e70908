import numpy as np
import pytest
import torch
from PIL import Image

from l4f_datagen.checkpoints.native import save_generator
from l4f_datagen.core.errors import InputRefused, NetworkError, RecipeError
from l4f_datagen.io.stores import STORES
from l4f_datagen.recipe import AlphaPart, TrainingPart
from l4f_datagen.toys.scene import TOYS, render_scene
from l4f_datagen.training.sources import (
    BACKGROUNDS,
    REALS,
    SourceContext,
    draw_latents,
    open_sources,
    render_batch,
)
from l4f_datagen.training.state import step_stream

SEEDS = [5, 6]


def stream(seed=0):
    return np.random.RandomState(seed)


def reals_of(generator, crop=None, fit="crop", **training):
    part = AlphaPart(fit=fit, training=TrainingPart(**training))
    return REALS[part.training.reals](SourceContext(part, generator, crop))


def background_of(generator, background, path=None):
    part = AlphaPart(background=background, background_path=path and str(path))
    return BACKGROUNDS[background](SourceContext(part, generator))


def z_of(streams):
    return torch.from_numpy(np.stack([one.randn(8) for one in streams]).astype(np.float32))


def w_of(batch=2):
    return torch.from_numpy(stream().randn(batch, 8).astype(np.float32))


def test_every_source_of_a_recipe_is_there():
    assert set(REALS) == set(TrainingPart.model_fields["reals"].annotation.__args__)
    assert set(REALS) == {"generator", *TOYS, *STORES}
    assert set(BACKGROUNDS) == set(AlphaPart.model_fields["background"].annotation.__args__)


class TestReals:
    def test_generator_by_hand(self, make_generator):
        generator, same = make_generator(), stream(4)
        torch.manual_seed(1)
        images = reals_of(generator, reals_psi=0.6)(stream(4), 2)
        z = torch.from_numpy(same.randn(2, 8).astype(np.float32))
        noise = generator.noise("random", [stream(same.randint(2**31)) for _ in range(2)])
        assert torch.equal(images, generator(z, 0.6, noise=noise).image)

    @pytest.mark.parametrize("domain", TOYS)
    def test_toys_are_fresh_renders(self, make_generator, domain):
        images = reals_of(make_generator(32), reals=domain)(stream(5), 2)
        for image, seed in zip(images, stream(5).randint(0, 2**31, 2), strict=True):
            render = render_scene(int(seed), 32, domain).image
            assert np.array_equal(np.rint((image.numpy() + 1) * 127.5), render.transpose(2, 0, 1))

    def test_photographs_are_drawn_from_the_whole_tree(self, tmp_path, make_generator):
        (tmp_path / "deep" / "er").mkdir(parents=True)
        for k, name in enumerate(["b.png", "deep/er/a.jpeg", "c.WEBP", "d.bmp"]):
            Image.new("RGB", (16, 16), (50 + 50 * k,) * 3).save(tmp_path / name)
        draw = reals_of(make_generator(), reals="folder", reals_folder=str(tmp_path))
        images = draw(stream(), 40)
        assert (images.shape, images.dtype) == ((40, 3, 16, 16), torch.float32)
        levels = {round(v.item() / 10) * 10 for v in (images.mean(dim=(1, 2, 3)) + 1) * 127.5}
        assert levels == {50, 100, 150, 200}
        assert torch.equal(draw(stream(), 40), images)
        assert not torch.equal(draw(stream(1), 40), images)

    @pytest.mark.parametrize(
        ("fit", "crop", "rows"),
        [
            ("crop", None, slice(0, 16)),
            ("crop", (0, 2, 16, 14), slice(2, 14)),
            ("pad", None, slice(4, 12)),
        ],
    )
    def test_photographs_fill_what_the_generator_draws(
        self, tmp_path, make_generator, fit, crop, rows
    ):
        Image.new("RGB", (32, 16), "white").save(tmp_path / "wide.png")
        folder = {"reals": "folder", "reals_folder": str(tmp_path)}
        image = reals_of(make_generator(), crop, fit, **folder)(stream(), 1)
        expected = torch.full((1, 3, 16, 16), -1.0)
        expected[:, :, rows] = 1.0
        assert torch.equal(image, expected)


class TestBackgrounds:
    @pytest.mark.parametrize(("name", "other"), [("conv1", "const"), ("const", "conv1")])
    def test_the_generator_with_its_trunk_muted(self, make_generator, name, other):
        generator, w = make_generator(), w_of()
        image = background_of(generator, name)(w, SEEDS)
        assert image.shape == (2, 3, 16, 16)
        ws, noise = generator.truncate(w, 1.0), generator.noise("random", [*map(stream, SEEDS)])
        assert torch.equal(image, generator.synthesis(ws, noise, name).image)
        plain = generator.synthesis(ws, noise).image
        for unlike in (plain, background_of(generator, other)(w, SEEDS)):
            assert not torch.allclose(image, unlike, atol=1e-3)

    def test_no_gradient_flows(self, make_generator):
        generator = make_generator().requires_grad_(True)
        w = torch.zeros(1, 8, requires_grad=True)
        assert not background_of(generator, "conv1")(w, [1]).requires_grad

    def test_photographs_of_a_folder(self, make_generator, tmp_path):
        for level in (0, 255):
            Image.new("RGB", (16, 16), (level,) * 3).save(tmp_path / f"{level}.png")
        draw = background_of(make_generator(), "pictures", tmp_path)
        images = draw(w_of(12), list(range(12)))
        assert {float(image.unique()) for image in images} == {-1.0, 1.0}
        # One sample's image is a function of its seed alone.
        assert torch.equal(draw(w_of(1), [7])[0], images[7])

    def test_a_second_generator(self, make_generator, tmp_path):
        other, path = make_generator(seed=3), tmp_path / "other.safetensors"
        save_generator(path, other.spec, other.state_dict())
        images = background_of(make_generator(), "generator", path)(w_of(), SEEDS)
        streams = [*map(stream, SEEDS)]
        expected = other(z_of(streams), noise=other.noise("random", streams)).image
        torch.testing.assert_close(images, expected)

    def test_a_second_generator_of_another_size(self, make_generator, tmp_path):
        other, path = make_generator(32), tmp_path / "other.safetensors"
        save_generator(path, other.spec, other.state_dict())
        expected = r"background_path .*other.safetensors: draws 32 px, .* 16 px; name one of the sa"
        with pytest.raises(InputRefused, match=expected) as caught:
            background_of(make_generator(), "generator", path)
        assert caught.value.exit_code == 4

    @pytest.mark.parametrize("weights", ["builtin:nope", "catalogue:nope"])
    def test_a_second_generator_of_an_unknown_name(self, make_generator, weights):
        expected = rf"^alpha.background_path: {weights[:-5]} holds no 'nope'; known: "
        with pytest.raises(RecipeError, match=expected) as caught:
            background_of(make_generator(), "generator", weights)
        assert caught.value.exit_code == 2

    @pytest.mark.parametrize(
        ("background", "path"),
        [("generator", "catalogue:stylegan2-ffhq"), ("pictures", "nobody/cats")],
    )
    def test_offline_nothing_is_fetched(
        self, make_generator, monkeypatch, tmp_path, background, path
    ):
        monkeypatch.setenv("L4F_CACHE", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        part = AlphaPart(background=background, background_path=path)
        with pytest.raises(NetworkError, match="is not in the cache, and the network is switched"):
            open_sources(SourceContext(part, make_generator(), offline=True))

    @pytest.mark.parametrize("values", [{"background": "pictures"}, {"background_path": "x"}])
    def test_background_and_path_go_together(self, values):
        with pytest.raises(ValueError, match="pictures or generator and background_path go togeth"):
            AlphaPart.model_validate(values)


class TestBatch:
    def draw(self, part, generator, picked=None):
        draws = draw_latents(3, generator, step_stream(3, 0))
        background = background_of(generator, part.background)
        return render_batch(part, generator, background, draws, picked)

    @pytest.mark.parametrize("rule", ["conv1", "const"])
    def test_foreground_is_truncated_and_background_is_not(self, make_generator, make_part, rule):
        generator = make_generator(noise=0.0)  # what is left is a function of z and psi
        images = self.draw(make_part(rule, psi=0.3), generator)
        z = torch.from_numpy(step_stream(3, 0).randn(3, 8).astype(np.float32))
        foreground, ground = generator(z, 0.3), generator(z, 1.0, mute=rule).image
        found = [images.fg_image, images.bg_image, *map(list, images.features.values())]
        expected = [foreground.image, ground, *map(list, foreground.features.values())]
        assert list(images.features) == list(foreground.features)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)

    def test_noise_is_fresh_for_either_and_for_every_sample(self, make_generator, make_part):
        generator, passes = make_generator(), []
        generator.synthesis.register_forward_pre_hook(lambda net, given: passes.append(given))
        images = self.draw(make_part(), generator, [0, 1])
        assert [given[2:] for given in passes] == [(None,), ("conv1",)]
        foreground, background = (given[1][-1] for given in passes)
        assert foreground.shape == background.shape == (2, 1, 16, 16)
        assert len({float(noise[0, 0, 0]) for noise in (*foreground, *background)}) == 4
        assert torch.equal(generator.synthesis(*passes[0]).image, images.fg_image)

    def test_shuffled_pairs_take_the_next_samples_w(self, make_generator):
        generator, shuffled = make_generator(noise=0.0), AlphaPart(background_shuffled=True)
        images, plain = self.draw(shuffled, generator), self.draw(AlphaPart(), generator)
        assert torch.equal(images.fg_image, plain.fg_image)
        torch.testing.assert_close(images.bg_image, plain.bg_image.roll(-1, 0))
        # A share of the batch sees the same neighbours as the whole.
        last = self.draw(shuffled, generator, [2])
        torch.testing.assert_close(last.bg_image, images.bg_image[2:])
