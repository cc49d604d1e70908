"""The commands: dry run, publishing, exit codes; and load_dataset through the same server."""

import json
import os
import subprocess
import sys

import pyarrow.parquet as pq

NAME = "user/discs"


def test_dry_run_shows_files_card_and_what_is_there_and_changes_nothing(
    cli_run, hub, dataset, published, tmp_path
):
    def pushed(*flags, folder=dataset, code=0):
        result = cli_run("push", folder, NAME, *flags)
        assert result.exit_code == code, result.output
        return result.stdout

    lines = pushed().splitlines()
    sizes = [path.stat().st_size for path in dataset.glob("data/*")]
    assert lines[0].split() == [f"{sum(sizes):,}", "data/", f"({len(sizes)}", "files)"]
    for page in ("README.md", "manifest.json", "contact_sheet.png", "ledger.jsonl", "recipe.yaml"):
        assert f"{(dataset / page).stat().st_size:>16,}  {page}" in lines
    assert "  | # discs, labelled by Labels4Free" in lines
    assert "to the new private dataset user/discs, revision main" in lines
    assert lines[-1] == "nothing was sent; add --yes to publish"
    assert not [line for line in hub.asked if line.startswith("POST") and "validate" not in line]
    rings = published.publishable(tmp_path / "rings", 3, domain="rings")
    pushed("--yes", "--public", folder=rings)
    lines = pushed().splitlines()
    assert "to the public dataset user/discs, revision main" in lines
    assert any(line.startswith("replaces 3 samples of rings (recipe ") for line in lines)
    assert lines[-1] == "nothing was sent; add --replace --yes to publish"
    plan = json.loads(pushed("--json"))
    assert plan["bytes"] == sum(file["bytes"] for file in plan["files"])
    assert (plan["exists"], plan["private"]) == (True, False)
    assert plan["card"] == (dataset / "README.md").read_text()
    pushed("--yes", code=2)
    pushed("--yes", "--replace")


def test_yes_publishes_and_states_the_licence_before(cli_run, hub, serving, dataset):
    result = cli_run("push", dataset, NAME, "--yes", "--tag", "v1")
    assert result.exit_code == 0, result.output
    assert "licence: nvidia-source-code-license-nc forbids commercial" in result.stderr
    assert result.stdout.startswith(f"{hub.url}/datasets/user/discs (private): ")
    assert hub.repos[NAME].tags
    again = cli_run("push", dataset, NAME, "--yes", "--tag", "v1")
    assert again.stdout == f"{hub.url}/datasets/user/discs: up to date, nothing was sent\n"
    done = json.loads(cli_run("push", dataset, NAME, "--yes", "--json").stdout)
    assert done == {
        "url": f"{hub.url}/datasets/user/discs",
        "private": True,
        "files": 0,
        "size": 0,
        "removed": 0,
    }
    assert serving.TOKEN not in result.output


def test_card_command_keeps_the_notes(cli_run, dataset):
    card = dataset / "README.md"
    before = card.read_text()
    card.write_text(before.replace("Noisy discs.", "Edited.") + "My words.\n")
    assert cli_run("card", dataset).stdout == f"{card}\n"
    assert card.read_text() == before + "My words.\n"
    card.write_text("no marker")
    result = cli_run("card", dataset)
    assert result.exit_code == 2
    assert "its marker line is missing" in result.output
    assert cli_run("card", dataset / "data").exit_code == 2


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


def test_load_dataset_gives_back_every_byte(cli_run, hub, dataset, tmp_path):
    assert cli_run("push", dataset, NAME, "--yes", "--public").exit_code == 0
    quiet = dict.fromkeys(("XET", "TELEMETRY", "UPDATE_CHECK"), "1")
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home")}
    environment |= {f"HF_HUB_DISABLE_{name}": on for name, on in quiet.items()}
    command = [sys.executable, "-c", LOAD, NAME, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for split in ("train", "val"):
        source = [pq.read_table(path) for path in sorted(dataset.glob(f"data/{split}-*.parquet"))]
        rows = [row for table in source for row in table.to_pylist()]
        assert pq.read_table(tmp_path / f"{split}.parquet").to_pylist() == rows
        assert rows


def test_make_and_push_in_one_go(cli_run, hub, serving, tiny_flags, tmp_path, monkeypatch):
    def make(*flags, out="new"):
        base = ("--n", 4, "--filters", "none", "--out", tmp_path / out, "--device", "cpu")
        return cli_run("make", *tiny_flags, *base, "--push", *flags)

    result = make(NAME, "--yes", "--private", out="out")
    assert result.exit_code == 0, result.output
    assert "licence: unknown" in result.stderr
    assert result.stdout.splitlines()[-1].startswith(f"{hub.url}/datasets/user/discs (private): ")
    manifest = (tmp_path / "out" / "manifest.json").read_bytes()
    assert hub.data(NAME, "manifest.json") == manifest
    # All that can be known is refused before the work, not after.
    other = ("--set", "output.category=other")
    for code, flags, words in (
        (2, (NAME,), "--push: publishes at user/discs when the dataset is done; add --yes"),
        (2, ("x", "--yes"), "is not of the form user/name"),
        (2, (NAME, "--yes", "--formats", "png"), "--push: publishes Parquet files"),
        (2, (NAME, "--yes", *other), "holds what this push would replace: 4 samples of"),
        (5, (NAME, "--yes", "--public"), "exists and is private; make it public"),
        (5, ("other/discs", "--yes"), "other is not among user"),
    ):
        refused = make(*flags)
        assert (refused.exit_code, words in refused.output) == (code, True), refused.output
    monkeypatch.setenv("HF_TOKEN", serving.READER)
    assert make(NAME, "--yes").exit_code == 5
    assert not (tmp_path / "new").exists()
