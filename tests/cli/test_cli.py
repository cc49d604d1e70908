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


MAKE_CARS = "make --domain toy-cars --n 5 --out x"
VALIDATE = "validate --truth t"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("make", "Missing option '--n'; see l4f-datagen make --help"),
        ("segmenter train", "Missing argument 'DATASET'; see l4f-datagen segmenter train"),
        ("mak", "No such command 'mak'"),
        ("make --n 5 --out x", "recipe: is not given"),
        ("make --domain toy-car --n 5 --out x", "--domain toy-car: no such domain; did you "),
        (
            f"{MAKE_CARS} --formats tiff",
            "Invalid value for '--formats' / '--format': 'tiff' is not a format; known are png, ",
        ),
        (
            f"{MAKE_CARS} --set sampling.block_sise=3",
            "--set: 1 problem: (1) sampling.block_sise: unknown key, did you mean block_size?",
        ),
        (f"{MAKE_CARS} --set nonsense", "--set nonsense: expected a.b=value"),
        (f"{MAKE_CARS} --recipe x.yaml", "--domain: given together with --recipe"),
        ("merge a b", "merge: takes one OUT, or PARTS with --out; name --out FOLDER"),
        ("merge s3://a/b --out x", "merge: PARTS must be folders; let the jobs write to one URL"),
        ("push x", "USER/NAME: is not given; name the repository, or --to-folder DIR for a copy"),
        ("push x a/b --to-folder y", "--to-folder: given together with USER/NAME, which speak to"),
        ("push x --to-folder y --yes", "--to-folder: given together with --yes, which speak to"),
        (VALIDATE, "prediction: nothing says what to score; give --pred, or --domain"),
        (f"{VALIDATE} --pred x --domain toy-cars", "--pred: given together with flags"),
        (f"{VALIDATE} --pred x --keys k", "--pred: given together with flags"),
        (f"{VALIDATE} --domain toy-cars --record", "--record: needs a dataset"),
        (f"{VALIDATE} --pred x --plot a.png", "--plot: there is nothing to plot"),
        (
            f"{VALIDATE} --pred x --sweep psi,seed",
            "Invalid value for '--sweep': expected psi, threshold or both, got 'seed'",
        ),
    ],
)
def test_what_is_refused_is_one_line(line, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, line.split(), prog_name="l4f-datagen")
    assert result.exit_code == 2
    assert result.output.startswith(f"Error: {said}")
    assert len(result.output.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line", ["report", "inspect checkpoint", "make --domain toy-cars --n 2 --out"]
)
def test_a_name_no_file_can_have(cli_run, line):
    result = cli_run(*line.split(), "x" * 300)
    assert result.exit_code in (2, 4)
    assert len(result.output.splitlines()) == 1


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


def test_dry_run_prints_the_plan_and_touches_nothing(done, told, tmp_path, generator_file):
    out = tmp_path / "out"
    words = ("make", "--generator", generator_file, "--n", 40, "--out", out, "--dry-run")
    plan = told(*words)
    assert (plan["samples"], plan["count"]) == (40, "accepted")
    assert plan["first"] == "psi0500-seed0000000"
    assert yaml.safe_load(plan["recipe"])["sampling"]["block_size"] == 32
    assert plan["seconds"] > 0
    assert plan["images_per_second"] > 0
    assert 0 < plan["disk_bytes"] < plan["free_bytes"]
    text = done(*words).stdout
    assert 9 <= len(text.splitlines()) <= 11
    assert "images/s on cpu" in text
    assert "sampling:" not in text
    assert not out.exists()


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
    assert "trained already" in done(*flags).output
    other = cli_run(*flags, "--seed", 5)
    assert other.exit_code == 2
    assert "holds the training of another recipe or generator, or on other images" in other.output


def test_make_then_validate_scores_the_dataset_against_itself(
    done, told, tmp_path, monkeypatch, generator_file
):
    monkeypatch.setenv("L4F_CACHE", str(tmp_path / "cache"))
    flags = ["make", "--generator", generator_file, "--n", 3, "--out", tmp_path / "out"]
    small = ("steps=2", "batch=2", "self_training=1")
    flags += [f"--set=alpha.training.{value}" for value in small]
    flags += ["--set", "filters.coverage=null", "--mask-threshold", "0.5"]
    flags += ["--accept-doubtful-alpha"]  # two steps train nothing
    assert "3 samples of 3 attempts" in done(*flags).output
    page = (tmp_path / "out" / "report.html").read_bytes()
    assert b"Trained for this dataset, without labels, in 2 steps." in page
    [preview] = (tmp_path / "cache" / "alpha").glob("*/preview-final.png")
    assert (tmp_path / "out" / "training.png").read_bytes() == preview.read_bytes()
    done("report", tmp_path / "out")
    assert (tmp_path / "out" / "report.html").read_bytes() == page
    scored = told("validate", "--truth", tmp_path / "out/masks", "--pred", tmp_path / "out")
    assert scored["scores"]["accuracy"] == 1.0


def test_recipes_list_show_copy_check(cli_run, told, tmp_path):
    assert "Usage:" in cli_run("recipes").output
    assert "toy-cars" in {row["domain"] for row in told("recipes", "list")}
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
