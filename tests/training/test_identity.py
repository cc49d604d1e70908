"""What names a training: everything that decides the weights, and nothing else."""

import copy

import pytest
from PIL import Image

from l4f_datagen.checkpoints.native import save_generator
from l4f_datagen.checkpoints.open import open_generator
from l4f_datagen.recipe import AlphaPart
from l4f_datagen.recipe.domains import local_weights
from l4f_datagen.training.identity import cached_training, images_of, training_id


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


def test_half_precision_twins_are_two(tmp_path, make_generator, monkeypatch):
    """They draw other last bits, and so train to other networks."""
    monkeypatch.setenv("L4F_CACHE", str(tmp_path))
    generator, names = make_generator(), set()
    for half in (False, True):
        path = tmp_path / f"{half}.safetensors"
        save_generator(path, generator.spec, generator.state_dict(), half=half)
        twin = open_generator(path)
        names.add(cached_training(AlphaPart(), twin))
        assert twin.fingerprint == open_generator(tmp_path / "False.safetensors").fingerprint
    assert len(names) == 2


def test_a_twin_that_clips_is_another(tmp_path, make_generator):
    names = set()
    for clamp in (None, 1.0, 256.0):
        generator = make_generator(conv_clamp=clamp)
        save_generator(tmp_path / "g.safetensors", generator.spec, generator.state_dict())
        names.add(training_id(AlphaPart(), open_generator(tmp_path / "g.safetensors")))
    assert len(names) == 3


def test_a_copy_with_other_noise_maps_is_the_same(tmp_path, make_generator):
    generator, names = make_generator(), set()
    for level in (0.0, 1.0):
        state = copy.deepcopy(generator.state_dict())
        for name in state:
            if name.endswith("noise_const"):
                state[name].fill_(level)
        save_generator(tmp_path / "g.safetensors", generator.spec, state)
        names.add(training_id(AlphaPart(), open_generator(tmp_path / "g.safetensors")))
    assert len(names) == 1


@pytest.mark.parametrize("values", [{"training": {"precision": "bf16"}}, {"training": {"seed": 1}}])
def test_what_decides_the_weights_names_them(checkpoint, values):
    other = AlphaPart.model_validate(values)
    assert training_id(other, checkpoint) != training_id(AlphaPart(), checkpoint)
    assert images_of(other) == {}


def test_how_photographs_are_cut_matters_where_there_are_some(checkpoint, tmp_path):
    crop = (0, 2, 16, 14)
    assert training_id(AlphaPart(fit="pad"), checkpoint, crop) == training_id(
        AlphaPart(), checkpoint
    )
    for part in with_folder(write_images(tmp_path / "set")):
        padded = part.model_copy(update={"fit": "pad"})
        names = {training_id(part, checkpoint), training_id(part, checkpoint, crop)}
        assert len(names | {training_id(padded, checkpoint)}) == 3


def test_a_changed_image_gives_another_training(checkpoint, tmp_path):
    parts = with_folder(write_images(tmp_path / "set"))
    before = [training_id(part, checkpoint) for part in parts]
    assert [training_id(part, checkpoint) for part in parts] == before
    write_images(tmp_path / "set", (16, 20))
    assert not set(before) & {training_id(part, checkpoint) for part in parts}


def test_images_name_a_training_wherever_they_lie(checkpoint, tmp_path):
    here, there = (with_folder(write_images(tmp_path / name)) for name in ("here", "there"))
    assert [training_id(part, checkpoint) for part in here] == [
        training_id(part, checkpoint) for part in there
    ]


def test_a_second_generator_is_named_by_its_bytes(checkpoint, tmp_path):
    file = tmp_path / "other.safetensors"
    part = AlphaPart.model_validate({"background": "generator", "background_path": str(file)})
    assert images_of(part) == {}
    names = set()
    for content in (b"one", b"two"):
        file.write_bytes(content)
        names.add(training_id(part, checkpoint))
    assert len(names) == 2


def test_a_generator_of_the_catalogue_is_named_before_it_is_fetched(
    checkpoint, tmp_path, monkeypatch
):
    monkeypatch.setenv("L4F_CACHE", str(tmp_path))
    part = {"background": "generator", "background_path": "catalogue:stylegan2-car"}
    alpha_part = AlphaPart.model_validate(part)
    before = training_id(alpha_part, checkpoint)
    file = local_weights(part["background_path"], "generator")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"fetched")
    assert training_id(alpha_part, checkpoint) == before
