"""Every command through the door: words, files and exit codes."""

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
from l4f_datagen.cli.options import resolve_recipe
from l4f_datagen.core.errors import UsageError
from l4f_datagen.training.verdict import Verdict


def test_help_names_every_command_and_the_exit_codes(cli_run):
    said = cli_run("--help").output
    assert {"make", "train", "benchmark", "validate", "push", "segmenter"} <= set(cli.commands)
    for name in cli.commands:
        assert f"\n  {name} " in said
    assert "130 interrupted" in said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--n", "5", "--formats", "tiff"], "'tiff' is not a format; known are png, coco,"),
        (["--n", "5", "--set", "sampling.block_sise=3"], "did you mean block_size?"),
        (["--n", "5", "--set", "nonsense"], "expected a.b=value"),
        (["--n", "5", "--recipe", "x.yaml"], "given together with --recipe"),
    ],
)
def test_impossible_flags_are_usage_errors(cli_run, tmp_path, flags, words):
    result = cli_run("make", "--domain", "toy-cars", "--out", tmp_path / "out", *flags)
    assert result.exit_code == 2
    assert words in result.output
    assert len(result.output.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("make", "Error: Missing option '--n'; see l4f-datagen make --help"),
        ("segmenter train", "Error: Missing argument 'DATASET'; see l4f-datagen segmenter train"),
        ("mak", "Error: No such command 'mak'"),
        ("make --n 5 --out x", "Error: recipe: is not given"),
        (
            "make --domain toy-car --n 5 --out x",
            "Error: --domain toy-car: no such domain; did you ",
        ),
    ],
)
def test_what_is_refused_is_one_line(line, said):
    result = CliRunner().invoke(cli, line.split(), prog_name="l4f-datagen")
    assert result.exit_code == 2
    assert result.stderr.startswith(said)
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "line", ["report", "inspect checkpoint", "make --domain toy-cars --n 2 --out"]
)
def test_a_name_no_file_can_have(cli_run, line):
    result = cli_run(*line.split(), "x" * 300)
    assert result.exit_code in (2, 4)
    assert len(result.output.splitlines()) == 1


def test_a_group_alone_shows_its_help(cli_run):
    assert "Usage:" in cli_run("recipes").output


def flags_of(group, *path):
    """(words of the command, its option, a long flag of it) for all commands, nested ones too."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from flags_of(command, *path, name)
        for option in command.params:
            for flag in option.opts:
                if flag.startswith("--"):
                    yield (*path, name), option, flag


def test_every_flag_is_read_from_the_variable_of_its_name(monkeypatch):
    found = list(flags_of(cli))
    assert {words for words, *_ in found} >= {("make",), ("segmenter", "train")}
    for words, option, flag in found:
        variable = "_".join(["L4F", *words, flag.removeprefix("--")]).upper().replace("-", "_")
        monkeypatch.setenv(variable, "1")
        context = None
        for word in ("l4f-datagen", *words):
            command = cli if context is None else context.command.commands[word]
            context = click.Context(command, context, word)
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
    assert (plan["samples"], plan["count"]) == (7, "accepted")
    assert plan["out"] == str(tmp_path / "out")
    recipe = yaml.safe_load(plan["recipe"])
    assert recipe["sampling"]["block_size"] == 9
    assert (recipe["sampling"]["psi"], recipe["sampling"]["style_mixing"]) == ([0.5], 0.25)
    wrong = CliRunner(env={**env, "L4F_MAKE_N": "none"}).invoke(cli, ["make"])
    assert wrong.exit_code == 2
    assert "Invalid value for '--n'" in wrong.output


def test_unreadable_checkpoint_is_refused_in_one_line(cli_run, tmp_path):
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"no checkpoint at all")
    result = cli_run("make", "--generator", broken, "--n", 5, "--out", tmp_path / "out")
    assert result.exit_code == 4
    assert result.output.startswith(f"Error: {broken}: ")
    assert result.output.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_sample_writes_a_png_a_key_and_the_key_file(cli_run, tmp_path, generator_file):
    out = tmp_path / "pictures"
    words = ("sample", "--generator", generator_file, "--seeds", "3-4", "--psi", "0.5,1")
    result = cli_run(*words, "--out", out)
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in out.iterdir())
    drawn = [f"psi{psi}-seed000000{seed}.png" for psi in ("0500", "1000") for seed in (3, 4)]
    assert names == ["keys.csv", "keys.json", *drawn]
    with Image.open(out / names[2]) as picture:
        assert picture.size == (16, 16)
    lines = (out / "keys.csv").read_text().splitlines()
    assert lines[0] == "file,key,psi,seed"
    assert lines[1] == "psi0500-seed0000003.png,psi0500-seed0000003,0.5,3"
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    cli_run(*words, "--out", out)
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "neither --seeds nor --n"),
        (["--n", 1], "cannot be written"),
        (["--seeds", "3-4", "--diverse"], "--diverse: given together with --seeds"),
        (["--seeds", ""], "sampling.seeds: string should match pattern"),
    ],
)
def test_what_sample_refuses(cli_run, tmp_path, generator_file, flags, words):
    (tmp_path / "out").write_text("a file")
    result = cli_run("sample", "--generator", generator_file, "--out", tmp_path / "out", *flags)
    assert result.exit_code == 2
    assert words in result.output


def test_dry_run_prints_the_plan_and_touches_nothing(cli_run, tmp_path, generator_file):
    out = tmp_path / "out"
    flags = ("--generator", generator_file, "--n", 40, "--out", out, "--dry-run", "--json")
    result = cli_run("make", *flags)
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    assert (plan["samples"], plan["count"]) == (40, "accepted")
    assert plan["first"] == "psi0500-seed0000000"
    assert yaml.safe_load(plan["recipe"])["sampling"]["block_size"] == 32
    assert plan["seconds"] > 0
    assert plan["images_per_second"] > 0
    assert 0 < plan["disk_bytes"] < plan["free_bytes"]
    text = cli_run("make", *flags[:-1]).stdout
    assert 9 <= len(text.splitlines()) <= 11
    assert "images/s on cpu" in text
    assert "sampling:" not in text
    assert not out.exists()


@pytest.mark.parametrize("grade", ["good", "unusable"])
def test_train_writes_network_snapshots_previews_and_log(
    cli_run, tmp_path, generator_file, monkeypatch, grade
):
    verdict = Verdict(grade, "so it is", "do", 0.1, 0.3, 0.0, 0.0)
    monkeypatch.setattr("l4f_datagen.training.run.judge_alpha", lambda *_, **__: verdict)
    out = tmp_path / "run"
    small = [f"--set=alpha.training.{k}" for k in ("batch=2", "snapshot_interval=2")]
    small += ["--set=alpha.training.self_training=1"]
    flags = ("train", "--generator", generator_file, "--steps", 3, "--out", out, *small)
    result = cli_run(*flags)
    assert result.exit_code == 0, result.output
    names = {path.name for path in out.iterdir()}
    assert {"alpha.safetensors", "snapshot-000002.safetensors", "preview-000003.png"} <= names
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
    again = cli_run(*flags)
    assert again.exit_code == 0
    assert "trained already" in again.output
    other = cli_run(*flags, "--seed", 5)
    assert other.exit_code == 2
    words = "holds the training of another recipe or generator, or on other images"
    assert words in other.output


def test_make_then_validate_scores_the_dataset_against_itself(
    cli_run, tmp_path, monkeypatch, generator_file
):
    monkeypatch.setenv("L4F_CACHE", str(tmp_path / "cache"))
    flags = ["make", "--generator", generator_file, "--n", 3, "--out", tmp_path / "out"]
    small = ("steps=2", "batch=2", "self_training=1")
    flags += [f"--set=alpha.training.{value}" for value in small]
    flags += ["--set", "filters.coverage=null", "--mask-threshold", "0.5"]
    flags += ["--accept-doubtful-alpha"]  # two steps train nothing
    made = cli_run(*flags)
    assert made.exit_code == 0, made.output
    assert "3 samples of 3 attempts" in made.output
    page = (tmp_path / "out" / "report.html").read_bytes()
    assert b"Trained for this dataset, without labels, in 2 steps." in page
    [preview] = (tmp_path / "cache" / "alpha").glob("*/preview-final.png")
    assert (tmp_path / "out" / "training.png").read_bytes() == preview.read_bytes()
    assert cli_run("report", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "report.html").read_bytes() == page
    truth = tmp_path / "out" / "masks"
    result = cli_run("validate", "--truth", truth, "--pred", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["scores"]["accuracy"] == 1.0


def test_recipes_list_show_copy_check(cli_run, tmp_path):
    rows = json.loads(cli_run("recipes", "list", "--json").output)
    assert "toy-cars" in {row["domain"] for row in rows}
    assert "toy-cars" in cli_run("recipes", "list").output
    shown = cli_run("recipes", "show", "toy-cars").output
    target = tmp_path / "mine.yaml"
    assert cli_run("recipes", "copy", "toy-cars", target).exit_code == 0
    assert target.read_text() == shown
    assert "exists" in cli_run("recipes", "copy", "toy-cars", target).output
    assert cli_run("recipes", "check", target).output == f"{target}: ok, domain toy-cars\n"
    target.write_text(shown + "\nsamplin: {}\nalpha_: 3\n")
    result = cli_run("recipes", "check", target)
    assert result.exit_code == 2
    assert "2 problems" in result.output
    assert "samplin: unknown key, did you mean sampling?" in result.output


def test_a_path_with_any_characters_reaches_the_recipe_whole():
    for odd in (
        "it's a: file #1.pt",
        'two\nlines\n\n and "more"\\n.pt',
        " \ttab, \x07bell, \x7f, \x85, \u2028, \ufeff and \U0001f41f ",
        "long " * 60 + "name.pt",
    ):
        assert resolve_recipe(None, None, odd, None, ()).generator.weights == odd
    odd = Path(os.fsdecode(b"g\xff.pt"))
    with pytest.raises(UsageError, match=r"generator\.weights: input should be a valid string"):
        resolve_recipe(None, None, odd, None, ())


def test_every_reader_can_be_named():
    from l4f_datagen.annotations import READERS

    options = cli.commands["validate"].params
    formats = next(option for option in options if option.name == "truth_format")
    assert sorted(formats.type.choices) == sorted(READERS)
