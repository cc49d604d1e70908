import numpy as np
import pytest
import torch
from PIL import Image

from l4f_datagen.checkpoints.native import save_generator
from l4f_datagen.core.errors import InputRefused, NetworkError, RecipeError
from l4f_datagen.recipe import AlphaPart
from l4f_datagen.training.backgrounds import BACKGROUNDS
from l4f_datagen.training.images import draw_latents, render_pictures
from l4f_datagen.training.loop import open_sources

SEEDS = [5, 6]


def w_of(generator, batch=2):
    return torch.from_numpy(np.random.RandomState(0).randn(batch, 8).astype(np.float32))


def noise_of(generator):
    return generator.noise("random", [np.random.RandomState(seed) for seed in SEEDS])


def part_of(background, path=None, **more):
    return AlphaPart(background=background, background_path=path and str(path), **more)


def test_every_rule_of_a_recipe_is_there():
    names = AlphaPart.model_fields["background"].annotation.__args__
    assert set(BACKGROUNDS) == set(names) == {"conv1", "const", "pictures", "generator"}


@pytest.mark.parametrize("name", ["conv1", "const"])
def test_is_the_generator_with_its_trunk_muted(make_generator, name):
    generator = make_generator()
    w = w_of(generator)
    image = BACKGROUNDS[name](part_of(name), generator)(w, SEEDS)
    assert image.shape == (2, 3, 16, 16)
    ws, noise = generator.truncate(w, 1.0), noise_of(generator)
    assert torch.equal(image, generator.synthesis(ws, noise, name).image)
    assert not torch.allclose(image, generator.synthesis(ws, noise).image, atol=1e-3)
    other = {"conv1": "const", "const": "conv1"}[name]
    others = BACKGROUNDS[other](part_of(other), generator)(w, SEEDS)
    assert not torch.allclose(image, others, atol=1e-3)


def test_no_gradient_flows(make_generator):
    generator = make_generator().requires_grad_(True)
    w = torch.zeros(1, 8, requires_grad=True)
    assert not BACKGROUNDS["conv1"](part_of("conv1"), generator)(w, [1]).requires_grad


def test_pictures_of_a_folder(make_generator, tmp_path):
    for level in (0, 255):
        Image.new("RGB", (16, 16), (level,) * 3).save(tmp_path / f"{level}.png")
    generator = make_generator()
    draw = BACKGROUNDS["pictures"](part_of("pictures", tmp_path), generator)
    images = draw(w_of(generator, 12), list(range(12)))
    levels = [float(image.unique()) for image in images]
    assert set(levels) == {-1.0, 1.0}
    # One sample's picture is a function of its seed alone.
    alone = draw(w_of(generator, 1), [7])
    assert torch.equal(alone[0], images[7])


def test_a_second_generator(make_generator, tmp_path):
    other = make_generator(seed=3)
    save_generator(tmp_path / "other.safetensors", other.spec, other.state_dict())
    generator = make_generator()
    part = part_of("generator", tmp_path / "other.safetensors")
    images = BACKGROUNDS["generator"](part, generator)(w_of(generator), SEEDS)
    streams = [np.random.RandomState(seed) for seed in SEEDS]
    z = np.stack([stream.randn(8) for stream in streams]).astype(np.float32)
    expected = other(torch.from_numpy(z), noise=other.noise("random", streams)).image
    torch.testing.assert_close(images, expected)


def test_a_second_generator_of_another_size(make_generator, tmp_path):
    other = make_generator(32)
    save_generator(tmp_path / "other.safetensors", other.spec, other.state_dict())
    part = part_of("generator", tmp_path / "other.safetensors")
    expected = r"background_path .*other.safetensors: draws 32 px, .* 16 px; name one of the same"
    with pytest.raises(InputRefused, match=expected) as caught:
        BACKGROUNDS["generator"](part, make_generator())
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("weights", ["builtin:nope", "catalogue:nope"])
def test_a_second_generator_of_an_unknown_name(make_generator, weights):
    expected = rf"^alpha.background_path: {weights[:-5]} holds no 'nope'; known: "
    with pytest.raises(RecipeError, match=expected) as caught:
        BACKGROUNDS["generator"](part_of("generator", weights), make_generator())
    assert caught.value.exit_code == 2


def test_offline_a_second_generator_is_not_fetched(make_generator, monkeypatch, tmp_path):
    monkeypatch.setenv("L4F_CACHE", str(tmp_path))
    part = part_of("generator", "catalogue:stylegan2-ffhq")
    with pytest.raises(NetworkError, match="is not in the cache, and the network is switched off"):
        open_sources(part, make_generator(), offline=True)


def test_offline_pictures_are_not_fetched(make_generator, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NetworkError, match="nobody/cats: is not in the cache, and the network i"):
        open_sources(part_of("pictures", "nobody/cats"), make_generator(), offline=True)


def test_shuffled_pairs_take_the_next_samples_w(make_generator):
    generator = make_generator(noise=0.0)
    part = part_of("conv1", background_shuffled=True)
    draws = draw_latents(3, generator, np.random.RandomState(0))
    background = BACKGROUNDS["conv1"](part, generator)
    pictures = render_pictures(part, generator, background, draws, range(3))
    plain = render_pictures(part_of("conv1"), generator, background, draws, range(3))
    assert torch.equal(pictures.fg_image, plain.fg_image)
    torch.testing.assert_close(pictures.bg_image, plain.bg_image.roll(-1, 0))
    # A share of the batch sees the same neighbours as the whole.
    last = render_pictures(part, generator, background, draws, [2])
    torch.testing.assert_close(last.bg_image, pictures.bg_image[2:])


@pytest.mark.parametrize("values", [{"background": "pictures"}, {"background_path": "x"}])
def test_background_and_path_go_together(values):
    with pytest.raises(ValueError, match="pictures or generator and background_path go together"):
        AlphaPart.model_validate(values)
