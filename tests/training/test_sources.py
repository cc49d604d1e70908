import numpy as np
import pytest
import torch
from PIL import Image

from l4f_datagen.checkpoints.native import save_generator
from l4f_datagen.core.errors import InputRefused, NetworkError, RecipeError
from l4f_datagen.io.stores import STORES
from l4f_datagen.recipe import AlphaPart, TrainingPart
from l4f_datagen.toys.scene import TOYS, render_scene
from l4f_datagen.training.images import draw_latents, render_batch
from l4f_datagen.training.sources import BACKGROUNDS, REALS, SourceContext, open_sources

SEEDS = [5, 6]


def stream(seed=0):
    return np.random.RandomState(seed)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


def reals_of(generator, **training):
    part = AlphaPart(training=TrainingPart(**training))
    return REALS[part.training.reals](SourceContext(part, generator))


def background_of(generator, background, path=None, **more):
    part = AlphaPart(background=background, background_path=path and str(path), **more)
    return BACKGROUNDS[background](SourceContext(part, generator))


def w_of(batch=2):
    return torch.from_numpy(np.random.RandomState(0).randn(batch, 8).astype(np.float32))


def test_every_source_of_a_recipe_is_there():
    assert set(REALS) == set(TrainingPart.model_fields["reals"].annotation.__args__)
    assert set(REALS) == {"generator", *TOYS, *STORES}
    assert set(BACKGROUNDS) == set(AlphaPart.model_fields["background"].annotation.__args__)


class TestReals:
    def test_generator_by_hand(self, make_generator):
        generator = make_generator()
        torch.manual_seed(1)
        images = reals_of(generator, reals_psi=0.6)(stream(4), 2)
        same = stream(4)
        z = torch.from_numpy(same.randn(2, 8).astype(np.float32))
        noise = generator.noise("random", [stream(same.randint(2**31)) for _ in range(2)])
        assert torch.equal(images, generator(z, 0.6, noise=noise).image)

    def test_every_sample_of_the_generator_has_its_own_noise(self, make_generator):
        images = reals_of(make_generator(), reals_psi=0.0)(stream(), 2)
        assert not torch.allclose(images[0], images[1], atol=1e-3)
        images = reals_of(make_generator(noise=0.0), reals_psi=0.0)(stream(), 2)
        assert torch.allclose(images[0], images[1], atol=1e-6)

    @pytest.mark.parametrize("domain", TOYS)
    def test_toys_are_fresh_renders(self, make_generator, domain):
        images = reals_of(make_generator(32), reals=domain)(stream(5), 2)
        seeds = stream(5).randint(0, 2**31, 2)
        for image, seed in zip(images, seeds, strict=True):
            render = render_scene(int(seed), 32, domain).image
            assert np.array_equal(np.rint((image.numpy() + 1) * 127.5), render.transpose(2, 0, 1))

    def test_photographs_are_drawn_from_the_whole_tree(self, tmp_path, make_generator):
        for k, name in enumerate(["b.png", "deep/er/a.jpeg", "c.WEBP", "d.bmp"]):
            save(tmp_path / name, np.full((16, 16, 3), 50 + 50 * k))
        draw = reals_of(make_generator(), reals="folder", reals_folder=str(tmp_path))
        images = draw(stream(), 40)
        assert images.shape == (40, 3, 16, 16)
        assert images.dtype == torch.float32
        levels = {round(v.item() / 10) * 10 for v in (images.mean(dim=(1, 2, 3)) + 1) * 127.5}
        assert levels == {50, 100, 150, 200}
        assert torch.equal(draw(stream(), 40), images)
        assert not torch.equal(draw(stream(1), 40), images)

    @pytest.mark.parametrize(
        ("fit", "crop", "lit"),
        [
            ("crop", None, (slice(0, 16), slice(0, 16))),
            ("crop", (0, 2, 16, 14), (slice(2, 14), slice(0, 16))),
            ("pad", None, (slice(4, 12), slice(0, 16))),
        ],
    )
    def test_photographs_fill_what_the_generator_draws(
        self, tmp_path, make_generator, fit, crop, lit
    ):
        save(tmp_path / "wide.png", np.full((16, 32, 3), 255))
        training = TrainingPart(reals="folder", reals_folder=str(tmp_path))
        part = AlphaPart(fit=fit, training=training)
        image = REALS["folder"](SourceContext(part, make_generator(), crop))(stream(), 1)
        expected = torch.full((3, 16, 16), -1.0)
        expected[:, lit[0], lit[1]] = 1.0
        assert torch.equal(image[0], expected)


@pytest.mark.parametrize("name", ["conv1", "const"])
def test_is_the_generator_with_its_trunk_muted(make_generator, name):
    generator = make_generator()
    w = w_of()
    image = background_of(generator, name)(w, SEEDS)
    assert image.shape == (2, 3, 16, 16)
    ws, noise = generator.truncate(w, 1.0), generator.noise("random", [stream(k) for k in SEEDS])
    assert torch.equal(image, generator.synthesis(ws, noise, name).image)
    assert not torch.allclose(image, generator.synthesis(ws, noise).image, atol=1e-3)
    other = {"conv1": "const", "const": "conv1"}[name]
    others = background_of(generator, other)(w, SEEDS)
    assert not torch.allclose(image, others, atol=1e-3)


def test_no_gradient_flows(make_generator):
    generator = make_generator().requires_grad_(True)
    w = torch.zeros(1, 8, requires_grad=True)
    assert not background_of(generator, "conv1")(w, [1]).requires_grad


def test_photographs_of_a_folder(make_generator, tmp_path):
    for level in (0, 255):
        Image.new("RGB", (16, 16), (level,) * 3).save(tmp_path / f"{level}.png")
    generator = make_generator()
    draw = background_of(generator, "pictures", tmp_path)
    images = draw(w_of(12), list(range(12)))
    levels = [float(image.unique()) for image in images]
    assert set(levels) == {-1.0, 1.0}
    # One sample's image is a function of its seed alone.
    alone = draw(w_of(1), [7])
    assert torch.equal(alone[0], images[7])


def test_a_second_generator(make_generator, tmp_path):
    other = make_generator(seed=3)
    save_generator(tmp_path / "other.safetensors", other.spec, other.state_dict())
    generator = make_generator()
    draw = background_of(generator, "generator", tmp_path / "other.safetensors")
    images = draw(w_of(), SEEDS)
    streams = [np.random.RandomState(seed) for seed in SEEDS]
    z = np.stack([stream.randn(8) for stream in streams]).astype(np.float32)
    expected = other(torch.from_numpy(z), noise=other.noise("random", streams)).image
    torch.testing.assert_close(images, expected)


def test_a_second_generator_of_another_size(make_generator, tmp_path):
    other = make_generator(32)
    save_generator(tmp_path / "other.safetensors", other.spec, other.state_dict())
    expected = r"background_path .*other.safetensors: draws 32 px, .* 16 px; name one of the same"
    with pytest.raises(InputRefused, match=expected) as caught:
        background_of(make_generator(), "generator", tmp_path / "other.safetensors")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("weights", ["builtin:nope", "catalogue:nope"])
def test_a_second_generator_of_an_unknown_name(make_generator, weights):
    expected = rf"^alpha.background_path: {weights[:-5]} holds no 'nope'; known: "
    with pytest.raises(RecipeError, match=expected) as caught:
        background_of(make_generator(), "generator", weights)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("background", "path"),
    [("generator", "catalogue:stylegan2-ffhq"), ("pictures", "nobody/cats")],
)
def test_offline_nothing_is_fetched(make_generator, monkeypatch, tmp_path, background, path):
    monkeypatch.setenv("L4F_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    part = AlphaPart(background=background, background_path=path)
    with pytest.raises(NetworkError, match="is not in the cache, and the network is switched off"):
        open_sources(SourceContext(part, make_generator(), offline=True))


def test_shuffled_pairs_take_the_next_samples_w(make_generator):
    generator = make_generator(noise=0.0)
    part = AlphaPart(background_shuffled=True)
    draws = draw_latents(3, generator, np.random.RandomState(0))
    background = background_of(generator, "conv1")
    images = render_batch(part, generator, background, draws)
    plain = render_batch(AlphaPart(), generator, background, draws)
    assert torch.equal(images.fg_image, plain.fg_image)
    torch.testing.assert_close(images.bg_image, plain.bg_image.roll(-1, 0))
    # A share of the batch sees the same neighbours as the whole.
    last = render_batch(part, generator, background, draws, [2])
    torch.testing.assert_close(last.bg_image, images.bg_image[2:])


@pytest.mark.parametrize("values", [{"background": "pictures"}, {"background_path": "x"}])
def test_background_and_path_go_together(values):
    with pytest.raises(ValueError, match="pictures or generator and background_path go together"):
        AlphaPart.model_validate(values)
