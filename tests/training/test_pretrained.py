"""A training that starts from the checkpoint's own discriminator, wherever that lies."""

import pytest
import torch

from l4f_datagen.checkpoints.native import save_discriminator, save_generator
from l4f_datagen.checkpoints.open import discriminator_beside, open_generator
from l4f_datagen.core.errors import CheckpointRefused
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.recipe import Recipe
from l4f_datagen.training.identity import training_id
from l4f_datagen.training.run import pretrained, train_alpha


def write_judge(path, channels, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = Discriminator(max(channels), channels)
    save_discriminator(path, judge)
    return judge.state_dict()


@pytest.fixture
def run(tmp_path, make_generator):
    """The folder of a pretraining, as far as both networks go."""
    folder = tmp_path / "run"
    folder.mkdir()
    spec = make_generator().spec
    save_generator(folder / "generator.safetensors", spec, make_generator().state_dict())
    write_judge(folder / "discriminator.safetensors", spec.channels)
    return folder


def test_only_under_the_names_that_pretrain_writes(run):
    generator, judge = run / "generator.safetensors", run / "discriminator.safetensors"
    assert discriminator_beside(generator) == judge
    assert discriminator_beside(run / "other.safetensors") is None
    assert discriminator_beside(run / "..") is None
    judge.rename(run / "judge.safetensors")
    assert discriminator_beside(generator) is None


def test_a_training_starts_from_the_discriminator_beside_its_generator(run, make_part, tmp_path):
    checkpoint = open_generator(run / "generator.safetensors")
    path = run / "discriminator.safetensors"
    written = write_judge(path, checkpoint.spec.channels, seed=7)
    assert pretrained(make_part(), checkpoint) is None
    part = make_part(discriminator="pretrained")
    opened = pretrained(part, checkpoint).state_dict()
    assert [name for name, value in written.items() if not torch.equal(opened[name], value)] == []
    networks = []
    for kind in ("pretrained", "scratch"):
        recipe = Recipe(domain="tiny", alpha=make_part(discriminator=kind))
        out = tmp_path / kind
        networks.append(train_alpha(recipe, checkpoint, out, device="cpu").path.read_bytes())
    assert networks[0] != networks[1]


def test_one_of_another_size_is_refused_by_its_own_name(run, make_part):
    write_judge(run / "discriminator.safetensors", {4: 4, 8: 4, 16: 4, 32: 4})
    checkpoint = open_generator(run / "generator.safetensors")
    expected = r"discriminator: the one in .*run/discriminator.safetensors takes 32 px, images have"
    with pytest.raises(CheckpointRefused, match=expected):
        pretrained(make_part(discriminator="pretrained"), checkpoint)


def test_the_discriminator_names_a_training_that_starts_from_it(run, make_part):
    checkpoint = open_generator(run / "generator.safetensors")
    path, channels = run / "discriminator.safetensors", checkpoint.spec.channels
    names = {"pretrained": [], "scratch": []}
    for seed in (0, 0, 1):
        write_judge(path, channels, seed)
        for kind, found in names.items():
            found.append(training_id(make_part(discriminator=kind), checkpoint))
    first, same, other = names["pretrained"]
    assert first == same != other
    assert len(set(names["scratch"])) == 1
    path.unlink()  # then it can only lie in the generator's file, whose bytes name it
    assert training_id(make_part(discriminator="pretrained"), checkpoint) not in (first, other)
