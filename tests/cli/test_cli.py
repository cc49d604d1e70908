"""Commands through the door: help, variables, files and what they say."""

import hashlib
import json
import os
import shlex
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from l4f_datagen.cli import cli
from l4f_datagen.cli.options import RECIPE, names_of, resolve_recipe
from l4f_datagen.core.errors import UsageError
from l4f_datagen.recipe.catalogue import NVIDIA_ADA, WEIGHTS, Weights
from l4f_datagen.training.verdict import Verdict


def commands(group, *names):
    """(its words, command) for all commands, nested ones too."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)
        else:
            yield pytest.param((*names, name), command, id=" ".join((*names, name)))


COMMANDS = list(commands(cli))


def examples(command):
    for line in command.help.splitlines():
        if line.strip().startswith("l4f-datagen "):
            yield shlex.split(line.split(" #")[0].split(" && ")[0].split(" > ")[0])[1:]


@pytest.mark.parametrize(("names", "command"), COMMANDS)
def test_a_command_opens_with_what_it_is_for_and_two_examples(cli_run, names, command):
    first = command.help.splitlines()[0]
    assert first[0].isupper()
    assert first.endswith((".", ":"))
    found = list(examples(command))
    assert len(found) >= 2
    for words in found:
        group = cli
        while isinstance(group, click.Group):
            group = group.commands[words.pop(0)]
        group.make_context("example", words)  # raises where it does not parse
    for short in ("-h", "-v", "-q"):
        result = cli_run(*names, short, "--help")
        assert result.exit_code == 0, result.output
    assert f"Usage: cli {' '.join(names)}" in result.stdout


@pytest.mark.parametrize("names", [[], ["recipes"], ["inspect"], ["segmenter"]])
def test_a_group_lists_its_commands(done, names):
    said = done(*names, "-h").stdout
    assert "Commands:" in said
    assert ("130 interrupted" in said) == (not names)
    assert all(
        f"\n  {words[len(names)]} " in said
        for words, _ in (case.values for case in COMMANDS)
        if words[: len(names)] == tuple(names)
    )


def test_make_groups_its_options(done):
    lines = done("make", "--help").stdout.splitlines()
    sections = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    wanted = "Options: Sampling: Labels: Output: Devices and jobs: Publishing:"
    assert " ".join(sections) == wanted
    flags = {option for param in cli.commands["make"].params for option in param.opts}
    assert [flag for flag in flags if flag not in " ".join(lines)] == []


@pytest.mark.parametrize(("names", "command"), COMMANDS)
def test_every_flag_is_read_from_the_variable_of_its_name(monkeypatch, names, command):
    context = click.Context(command)
    for option in command.params:
        for flag in option.opts:
            if flag.startswith("--"):
                variable = "_".join(["L4F", *names, flag[2:]]).upper().replace("-", "_")
                monkeypatch.setenv(variable, "1")
                assert option.value_from_envvar(context) in ("1", ["1"]), variable
                monkeypatch.delenv(variable)
                assert option.value_from_envvar(context) is None, variable


def test_variables_stand_for_flags_and_flags_go_before_them(generator_file, tmp_path):
    variables = {"N": "7", "GENERATOR": str(generator_file), "OUTDIR": str(tmp_path / "out")}
    variables |= {"SET": "sampling.block_size=9", "JSON": "true", "DRY_RUN": "1", "PSI": "0.7"}
    variables |= {"STYLE_MIXING": "0.25", "CUTOUTS": "false", "NUMBER": "3"}
    env = {f"L4F_MAKE_{name}": value for name, value in variables.items()}
    result = CliRunner(env=env).invoke(cli, ["make", "--psi", "0.5"])
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    assert (plan["samples"], plan["count"], plan["out"]) == (7, "accepted", str(tmp_path / "out"))
    given = yaml.safe_load(plan["recipe"])["sampling"]
    assert (given["block_size"], given["psi"], given["style_mixing"]) == (9, [0.5], 0.25)
    wrong = CliRunner(env={**env, "L4F_MAKE_N": "none"}).invoke(cli, ["make"])
    assert wrong.exit_code == 2
    assert "Invalid value for '--n'" in wrong.output


def test_a_path_with_any_characters_reaches_the_recipe_whole():
    source = dict.fromkeys(names_of(RECIPE)) | {"assignments": ()}
    for odd in (
        "it's a: file #1.pt",
        'two\nlines\n\n and "more"\\n.pt',
        " \ttab, \x07bell, \x7f, \x85, \u2028, \ufeff and \U0001f41f ",
        "long " * 60 + "name.pt",
    ):
        assert resolve_recipe(source | {"generator": odd}).generator.weights == odd
    odd = Path(os.fsdecode(b"g\xff.pt"))
    with pytest.raises(UsageError, match=r"generator\.weights: input should be a valid string"):
        resolve_recipe(source | {"generator": odd})


def test_every_reader_can_be_named():
    from l4f_datagen.annotations import READERS

    options = cli.commands["validate"].params
    formats = next(option for option in options if option.name == "truth_format")
    assert sorted(formats.type.choices) == sorted(READERS)


def test_sample_writes_a_png_a_key_and_the_key_file(done, tmp_path, generator_file):
    out = tmp_path / "pictures"
    words = ("sample", "--generator", generator_file, "--seeds", "3-4", "--psi", "0.5,1")
    done(*words, "--out", out)
    names = sorted(path.name for path in out.iterdir())
    drawn = [f"psi{psi}-seed000000{seed}.png" for psi in ("0500", "1000") for seed in (3, 4)]
    assert names == ["keys.csv", "keys.json", *drawn]
    with Image.open(out / names[2]) as picture:
        assert picture.size == (16, 16)
    lines = (out / "keys.csv").read_text().splitlines()
    assert lines[0] == "file,key,psi,seed"
    assert lines[1] == "psi0500-seed0000003.png,psi0500-seed0000003,0.5,3"
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    done(*words, "--out", out)
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize("grade", ["good", "unusable"])
def test_train_writes_network_snapshots_previews_and_log(
    cli_run, done, tmp_path, generator_file, monkeypatch, grade
):
    verdict = Verdict(grade, "so it is", "do", 0.1, 0.3, 0.0, 0.0)
    monkeypatch.setattr("l4f_datagen.training.run.judge_alpha", lambda *_, **__: verdict)
    out = tmp_path / "run"
    settings = ("batch=2", "snapshot_interval=2", "self_training=1", "min_bg_coverage=0.2")
    small = [f"--set=alpha.training.{setting}" for setting in settings]
    flags = ("train", "--generator", generator_file, "--steps", 3, "--out", out, *small)
    result = done(*flags)
    names = {path.name for path in out.iterdir()}
    assert {"alpha.safetensors", "snapshot-000002.safetensors", "preview-01-000003.png"} <= names
    assert len((out / "log.jsonl").read_text().splitlines()) == 3
    assert "the alpha network is " in result.stderr
    assert f"look at: {out}/preview-final.png" in result.stderr
    [line] = [line for line in result.stderr.splitlines() if line.startswith("next: ")]
    if grade == "unusable":
        assert line == "next: train again, in another --out; `make` refuses this network"
        return
    program, command, *words = shlex.split(line.removeprefix("next: "))
    assert (program, command) == ("l4f-datagen", "make")
    given = cli.commands["make"].make_context(command, words).params
    assert (given["generator"], given["alpha"]) == (str(generator_file), f"{result.stdout.strip()}")
    assert "trained already" in done(*flags).output
    other = cli_run(*flags, "--seed", 5)
    assert other.exit_code == 2
    assert "holds the training of another recipe or generator, or on other images" in other.output


def test_recipes_list_show_copy_check(cli_run, done, told, tmp_path):
    assert "toy-cars" in {row["domain"] for row in told("recipes", "list")}
    assert "toy-cars" in done("recipes", "list").output
    shown = done("recipes", "show", "toy-cars").output
    target = tmp_path / "mine.yaml"
    done("recipes", "copy", "toy-cars", target)
    assert target.read_text() == shown
    assert "exists" in cli_run("recipes", "copy", "toy-cars", target).output
    assert done("recipes", "check", target).output == f"{target}: ok, domain toy-cars\n"
    target.write_text(shown + "\nsamplin: {}\nalpha_: 3\n")
    result = cli_run("recipes", "check", target)
    assert result.exit_code == 2
    assert "2 problems" in result.output
    assert "samplin: unknown key, did you mean sampling?" in result.output
    done("recipes", "copy", "toy-cars", target, "--force")
    assert target.read_text() == shown


class TestInspectByAddress:
    """``inspect checkpoint`` by every address that ``make --generator`` takes."""

    def test_an_address_is_fetched_once_and_says_what_the_file_says(
        self, cli_run, told, generator_file, serving
    ):
        here = told("inspect", "checkpoint", generator_file)
        with serving.serve(generator_file.read_bytes()) as site:
            absent = cli_run("inspect", "checkpoint", site.url, "--offline")
            assert absent.exit_code == 5
            assert "weights.pkl: is not in the cache, and the network is switched" in absent.output
            fetched = cli_run("inspect", "checkpoint", site.url, "--json")
            there = told("inspect", "checkpoint", site.url, "--offline")
            assert len(site.asked) == 1
        size, sha256 = generator_file.stat().st_size, here["sha256"]
        assert f"weights.pkl: {size} bytes, sha256 {sha256}" in fetched.stderr
        assert there == json.loads(fetched.stdout)
        assert there.pop("file").endswith("-weights.pkl")
        assert here.pop("file") == str(generator_file)
        assert there == here

    def test_a_file_of_the_catalogue_has_its_licence_and_a_shipped_one_its_own(
        self, told, generator_file, serving, monkeypatch
    ):
        data = generator_file.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        with serving.serve(data) as site:
            known = Weights(site.url, 16, NVIDIA_ADA, len(data), sha256, pinned=True)
            monkeypatch.setitem(WEIGHTS, "test", known)
            facts = told("inspect", "checkpoint", "catalogue:test")
        assert (facts["kind"], facts["sha256"]) == ("generator", sha256)
        facts = told("inspect", "checkpoint", "builtin:toy-cars")
        assert (facts["kind"], facts["resolution"]) == ("generator", 64)
        assert facts["licence"]["name"] == "apache-2.0"
