"""The commands and links of README and docs work."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import click
import pytest
import yaml

import l4f_datagen
from l4f_datagen.cli import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [README] + [
    page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").rglob("*.md"))
]


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


COMMANDS = sorted({command for page in PAGES for command in commands_in(page)})


def test_there_are_commands_to_check():
    assert len(list(commands_in(README))) >= 8
    assert len(COMMANDS) >= 40


@pytest.mark.parametrize("shown", COMMANDS)
def test_every_command_shown_parses(shown):
    words = shlex.split(shown, comments=True)[1:]
    context = click.Context(cli)
    command, name = cli, "l4f-datagen"
    while isinstance(command, click.Group):
        name, command, words = command.resolve_command(context, words)
        assert command is not None
    command.make_context(name, words)


@pytest.mark.parametrize("marker", ["demo", "test"])
def test_set_up_is_one_command_each(marker):
    assert len(block_after(marker).splitlines()) == 1
    assert "constraints.txt" in block_after(marker)


def test_ci_runs_the_test_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text()
    extract = re.search(r"awk '.*' README.md", script)
    assert extract
    read = subprocess.run(
        ["bash", "-c", extract[0]], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert read.stdout.strip() == block_after("test")


def test_the_workflow_runs_what_ci_runs():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert {"run": ".ci/run"} in workflow["jobs"]["test"]["steps"]


def test_one_version_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    released = re.search(
        r"^## \[(\d.*)\] - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert released
    assert (released[1], released[2]) == (version, str(citation["date-released"]))
    assert citation["version"] == version


def test_one_lowest_python_everywhere():
    floor = re.search(r'requires-python = ">=(3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    assert floor
    assert f"Python ≥ {floor[1]}" in README
    assert f'python_version = "{floor[1]}"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_lead_to_files(link):
    assert (ROOT / link).exists()


def test_the_readme_is_one_page():
    assert len(README.splitlines()) <= 130


def test_architecture_lists_the_layers_in_their_order():
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (layers,) = [
        contract["layers"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    assert re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE) == layers
    for path in re.findall(r"`([\w/]+/[\w/]+\.py)`", page):
        assert (ROOT / path).exists(), path


def test_the_api_page_has_every_public_name():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^::: l4f_datagen\.(\w+)$", page, re.MULTILINE))
    others = {name for name in dir(l4f_datagen) if name not in shown}
    assert [name for name in others if f"`{name}`" not in page] == []
    assert shown <= set(dir(l4f_datagen))
