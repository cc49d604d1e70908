"""The plan's flags of ``make``: what they set, and what is refused in one line."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image


@pytest.fixture
def run(cli_run, tmp_path, generator_file):
    flags = ("--generator", generator_file, "--n", 5, "--out", tmp_path / "out")
    return lambda *more: cli_run("make", *flags, *more)


def recipe_of(result):
    assert result.exit_code == 0, result.output
    return yaml.safe_load(json.loads(result.stdout)["recipe"])


def test_flags_reach_the_recipe(run, tmp_path):
    path = tmp_path / "it's.npy"
    np.save(path, np.zeros((40, 8), np.float32))
    flags = ["--latents", path, "--latent-space", "z", "--truncation-cutoff", 3]
    flags += ["--style-mixing", 0.25, "--psi", "0.5:1,0.7:2", "--seeds", "7,0-3"]
    plan = run(*flags, "--dry-run", "--json")
    sampling = recipe_of(plan)["sampling"]
    assert sampling["latents"] == str(path)
    assert sampling["latent_space"] == "z"
    assert sampling["truncation_cutoff"] == 3
    assert sampling["style_mixing"] == 0.25
    assert sampling["psi"] == [0.5, 0.7, 0.7]
    assert json.loads(plan.stdout)["first"] == "psi0500-seed0000007"


@pytest.mark.parametrize(
    ("preset", "coverage", "uncertainty"),
    [
        ("none", None, None),
        ("default", {"min": 0.3, "max": 0.95}, None),
        ("strict", {"min": 0.3, "max": 0.8}, {"max": 0.05}),
    ],
)
def test_presets(run, preset, coverage, uncertainty):
    plan = run("--set", "filters.coverage.min=0.3", "--filters", preset, "--dry-run", "--json")
    filters = recipe_of(plan)["filters"]
    assert filters["preset"] == preset
    assert filters["coverage"] == coverage
    assert filters["uncertainty"] == uncertainty


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--generator", "none.pt"], 4, "none.pt: cannot be read (No such file or directory)"),
        (["--alpha", "none.pt"], 4, "none.pt: cannot be read (No such file or directory)"),
        (["--device", "abacus"], 2, "--device abacus: cannot be used here ("),
        (["--devices", "cpu,abacus"], 2, "--device abacus: cannot be used here ("),
        (["--devices", "cpu,meta"], 2, "--devices: names cpu and meta, whose images differ"),
        (["--overwrite", "--shard", "0/2"], 2, "--overwrite: given with --shard, would delete"),
        (["--composites", "."], 2, "/out: is inside the folder of backgrounds .: its images"),
    ],
)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_dry_run_refuses_what_the_run_does(run, tmp_path, monkeypatch, flags, code, words, dry):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("L4F_CACHE", str(tmp_path / "cache"))
    Image.new("RGB", (16, 16)).save("background.png")
    result = run("--set", "alpha.training.steps=1", *flags, *dry)
    assert result.exit_code == code, result.output
    assert words in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_smaller_number_is_refused_before_anything_is_deleted(
    tiny_flags, cli_run, done, tmp_path, dry
):
    command = ["make", *tiny_flags, "--filters", "none", "--out", tmp_path / "out"]
    done(*command, "--n", 5)
    for more in ((), ("--count", "attempts")):
        result = cli_run(*command, "--n", 3, *more, *dry)
        assert result.exit_code == 2
        assert "--n 3 would delete 2 of them" in result.stderr
    done(*command, "--n", 3, "--overwrite", *dry)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    command[-1] = tmp_path / "mine"
    assert cli_run(*command, "--n", 3, *dry).exit_code == 2


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_recipe_without_weights(cli_run, tmp_path, dry):
    (tmp_path / "bare.yaml").write_text("domain: bare\n")
    words = ["make", "--recipe", tmp_path / "bare.yaml", "--n", 1, "--out", tmp_path / "out"]
    result = cli_run(*words, *dry)
    assert result.exit_code == 2
    assert "generator: the recipe names no weights; give --generator FILE" in result.output


def test_weights_still_to_be_fetched_are_no_error_of_a_dry_run(run, tmp_path, monkeypatch):
    monkeypatch.setenv("L4F_CACHE", str(tmp_path / "cache"))
    asked = ("--generator", "catalogue:ada-cifar10", "--dry-run")
    result = run(*asked)
    assert result.exit_code == 0, result.output
    assert "a file of unknown size from https://nvlabs" in result.output
    result = run(*asked, "--alpha", "none.pt")
    assert result.exit_code == 4
    assert "none.pt: cannot be read" in result.output


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--ray-address", "auto"], 2, "--ray-address: given without --engine ray; add --engine"),
        (["--devices", "cpu", "--engine", "ray"], 2, "--devices: given with --engine ray; a"),
        (["--shard", "4/4"], 2, "--shard: expected i/n with i from 0 to n - 1, got '4/4'; write"),
        (["--push", "me/cars", "--shard", "0/4"], 2, "--push: publishes a finished folder, and"),
        (["--psi", ""], 2, "expected numbers such as 0.5,0.7"),
        (["--seeds", ""], 2, "sampling.seeds: string should match pattern"),
        (["--truncation-cutoff", "7"], 2, "--truncation-cutoff: 7 is beyond the 6 rows of ws"),
        (["--latent-space", "z"], 2, "latent_space describes latents, and none are given"),
        (["--filters", "harsh"], 2, "Invalid value for '--filters'"),
        (["--latents", "none.npy"], 4, "none.npy: cannot be read (No such file or directory)"),
        (["--latents", "narrow.npy"], 4, "narrow.npy: has shape 9 x 7, this generator takes"),
        (["--set", "filters.discriminator={min: 0}"], 2, "filters.discriminator: "),
    ],
)
def test_what_cannot_be_is_one_line(run, tmp_path, monkeypatch, flags, code, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("L4F_CACHE", str(tmp_path / "cache"))
    np.save("narrow.npy", np.zeros((9, 7), np.float32))
    result = run(*flags)
    assert result.exit_code == code, result.output
    assert words in result.output
    errors = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert not (tmp_path / "out").exists()
