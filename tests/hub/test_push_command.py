"""The command: dry run, acting, exit codes; and load_dataset through the same server."""

import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from l4f_datagen.cli import cli

NAME = "user/discs"


@pytest.fixture
def run():
    def call(*arguments):
        return CliRunner().invoke(cli, [str(argument) for argument in arguments])

    return call


def test_dry_run_shows_files_and_bytes_and_asks_nobody(run, hub, dataset):
    result = run("push", dataset, NAME)
    assert result.exit_code == 0, result.output
    assert hub.asked == []
    lines = result.stdout.splitlines()
    size = sum(path.stat().st_size for path in dataset.glob("data/*"))
    number = len(list(dataset.glob("data/*")))
    assert lines[0].split() == [f"{size:,}", "data/", f"({number}", "files)"]
    for page in ("README.md", "manifest.json", "contact_sheet.png", "ledger.jsonl", "recipe.yaml"):
        assert f"{(dataset / page).stat().st_size:>16,}  {page}" in lines
    assert lines[-1] == "nothing was sent; add --yes to publish"
    plan = json.loads(run("push", dataset, NAME, "--json").stdout)
    assert plan["bytes"] == sum(file["bytes"] for file in plan["files"])
    assert f"{plan['bytes']:,}" in lines[-2]


def test_yes_acts_and_says_the_licence_before(run, hub, serving, dataset):
    result = run("push", dataset, NAME, "--yes", "--private", "--tag", "v1")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("licence: nvidia-source-code-license-nc forbids commercial")
    assert result.stdout.startswith(f"{hub.url}/datasets/user/discs: ")
    assert "bytes" in result.stdout
    assert hub.repos["dataset", NAME].tags
    again = run("push", dataset, NAME, "--yes", "--private", "--tag", "v1")
    assert again.stdout == f"{hub.url}/datasets/user/discs: up to date, nothing was sent\n"
    told = json.loads(run("push", dataset, NAME, "--yes", "--json").stdout)
    assert told == {"url": f"{hub.url}/datasets/user/discs", "files": 0, "size": 0, "removed": 0}
    assert serving.TOKEN not in result.output


def test_exit_codes(run, hub, serving, dataset, monkeypatch):
    assert run("push", dataset, "bad--name", "--yes").exit_code == 2
    assert run("push", dataset.parent / "none", NAME).exit_code == 2
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    result = run("push", dataset, NAME, "--yes")
    assert result.exit_code == 5
    assert "Error: user/discs: the token is not valid (401)" in result.output
    assert "hf_wrong" not in result.output


def test_card_command_keeps_the_notes(run, dataset):
    card = dataset / "README.md"
    before = card.read_text()
    card.write_text(before.replace("Noisy discs.", "Edited.") + "My words.\n")
    assert run("card", dataset).stdout == f"{card}\n"
    assert card.read_text() == before + "My words.\n"
    card.write_text("no marker")
    result = run("card", dataset)
    assert result.exit_code == 2
    assert "its marker line is gone" in result.output
    assert run("card", dataset / "data").exit_code == 2


LOAD = """
import io, sys
from datasets import Image, load_dataset
loaded = load_dataset(sys.argv[1])
for split, rows in loaded.items():
    for column in ("image", "mask", "alpha"):
        rows = rows.cast_column(column, Image(decode=False))
    rows.to_parquet(f"{sys.argv[2]}/{split}.parquet")
shown = loaded["train"][0]
assert (shown["image"].mode, shown["mask"].mode, shown["alpha"].mode) == ("RGB", "L", "L"), shown
"""


def test_load_dataset_gives_back_every_byte(run, hub, dataset, tmp_path):
    assert run("push", dataset, NAME, "--yes").exit_code == 0
    environment = {
        **os.environ,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    }
    command = [sys.executable, "-c", LOAD, NAME, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for split, prefix in (("train", "train"), ("validation", "val")):
        source = [pq.read_table(path) for path in sorted(dataset.glob(f"data/{prefix}-*.parquet"))]
        rows = [row for table in source for row in table.to_pylist()]
        assert pq.read_table(tmp_path / f"{split}.parquet").to_pylist() == rows
        assert rows


def test_make_and_push_in_one_go(run, hub, tiny_flags, tmp_path, monkeypatch):
    flags = ("--n", 4, "--filters", "none", "--out", tmp_path / "out", "--device", "cpu")
    result = run("make", *tiny_flags, *flags, "--push", NAME)
    assert result.exit_code == 0, result.output
    assert "licence: unknown" in result.stderr
    assert result.stdout.splitlines()[-1].startswith(f"{hub.url}/datasets/user/discs: ")
    manifest = (tmp_path / "out" / "manifest.json").read_bytes()
    assert hub.data(NAME, "manifest.json") == manifest
    monkeypatch.delenv("HF_TOKEN")
    refused = run("make", *tiny_flags, "--n", 4, "--out", tmp_path / "new", "--push", NAME)
    assert refused.exit_code == 5
    assert not (tmp_path / "new").exists()  # told before the work, not after
    for bad in (["--push", "x"], ["--push", NAME, "--formats", "png"]):
        assert run("make", *tiny_flags, "--n", 4, "--out", tmp_path / "new", *bad).exit_code == 2
