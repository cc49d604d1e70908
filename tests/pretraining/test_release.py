"""A run of a few steps, released into a folder and opened as users open it."""

import json
from functools import partial

import pytest
import torch
from click.testing import CliRunner

from l4f_datagen.checkpoints.native import save_alpha
from l4f_datagen.checkpoints.open import open_alpha, open_discriminator, open_generator
from l4f_datagen.core.errors import InputRefused
from l4f_datagen.models.mapping import draw_z
from l4f_datagen.pretraining import pretrain, release
from l4f_datagen.pretraining import state as state_module
from l4f_datagen.pretraining.state import PretrainPlan
from l4f_datagen.recipe.domains import BUILTIN, Builtin, load_recipe
from l4f_datagen.training.run import TrainedAlpha

PLAN = PretrainPlan(
    domain="toy-fish",
    seed=6,
    kimg=0.004,
    scenes=4,
    batch=2,
    decay_kimg=0.002,
    ema_kimg=0.01,
    snapshot_kimg=0.002,
    distance_samples=4,
)
SHORT = ["alpha.training.steps=2", "alpha.training.batch=2", "alpha.training.snapshot_interval=1"]


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path, tiny_pretraining):
    """Two steps of alpha training, nothing packaged."""

    def short_recipe(source, overrides, defaults):
        return load_recipe(source, [*overrides, *SHORT], defaults)

    for name in BUILTIN:
        monkeypatch.setitem(BUILTIN, name, Builtin(tmp_path / "weights" / name, 64))
    monkeypatch.setattr(release, "load_recipe", short_recipe)
    monkeypatch.setattr(release, "CHECKED", range(3))


@pytest.fixture
def untrained(monkeypatch, make_alpha):
    """An alpha network as it starts, where its training is beside the point."""

    def train_alpha(recipe, checkpoint, out, *, generator):
        save_alpha(
            out.with_suffix(".safetensors"),
            make_alpha(generator),
            generator_fingerprint=checkpoint.fingerprint,
        )
        return TrainedAlpha(out.with_suffix(".safetensors"), None)

    monkeypatch.setattr(release, "train_alpha", train_alpha)


def released(run):
    result = CliRunner().invoke(release.main, ["--run", str(run)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


@pytest.fixture
def run(tmp_path):
    pretrain.train(PLAN, tmp_path / "run")
    return tmp_path / "run"


def test_what_is_written_opens_and_belongs_together(run, tmp_path):
    said = released(run)
    folder = tmp_path / "weights" / "toy-fish"
    assert f"weights in {folder}" in said
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "alpha.safetensors",
        "discriminator.safetensors",
        "generator.safetensors",
    ]
    assert not (tmp_path / "weights" / "toy-cars").exists()

    checkpoint = open_generator(folder / "generator.safetensors")
    assert checkpoint.licence.name == "apache-2.0"
    trained = torch.load(run / "state.pt", weights_only=True)
    generator = checkpoint.build()
    z = torch.from_numpy(draw_z(range(2), 128))
    reference = state_module.new_state(PLAN).g_ema
    reference.load_state_dict(trained["g_ema"])
    torch.testing.assert_close(generator(z).image, reference(z).image, atol=8e-3, rtol=0)
    judge = open_discriminator(folder / "discriminator.safetensors").build()
    for name, value in judge.state_dict().items():
        torch.testing.assert_close(value, trained["discriminator"][name].half().float())
    alpha = open_alpha(folder / "alpha.safetensors")
    assert alpha.generator_fingerprint == checkpoint.fingerprint


def test_the_readme_says_how(run, tmp_path, untrained):
    released(run)
    words = (tmp_path / "weights" / "toy-fish" / "README.md").read_text()
    assert words.startswith("# Weights of toy-fish\n")
    assert (
        "pretrain --out RUN --domain toy-fish --kimg 0.004 --decay-kimg 0.002 --seed 6\n" in words
    )
    assert "release --run RUN\n" in words
    assert "recipes/toy-fish.yaml" in words
    assert "shipped weights" not in words
    entries = [json.loads(line) for line in (run / "distance.jsonl").read_text().splitlines()]
    for entry in entries:
        assert f"| {entry['kimg']:g} | {entry['frechet']} |" in words
    assert "the recipe's training, seed 0, 2 steps" in words
    assert "{" not in words


def rewrite(run, change):
    log = run / "distance.jsonl"
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    for entry in entries:
        change(entry["plan"])
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def test_a_started_run_names_its_start_and_needs_it_no_more(run, tmp_path, untrained):
    rewrite(run, partial(dict.update, start="toy-cars"))
    released(run)  # there are no weights of toy-cars here
    words = (tmp_path / "weights" / "toy-fish" / "README.md").read_text()
    assert "--domain toy-fish --start toy-cars --kimg" in words
    assert "scene.py`, from the shipped weights of toy-cars:\n" in words


def test_a_log_that_names_no_domain_is_of_toy_cars(run, tmp_path, untrained):
    rewrite(run, lambda plan: [plan.pop(name) for name in ("domain", "start")])
    released(run)
    assert (tmp_path / "weights" / "toy-cars" / "generator.safetensors").is_file()
    assert "--domain toy-cars" in (tmp_path / "weights" / "toy-cars" / "README.md").read_text()
    assert not (tmp_path / "weights" / "toy-fish").exists()


def test_the_last_distance_of_a_length_counts(run):
    log = run / "distance.jsonl"
    first = json.loads(log.read_text().splitlines()[0])
    with log.open("a") as file:
        file.write(json.dumps(first | {"frechet": 7.0}) + "\n")
    plan, history = release.recorded(run)
    assert plan == PLAN
    assert [entry["kimg"] for entry in history] == [0.002, 0.004]
    assert history[0]["frechet"] == 7.0


@pytest.mark.parametrize("missing", ["distance.jsonl", "state.pt"])
def test_a_folder_without_a_run_is_refused(run, missing, tmp_path):
    (run / missing).unlink()
    with pytest.raises(InputRefused, match=r"run: holds no pretraining run with a snapshot; name"):
        CliRunner().invoke(release.main, ["--run", str(run)], catch_exceptions=False)
    assert not (tmp_path / "weights").exists()
