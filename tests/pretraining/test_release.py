"""From a run to the weights that ship: what is stored, said and refused; and those that do ship."""

import json
from dataclasses import asdict

import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open

from l4f_datagen.checkpoints.native import save_discriminator, save_generator
from l4f_datagen.checkpoints.open import open_alpha, open_discriminator, open_generator
from l4f_datagen.core.errors import CheckpointRefused, InputRefused, L4FError
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.pretraining import release as release_module
from l4f_datagen.pretraining.plan import PretrainPlan
from l4f_datagen.pretraining.release import command_line, moved_levels
from l4f_datagen.recipe.domains import BUILTIN, BUILTIN_PX, load_recipe

DOMAIN = "blood-cells"
NAMES = ["README.md", "alpha.safetensors", "discriminator.safetensors", "generator.safetensors"]
TINY = {"reals": "generator", "balance": "fixed", "self_training": 0, "steps": 2, "batch": 2}
ROWS = ((8, 2.5), (4, 9.75), (8, 1.25))
"""Thousand images and distance of each snapshot; the second run of 8 kimg replaces the first."""


def facts_of(**changes):
    plan = PretrainPlan("cells", resolution=32, seed=7, batch=8, kimg=12, decay_kimg=4, **changes)
    return asdict(plan) | {"planned_kimg": 12, "kimg": 8, "minutes": 31.4}


def amplify(generator, factor):
    for name, parameter in generator.named_parameters():
        if name.endswith("torgb.weight"):
            parameter.data *= factor
    return generator


@pytest.fixture
def generator(make_generator):
    """One whose images do not show the rounding to half precision."""
    return amplify(make_generator(), 0.03)


@pytest.fixture
def run(tmp_path, generator):
    """The folder of a pretraining, as far as a release reads it."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_generator(folder, generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        judge = Discriminator(generator.spec.resolution, generator.spec.channels)
    save_discriminator(folder / "discriminator.safetensors", judge)
    rows = [json.dumps({"kimg": kimg, "frechet": value}) + "\n" for kimg, value in ROWS]
    (folder / "progress.jsonl").write_text("".join(rows))
    return folder


def write_generator(folder, generator):
    path, weights = folder / "generator.safetensors", generator.state_dict()
    save_generator(path, generator.spec, weights, training=facts_of(symmetry="square"))


@pytest.fixture
def release(tmp_path, monkeypatch):
    """Release a run as a domain whose weights lie in a folder of the test; return that folder."""
    target = tmp_path / "weights" / DOMAIN
    training = {f"alpha__training__{name}": value for name, value in TINY.items()}
    monkeypatch.setitem(BUILTIN, DOMAIN, target)
    monkeypatch.setattr(
        release_module, "load_recipe", lambda name, **more: load_recipe(name, **training, **more)
    )

    def make(run):
        words = ["--run", str(run), "--domain", DOMAIN, "--photos", "pbc.zip"]
        result = CliRunner().invoke(release_module.main, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert result.stdout == f"weights in {target}\n"
        return target

    make.target = target
    return make


def stored(path):
    with safe_open(path, "pt") as file:
        return {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118


def test_a_release_holds_three_networks_and_says_how_they_were_made(run, release, generator):
    target = release(run)
    assert sorted(path.name for path in target.iterdir()) == NAMES
    shipped = open_generator(target / "generator.safetensors")
    alpha = open_alpha(target / "alpha.safetensors")
    assert alpha.generator_fingerprint == shipped.fingerprint
    assert (target / NAMES[1]).read_bytes() == (run / "alpha" / NAMES[1]).read_bytes()
    assert shipped.native.training["seed"] == 7
    assert shipped.origin == "l4f-datagen pretrain"
    terms = load_recipe(DOMAIN).generator.licence
    for checkpoint in (shipped, alpha, open_discriminator(target / "discriminator.safetensors")):
        assert checkpoint.licence == terms
    assert terms.attribution

    kinds = stored(target / "generator.safetensors")
    assert kinds["synthesis.b16.conv1.weight"] == "F16"
    assert {kinds[n] for n in kinds if n.startswith("mapping.") or n.endswith("bias")} == {"F32"}
    assert set(stored(target / "discriminator.safetensors").values()) == {"F16", "F32"}
    levels = moved_levels(generator, shipped.build())
    assert levels <= 1

    words = (target / "README.md").read_text()
    size = sum(parameter.numel() for parameter in generator.parameters())
    for fact in (
        f"# Weights of {DOMAIN}\n\ncc-by-4.0. {load_recipe(DOMAIN).description}",
        "l4f-datagen pretrain pbc.zip --out RUN --resolution 32 --symmetry square --batch 8 "
        "--seed 7 --kimg 12 --decay-kimg 4 --start none\n",
        f"python -m l4f_datagen.pretraining.release --run RUN --domain {DOMAIN}\n",
        f"averaged generator, 16 px | {size:,} | fp16; its mapping network, biases and constants",
        f"Stored so, no pixel of 200 images moves by more than {levels} level of 255.",
        "Generator: seed 7, batch 8, 8 kimg, 31 minutes.",
        "|--:|--:|\n| 4 | 9.75 |\n| 8 | 1.25 |\n\n",
        "the recipe's training, seed 0, 2 steps and\n0 rounds of self-training",
    ):
        assert fact in words


def test_where_half_precision_moves_images_the_generator_stays_whole(run, release, generator):
    amplify(generator, 30_000)  # black or white, and a little rounding turns one into the other
    write_generator(run, generator)
    target = release(run)
    assert set(stored(target / "generator.safetensors").values()) == {"F32"}
    assert "F16" in stored(target / "discriminator.safetensors").values()
    words = (target / "README.md").read_text()
    assert "| fp32 |\n| discriminator.safetensors" in words
    assert "no pixel of 200 images moves by more than 0 level" in words
    alpha = open_alpha(target / "alpha.safetensors")
    assert alpha.generator_fingerprint == open_generator(run / "generator.safetensors").fingerprint


def test_a_generator_that_does_not_come_back_is_refused(run, release, monkeypatch):
    monkeypatch.setattr(release_module, "moved_levels", lambda *networks: 3)
    with pytest.raises(L4FError, match=r"generator\.safetensors: moves images by 3 levels; "):
        release(run)
    assert not (release.target / "README.md").exists()
    assert not (run / "alpha").exists()


@pytest.mark.parametrize(
    ("missing", "kind", "match"),
    [
        ("progress.jsonl", InputRefused, "run: holds no pretraining run with a snapshot; name"),
        ("generator.safetensors", InputRefused, "run: holds no pretraining run with a snapshot"),
        ("discriminator.safetensors", CheckpointRefused, "discriminator.safetensors: cannot be re"),
    ],
)
def test_a_run_that_lacks_something_is_refused(run, release, missing, kind, match):
    (run / missing).unlink()
    with pytest.raises(kind, match=match):
        release(run)
    assert not release.target.exists()


def test_only_domains_that_ship_are_released(run):
    words = ["--run", str(run), "--domain", "lsun-car"]
    result = CliRunner().invoke(release_module.main, words)
    assert result.exit_code == 2
    assert "'lsun-car' is not one of" in result.output


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        ({}, " --start none"),
        ({"start": "abc"}, " --start START"),
        ({"start": "abc", "patience": 0}, " --start START --patience 0"),
        ({"ada_kimg": None}, " --start none --no-augment"),
    ],
)
def test_the_command_names_what_is_not_the_default(changes, flags):
    said = command_line(facts_of(**changes), "photos")
    common = "--resolution 32 --symmetry mirror --batch 8 --seed 7 --kimg 12 --decay-kimg 4"
    assert said == f"l4f-datagen pretrain photos --out RUN {common}{flags}"


@pytest.mark.parametrize("builtin", BUILTIN.values(), ids=BUILTIN)
def test_weights_that_ship_are_small_and_say_how_they_were_made(builtin):
    generator = open_generator(builtin / "generator.safetensors")
    assert generator.spec.resolution == BUILTIN_PX
    assert generator.has_w_avg
    assert generator.has_noise
    alpha = open_alpha(builtin / "alpha.safetensors")
    assert alpha.generator_fingerprint == generator.fingerprint
    discriminator = open_discriminator(builtin / "discriminator.safetensors")
    assert discriminator.resolution == BUILTIN_PX
    size = sum(path.stat().st_size for path in builtin.glob("*.safetensors"))
    assert 0 < size < 5e6
    words = (builtin / "README.md").read_text()
    for fact in ("l4f-datagen pretrain", "release --run", "kimg", "minutes", "seed"):
        assert fact in words
    licence = generator.licence
    assert licence.name in ("apache-2.0", "cc0-1.0", "cc-by-4.0")
    assert bool(licence.attribution) == (licence.name == "cc-by-4.0")
