import numpy as np
import pytest
import torch

from l4f_datagen.checkpoints.open import open_discriminator
from l4f_datagen.cli.train import _open_start
from l4f_datagen.core.errors import InputRefused, UsageError
from l4f_datagen.pretraining.plan import PretrainPlan
from l4f_datagen.pretraining.run import FEWEST, gather_images


def test_every_photograph_becomes_its_middle_square(write_photos, tmp_path):
    folder = write_photos(sizes=((40, 40), (80, 40), (40, 60)))
    pixels = gather_images(str(folder), 32, tmp_path / "images.npy")
    assert pixels.shape == (18, 32, 32, 3)
    # No black bars: the noise of the photographs reaches every border.
    for edge in (pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1]):
        assert edge.astype(float).mean(axis=(1, 2)).min() > 60
    again = gather_images("gone", 32, tmp_path / "images.npy")  # read once
    assert np.array_equal(again, pixels)


def test_too_few_too_small_and_damaged_photographs_are_refused(write_photos, tmp_path):
    with pytest.raises(InputRefused, match=f"at least {FEWEST}"):
        gather_images(str(write_photos(3)), 32, tmp_path / "a.npy")
    with pytest.raises(InputRefused, match="pixels"):
        gather_images(str(write_photos(20, ((9, 9),), "small")), 32, tmp_path / "b.npy")
    assert not list(tmp_path.glob("*.npy*"))


def test_few_photographs_are_warned_about(write_photos, tmp_path, caplog):
    gather_images(str(write_photos(18)), 32, tmp_path / "images.npy")
    assert "only 18 photographs" in caplog.text


def test_scenes_of_a_toy_domain_are_images_too(tmp_path, monkeypatch):
    monkeypatch.setattr("l4f_datagen.pretraining.run.SCENES", 2)
    assert gather_images("toy-cars", 32, tmp_path / "images.npy").shape == (2, 32, 32, 3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resolution": 48}, "--resolution"),
        ({"symmetry": "round"}, "--symmetry"),
        ({"precision": "fp8"}, "--precision"),
        ({"batch": 3}, "--batch"),
        ({"accumulate": 5}, "--batch"),
    ],
)
def test_plans_that_cannot_be_are_refused(changes, said):
    with pytest.raises(UsageError, match=said):
        PretrainPlan(images="x", **changes)


def test_the_length_of_a_run_is_not_its_name():
    identity = PretrainPlan("x").identity
    assert PretrainPlan("x", kimg=90, decay_kimg=1).identity == identity
    assert identity not in (PretrainPlan("x", seed=1).identity, PretrainPlan("y").identity)


def test_the_command_makes_a_generator_that_make_takes(write_photos, tmp_path, small, cli_run):
    out = tmp_path / "run"
    made = out / "generator.safetensors"
    short = ["--start", "none", "--kimg", "0.016", "--decay-kimg", "0", "--device", "cpu"]
    result = cli_run("pretrain", write_photos(18), "--out", out, "--resolution", 32, *short)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(made)
    assert "make --generator" in result.stderr
    # Another run from it takes the discriminator that lies beside.
    judge = open_discriminator(out / "discriminator.safetensors").build().state_dict()
    started = _open_start(str(made), 32).discriminator
    assert all(torch.equal(started[key], value) for key, value in judge.items())
    (out / "discriminator.safetensors").unlink()
    assert _open_start(str(made), 32).discriminator is None
    assert cli_run("inspect", "checkpoint", made).exit_code == 0


@pytest.mark.parametrize(
    "flags",
    [
        ["--resolution", "48"],
        ["--start", "nowhere.pt"],
        ["--resolution", "256", "--start", "toy-cars"],
    ],
)
def test_the_command_says_what_is_wrong_before_it_begins(write_photos, tmp_path, cli_run, flags):
    result = cli_run("pretrain", write_photos(18), "--out", tmp_path / "run", *flags)
    assert result.exit_code == 2
    assert not (tmp_path / "run").exists()
