"""The Dockerfile copies what is there, and its command and the notebook's first cell work."""

import importlib.util
import json
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import click
import pytest

from l4f_datagen.cli import cli

ROOT = Path(__file__).parent.parent
LINES = [line.split() for line in (ROOT / "Dockerfile").read_text().splitlines() if line.strip()]


def test_what_it_copies_is_there_and_not_ignored():
    rules = (ROOT / ".dockerignore").read_text().split("\n")
    kept = [rule[1:] for rule in rules if rule.startswith("!")]
    copied = [name for word, *names in LINES if word == "COPY" for name in names[:-1]]
    assert "*" in rules
    assert sorted(kept) == sorted(copied)
    for name in copied:
        assert (ROOT / name).exists()
        assert not any(fnmatch(name, rule) for rule in rules if rule.startswith("**/"))


def test_it_installs_the_torch_of_the_constraints():
    [line] = [line for line in (ROOT / "constraints.txt").read_text().split() if "torch==" in line]
    [install] = [words for words in LINES if words[0] == "RUN" and "TORCH_INDEX" in " ".join(words)]
    script = " ".join(install[1:]).replace("pip install", "printf '%s\\n'")
    for index, options in (("", []), ("https://index.example", ["--index-url"])):
        given = {"TORCH_INDEX": index, "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            ["sh", "-c", script], cwd=ROOT, env=given, capture_output=True, text=True, check=True
        )
        wanted = [*options, *([index] if index else []), line]
        assert [word for word in done.stdout.split() if word != "--no-cache-dir"] == wanted


def test_its_command_is_one():
    [words] = [" ".join(words[1:]) for words in LINES if words[0] == "CMD"]
    name, *options = json.loads(words)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    command.make_context(name, options)


def test_the_notebook_installs_the_package_where_it_is_missing(monkeypatch):
    notebook = json.loads((ROOT / "examples" / "quickstart.ipynb").read_text())
    cell = next("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code")
    asked = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: asked.append(command))
    exec(cell, {})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="REPOSITORY is empty"):
        exec(cell, {})
    assert asked == []
    exec(cell.replace('REPOSITORY = ""', 'REPOSITORY = "https://host/owner/name"'), {})
    assert asked[0][-1] == "git+https://host/owner/name"
