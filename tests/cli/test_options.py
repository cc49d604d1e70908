"""Options are read as told; every command says what it is for, with examples that parse."""

import shlex

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4f_datagen.cli import cli
from l4f_datagen.cli.options import FORMAT_LIST, PSI_LIST


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("0.7", (0.7,)),
        ("0.5,0.7,1.0", (0.5, 0.7, 1.0)),
        ("1,0.5", (1.0, 0.5)),
        ("0.5:1,0.7:2", (0.5, 0.7, 0.7)),
        ("0.5:2,0.7:4", (0.5, 0.7, 0.7)),
        ("0.7:6", (0.7,)),
        ("0,2", (0.0, 2.0)),
        ("0.5:,1", (0.5, 1.0)),
    ],
)
def test_psi(text, turns):
    assert PSI_LIST.convert(text, None, None) == turns


@given(
    st.dictionaries(st.sampled_from([0.1, 0.35, 0.7, 1.0, 1.999]), st.integers(1, 40), min_size=1)
)
def test_shares_are_exact_and_in_lowest_terms(shares):
    text = ",".join(f"{psi}:{share}" for psi, share in shares.items())
    turns = PSI_LIST.convert(text, None, None)
    counts = {psi: turns.count(psi) for psi in shares}
    assert list(dict.fromkeys(turns)) == list(shares)
    first = next(iter(shares))
    assert all(counts[psi] * shares[first] == shares[psi] * counts[first] for psi in shares)
    assert not any(all(count % k == 0 for count in counts.values()) for k in range(2, 41))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected numbers such as 0.5,0.7 or 0.5:1,0.7:2, got ''"),
        ("0.5,", "expected numbers such as"),
        ("0.5:1.5", "expected numbers such as"),
        ("2.1", "psi must be in [0, 2], got 2.1"),
        ("-0.1", "psi must be in [0, 2], got -0.1"),
        ("nan", "psi must be in [0, 2], got nan"),
        ("0.5:0", "a share must be from 1 to 1000, got 0"),
        ("0.5:1001", "a share must be from 1 to 1000, got 1001"),
        ("0.5,0.50", "psi 0.50 is named twice; give it a share instead, 0.50:2"),
    ],
)
def test_psi_that_is_refused(text, problem):
    with pytest.raises(click.BadParameter) as caught:
        PSI_LIST.convert(text, None, None)
    assert problem in caught.value.message


@pytest.mark.parametrize(
    ("text", "names"),
    [("png", ("png",)), ("hf, png", ("png", "hf")), ("coco,png,coco", ("png", "coco"))],
)
def test_formats(text, names):
    assert FORMAT_LIST.convert(text, None, None) == names


@pytest.mark.parametrize("text", ["", "png,", "PNG", "png coco", "yolo9"])
def test_formats_that_are_refused(text):
    with pytest.raises(click.BadParameter, match=r"is not a format.* known are png, coco, hf"):
        FORMAT_LIST.convert(text, None, None)


def test_both_words_name_the_formats():
    command = cli.commands["make"]
    for flag in ("--formats", "--format"):
        given = command.make_context("make", ["--n", "1", "--out", "x", flag, "coco,png"]).params
        assert given["formats"] == ("png", "coco")


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
def test_a_group_lists_its_commands(cli_run, names):
    result = cli_run(*names, "-h")
    assert result.exit_code == 0
    assert "Commands:" in result.stdout


def test_make_groups_its_options(cli_run):
    lines = cli_run("make", "--help").stdout.splitlines()
    sections = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert sections == [
        *("Options:", "Sampling:", "Labels:", "Output:", "Devices and jobs:", "Publishing:")
    ]
    flags = {option for param in cli.commands["make"].params for option in param.opts}
    text = " ".join(lines)
    assert [flag for flag in flags if flag not in text] == []
