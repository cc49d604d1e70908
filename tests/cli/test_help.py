"""Help: every command says what it is for, with examples that parse; errors name what was typed."""

import shlex

import click
import pytest
from click.testing import CliRunner

from l4f_datagen.cli import cli


def commands(group, *names):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)
        else:
            yield pytest.param((*names, name), command, id=" ".join((*names, name)))


def examples(command):
    for line in command.help.splitlines():
        if line.strip().startswith("l4f-datagen "):
            yield shlex.split(line.split(" #")[0].split(" && ")[0].split(" > ")[0])[1:]


@pytest.mark.parametrize(("names", "command"), list(commands(cli)))
def test_a_command_opens_with_what_it_is_for_and_two_examples(names, command):
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
        result = CliRunner().invoke(cli, [*names, short, "--help"])
        assert result.exit_code == 0, result.output
    assert f"Usage: cli {' '.join(names)}" in result.stdout


@pytest.mark.parametrize("names", [[], ["recipes"], ["inspect"], ["segmenter"]])
def test_a_group_lists_its_commands(names):
    result = CliRunner().invoke(cli, [*names, "-h"])
    assert result.exit_code == 0
    assert "Commands:" in result.stdout


def test_make_groups_its_options():
    lines = CliRunner().invoke(cli, ["make", "--help"]).stdout.splitlines()
    sections = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert sections == [
        *("Options:", "Sampling:", "Labels:", "Output:", "Devices and jobs:", "Publishing:")
    ]
    flags = {option for param in cli.commands["make"].params for option in param.opts}
    text = " ".join(lines)
    assert [flag for flag in flags if flag not in text] == []
