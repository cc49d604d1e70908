"""Pictures and checkpoints that a training cannot use: one line, no folder claimed."""

import datasets
import lmdb
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from l4f_datagen.checkpoints.native import save_alpha, save_generator
from l4f_datagen.checkpoints.open import open_generator
from l4f_datagen.cli import cli
from l4f_datagen.training import loop as training_module
from l4f_datagen.training.state import StepFacts


@pytest.fixture
def refused(tmp_path, generator_file):
    """Run a command that has to be refused, and return the one line it says."""

    def call(command, *flags, exit_code=4, claims=False):
        words = [command, "--generator", generator_file, "--out", tmp_path / "run", *flags]
        env = {"L4F_CACHE": str(tmp_path / "cache")}
        result = CliRunner(env=env).invoke(cli, [str(word) for word in words])
        assert result.exit_code == exit_code, result.output
        *before, line = result.stderr.splitlines()
        assert not any(text.startswith(("Error", "Traceback")) for text in before)
        assert line.startswith("Error: ")
        assert (tmp_path / "run").exists() == claims
        return line.removeprefix("Error: ")

    return call


def small(path):
    path.mkdir()
    Image.new("RGB", (7, 5)).save(path / "a.png")


def no_rows():
    features = datasets.Features(image=datasets.Image())
    return datasets.Dataset.from_dict({"image": []}, features=features)


def empty_dataset(path):
    no_rows().save_to_disk(str(path))


def empty_parquet(path):
    path.mkdir()
    no_rows().to_parquet(str(path / "train-00000.parquet"))


def text_dataset(path):
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(str(path))


ENDINGS = ".png .bmp .tif .tiff .webp .gif .jpg .jpeg"
NONE = f": holds no image ({ENDINGS}); name photographs of the domain"
BAD_REALS = {
    "too small": (
        small,
        "/a.png: is 7 x 5 pixels, the generator draws 16 x 16; "
        "take photographs of at least half of either side",
    ),
    "empty folder": (lambda path: path.mkdir(), NONE),
    "empty dataset": (empty_dataset, ": holds no rows; name a dataset with images"),
    "empty parquet": (
        empty_parquet,
        ': cannot be opened (Instruction "train" corresponds to no data!); '
        "name a dataset with images",
    ),
    "dataset of text": (text_dataset, ": has no image column, only text; name another dataset"),
}


@pytest.mark.parametrize("name", BAD_REALS)
def test_reals_that_cannot_be_used(refused, tmp_path, name):
    make, problem = BAD_REALS[name]
    folder = tmp_path / r"my\n 'reals': #1"  # meant as it is spelt
    make(folder)
    assert refused("train", "--reals", folder).startswith(f"{folder}{problem}")


def test_reals_of_no_name(refused):
    """An unset variable of the shell does not stand for the folder one happens to be in."""
    line = refused("train", "--reals", "", exit_code=2)
    assert line == "--reals: is empty; name photographs of the domain"


OFFLINE = {
    "reals": ("--reals", "nobody/cats"),
    "backgrounds": (
        "--set=alpha.background=generator",
        "--set=alpha.background_path=catalogue:stylegan2-ffhq",
    ),
}


@pytest.mark.parametrize("command", ["train", "make"])
@pytest.mark.parametrize("name", OFFLINE)
def test_offline_fetches_neither_reals_nor_backgrounds(
    command, name, tmp_path, monkeypatch, generator_file
):
    monkeypatch.chdir(tmp_path)
    flags = OFFLINE[name]
    if command == "make" and name == "reals":
        flags = ("--set=alpha.training.reals=hf", "--set=alpha.training.reals_folder=nobody/cats")
    flags = [*flags, *(("--n", "2") if command == "make" else ())]
    words = [command, "--generator", str(generator_file), "--out", "run", "--offline", *flags]
    result = CliRunner(env={"L4F_CACHE": str(tmp_path / "cache")}).invoke(cli, words)
    assert result.exit_code == 5, result.output
    assert "is not in the cache, and the network is switched off; " in result.stderr
    assert not (tmp_path / "run" / "alpha.safetensors").exists()


def test_backgrounds_that_cannot_be_used(refused, tmp_path):
    small(tmp_path / "grounds")
    flags = ("alpha.background=pictures", f"alpha.background_path={tmp_path / 'grounds'}")
    line = refused("train", *(f"--set={flag}" for flag in flags))
    assert line.startswith(f"{tmp_path / 'grounds'}/a.png: is 7 x 5 pixels")


def test_make_refuses_the_same_before_it_trains(refused, tmp_path):
    lmdb.open(str(tmp_path / "reals"), map_size=2**20).close()
    flags = ("alpha.training.reals=lmdb", f"alpha.training.reals_folder={tmp_path / 'reals'}")
    line = refused("make", "--n", 2, *(f"--set={flag}" for flag in flags))
    assert line == f"{tmp_path / 'reals'}{NONE}"


@pytest.mark.parametrize(("resolution", "seed"), [(16, 9), (32, 0)])
def test_an_alpha_network_of_another_generator(
    refused, tmp_path, make_generator, make_alpha, resolution, seed
):
    other = make_generator(resolution, seed=seed)
    save_generator(tmp_path / "other.safetensors", other.spec, other.state_dict())
    fingerprint = open_generator(tmp_path / "other.safetensors").fingerprint
    path = tmp_path / "alpha.safetensors"
    save_alpha(path, make_alpha(other), generator_fingerprint=fingerprint)
    line = refused("make", "--n", 2, "--alpha", path)
    problem = "was trained on another" if resolution == 16 else "is for images of"
    remedy = "train one with `l4f-datagen train`" if resolution == 16 else "belong together"
    assert line.startswith(f"{path}: {problem}")
    assert line.endswith(remedy)


def test_photographs_of_another_class(refused, tmp_path, monkeypatch):
    """The discriminator recognises every composite, whatever is tried."""

    def beaten(training, setting):
        training.step += 1
        facts = StepFacts(training.step, 0.001, 9.0, 0.1, 0.3, training.attempt)
        training.note(facts)
        return facts

    monkeypatch.setattr(training_module, "train_step", beaten)
    (tmp_path / "cats").mkdir()
    noise = np.random.RandomState(0).randint(0, 256, (16, 16, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "cats" / "a.png")
    flags = ("--set=alpha.training.batch=2", "--set=alpha.training.attempts=2")
    line = refused("train", "--steps", 60, "--reals", tmp_path / "cats", *flags, claims=True)
    assert line == (
        f"{tmp_path / 'cats'}: the discriminator recognises every composite beside these "
        "photographs: they show another class, or do not look like the generator's images; "
        "use photographs of what the generator draws, or --reals generator"
    )
