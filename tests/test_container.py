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


def test_it_installs_what_the_constraints_pin():
    installs = [words for words in LINES if words[0] == "RUN"]
    options = ["RUN", "pip", "install", "--no-cache-dir", "-c", "constraints.txt"]
    assert installs == [[*options, "torch"], [*options, "."]]  # torch in a layer of its own
    pinned = [line for line in (ROOT / "constraints.txt").read_text().split() if "torch==" in line]
    assert len(pinned) == 1
    # pip finds another index in the environment, if it is declared before it runs.
    assert LINES.index(["ARG", "PIP_EXTRA_INDEX_URL"]) < LINES.index(installs[0])


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
