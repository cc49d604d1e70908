"""What names a training: everything that decides the weights, and nothing else."""

import copy

import pytest
from PIL import Image

from l4f_datagen.checkpoints.native import save_generator
from l4f_datagen.checkpoints.open import open_generator
from l4f_datagen.recipe import AlphaPart
from l4f_datagen.recipe.domains import local_weights
from l4f_datagen.training.run import cached_training, training_id


@pytest.fixture
def checkpoint(generator_file):
    return open_generator(generator_file)


def write_images(folder, size=(16, 16)):
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("a.png", "b.png"):
        Image.new("RGB", size).save(folder / name)
    return str(folder)


def with_folder(folder):
    training = {"reals": "folder", "reals_folder": folder}
    path = {"background": "pictures", "background_path": folder}
    return [AlphaPart.model_validate(values) for values in ({"training": training}, path)]


def test_generators_of_other_values_are_others(tmp_path, make_generator, monkeypatch):
    """Half precision draws other last bits, clipping others; noise maps are not used."""
    monkeypatch.setenv("L4F_CACHE", str(tmp_path / "cache"))
    path, plain = tmp_path / "g.safetensors", make_generator()

    def named(generator=plain, state=None, **options):
        save_generator(path, generator.spec, state or generator.state_dict(), **options)
        opened = open_generator(path)
        return cached_training(AlphaPart(), opened, None), opened.fingerprint

    noisy = copy.deepcopy(plain.state_dict())
    for name, value in noisy.items():
        if name.endswith("noise_const"):
            value.fill_(1.0)
    clipped = [named(make_generator(conv_clamp=clamp)) for clamp in (1.0, 256.0)]
    names = [named(), named(half=True), *clipped]
    assert len({folder for folder, _ in names}) == 4
    assert names[0][1] == names[1][1]  # the fingerprint is that of the network as it was
    assert named(state=noisy)[0] == names[0][0]


@pytest.mark.parametrize("values", [{"training": {"precision": "bf16"}}, {"training": {"seed": 1}}])
def test_what_decides_the_weights_names_them(checkpoint, values):
    other = AlphaPart.model_validate(values)
    assert training_id(other, checkpoint) != training_id(AlphaPart(), checkpoint)


def test_how_photographs_are_cut_matters_where_there_are_some(checkpoint, tmp_path):
    crop, padded = (0, 2, 16, 14), {"fit": "pad"}
    plain = training_id(AlphaPart(), checkpoint)
    assert training_id(AlphaPart(**padded), checkpoint, crop) == plain
    for part in with_folder(write_images(tmp_path / "set")):
        names = {training_id(part, checkpoint), training_id(part, checkpoint, crop)}
        assert len(names | {training_id(part.model_copy(update=padded), checkpoint)}) == 3


def test_images_name_a_training_wherever_they_lie_and_change_it(checkpoint, tmp_path):
    def named(folder, size=(16, 16)):
        parts = with_folder(write_images(tmp_path / folder, size))
        return [training_id(part, checkpoint) for part in parts]

    here = named("here")
    assert named("here") == here == named("there")
    assert not set(here) & set(named("here", (16, 20)))


def test_a_second_generator_is_named_by_its_bytes(checkpoint, tmp_path):
    file = tmp_path / "other.safetensors"
    part = AlphaPart.model_validate({"background": "generator", "background_path": str(file)})
    names = {training_id(part, checkpoint)}
    for content in (b"one", b"two"):
        file.write_bytes(content)
        names.add(training_id(part, checkpoint))
    assert len(names) == 3


def test_a_generator_of_the_catalogue_is_named_before_it_is_fetched(
    checkpoint, tmp_path, monkeypatch
):
    monkeypatch.setenv("L4F_CACHE", str(tmp_path))
    path = "catalogue:stylegan2-car"
    part = AlphaPart.model_validate({"background": "generator", "background_path": path})
    before = training_id(part, checkpoint)
    file = local_weights(path, "generator")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"fetched")
    assert training_id(part, checkpoint) == before
