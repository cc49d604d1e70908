"""The commands and links of README and docs work; what Dockerfile, CI and versions say is so."""

import importlib.util
import json
import re
import shlex
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import click
import pytest
import yaml

import l4f_datagen
from l4f_datagen.cli import cli

ROOT = Path(__file__).parent.parent
README, ARCHITECTURE, PROJECT, CHANGES, CI, DOCKER, IGNORED, PINNED, API = (
    (ROOT / name).read_text(encoding="utf-8")
    for name in (
        *("README.md", "ARCHITECTURE.md", "pyproject.toml", "CHANGELOG.md", ".ci/run"),
        *("Dockerfile", ".dockerignore", "constraints.txt", "docs/api.md"),
    )
)
SETTINGS = tomllib.loads(PROJECT)
PAGES = [README, *(page.read_text("utf-8") for page in sorted((ROOT / "docs").rglob("*.md")))]
DOCKER_LINES = [line.split() for line in DOCKER.splitlines() if line.strip()]


def block_after(marker):
    """The fenced block that follows a marker."""
    found = re.search(rf"<!-- {marker} -->\n```sh\n(.*?)\n```", README, re.DOTALL)
    assert found, marker
    return found[1]


def commands_in(text):
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            if line.strip().startswith("l4f-datagen "):
                yield line.strip().replace("$SLURM_ARRAY_TASK_ID", "3")


def test_every_command_shown_parses():
    shown = {command for page in PAGES for command in commands_in(page)}
    assert len(list(commands_in(README))) >= 8
    assert len(shown) >= 40
    lines = [shlex.split(command, comments=True)[1:] for command in shown]
    lines += [json.loads(" ".join(words)) for first, *words in DOCKER_LINES if first == "CMD"]
    assert len(lines) == len(shown) + 1
    for words in lines:
        context, command, name = click.Context(cli), cli, "l4f-datagen"
        rest = list(words)
        while isinstance(command, click.Group):
            name, command, rest = command.resolve_command(context, rest)
            assert command is not None, words
        command.make_context(name, rest)


def test_set_up_is_one_command_each_which_ci_runs():
    for marker in ("demo", "test"):
        assert len(block_after(marker).splitlines()) == 1
        assert "constraints.txt" in block_after(marker)
    extract = re.search(r"awk '.*' README.md", CI)
    assert extract
    words = ["bash", "-c", extract[0]]
    read = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert read.stdout.strip() == block_after("test")
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert {"run": ".ci/run"} in workflow["jobs"]["test"]["steps"]


def test_one_version_and_one_lowest_python_everywhere():
    version = SETTINGS["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    released = re.search(r"^## \[(\d.*)\] - (\d{4}-\d\d-\d\d)$", CHANGES, re.MULTILINE)
    assert released
    assert (released[1], released[2]) == (version, str(citation["date-released"]))
    assert citation["version"] == version
    floor = SETTINGS["project"]["requires-python"].removeprefix(">=")
    assert f"Python ≥ {floor}" in README
    assert SETTINGS["tool"]["mypy"]["python_version"] == floor


def test_the_readme_is_one_page_whose_links_lead_to_files():
    assert len(README.splitlines()) <= 130
    links = set(re.findall(r"\]\(([^)#:]+)\)", README))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_architecture_lists_the_layers_in_their_order():
    contracts = SETTINGS["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert re.findall(r"^\| `(\w+)/` \|", ARCHITECTURE, re.MULTILINE) == layers
    for path in re.findall(r"`([\w/]+/[\w/]+\.py)`", ARCHITECTURE):
        assert (ROOT / path).exists(), path


def test_the_api_page_has_every_public_name():
    shown = set(re.findall(r"^::: l4f_datagen\.(\w+)$", API, re.MULTILINE))
    others = {name for name in dir(l4f_datagen) if name not in shown}
    assert [name for name in others if f"`{name}`" not in API] == []
    assert shown <= set(dir(l4f_datagen))


def test_what_the_dockerfile_copies_is_there_and_not_ignored():
    rules = IGNORED.split("\n")
    kept = [rule[1:] for rule in rules if rule.startswith("!")]
    copied = [name for word, *names in DOCKER_LINES if word == "COPY" for name in names[:-1]]
    assert "*" in rules
    assert sorted(kept) == sorted(copied)
    for name in copied:
        assert (ROOT / name).exists()
        assert not any(fnmatch(name, rule) for rule in rules if rule.startswith("**/"))


def test_the_dockerfile_installs_what_the_constraints_pin():
    installs = [words for words in DOCKER_LINES if words[0] == "RUN"]
    options = ["RUN", "pip", "install", "--no-cache-dir", "-c", "constraints.txt"]
    assert installs == [[*options, "torch"], [*options, "."]]  # torch in a layer of its own
    assert len([line for line in PINNED.split() if "torch==" in line]) == 1
    # pip finds another index in the environment, if it is declared before it runs.
    assert DOCKER_LINES.index(["ARG", "PIP_EXTRA_INDEX_URL"]) < DOCKER_LINES.index(installs[0])


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
