"""The round trip of docs/labelbox: the files that ship and the command its README shows."""

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from l4f_datagen.annotate.keys import read_key_file
from l4f_datagen.annotations import load_annotations
from l4f_datagen.cli import cli

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "labelbox"
README = (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_example_is_small_and_whole():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 100_000
    keys = read_key_file(FOLDER / "to-label")
    truth = load_annotations(FOLDER / "export.ndjson")
    assert truth.format == "labelbox"
    assert [item.name for item in truth] == [row.file for row in keys.rows]
    assert 6 <= len(truth) <= 10
    assert {row.psi for row in keys.rows} == {0.5, 0.7, 1.0}
    for item in truth:
        with Image.open(FOLDER / "to-label" / item.name) as picture:
            assert item.size_hw == (picture.height, picture.width)
        assert 0.1 < item.load().mask.mean() < 0.5
    assert truth.notes() == []
    for line in (FOLDER / "export.ndjson").read_text().splitlines():
        (project,) = json.loads(line)["projects"].values()
        (annotation,) = project["labels"][0]["annotations"]["objects"]
        assert len(annotation["polygon"]) >= 8


def test_the_command_shown_prints_the_table_shown(monkeypatch):
    monkeypatch.chdir(ROOT)
    (shown,) = re.findall(r"l4f-datagen (validate .*)", README)
    result = CliRunner().invoke(cli, shlex.split(shown))
    assert result.exit_code == 0, result.output
    printed = README.partition("<!-- printed by validate -->\n```\n")[2].partition("\n```")[0]
    told, now = printed.splitlines(), result.stdout.rstrip().splitlines()
    assert now[0] == told[0]
    rows = r"^(background|object|mean|paper columns|coverage|pairing)\b"
    for text in (told, now):
        text[:] = [line for line in text if re.match(rows, line)]
    assert [re.sub(r"[\d.]+", "", line) for line in now] == [
        re.sub(r"[\d.]+", "", line) for line in told
    ]
    numbers = [[float(word) for word in re.findall(r"\d\.\d+", " ".join(x))] for x in (now, told)]
    assert len(numbers[0]) == 24
    assert numbers[0] == pytest.approx(numbers[1], abs=2e-3)
    assert min(numbers[0][:15]) > 0.8
