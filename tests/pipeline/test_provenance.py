"""The command that the report names, and the pages ``make`` leaves."""

import json
import shlex
import shutil

import numpy as np
import pytest

from l4f_datagen.checkpoints.native import save_alpha
from l4f_datagen.pipeline.provenance import block_around
from l4f_datagen.recipe import check_recipe
from l4f_datagen.report.pages import again_command
from l4f_datagen.report.records import read_records


@pytest.fixture
def job(make, tiny_recipe, tmp_path):
    tiny_recipe["sampling"]["block_size"] = 5

    def call(name="set", number=13, **options):
        make(name, number, device="cpu", **options)
        return tmp_path / name

    return call


SAME = "same bytes as in the dataset"


def rows_of(folder, status="accepted"):
    lines = (folder / "ledger.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["status"] == status]


@pytest.fixture
def run_command(cli_run, monkeypatch):
    """Function: run the command as the page gives it, in the dataset's folder."""

    def run(folder, key):
        monkeypatch.chdir(folder)
        tool, *arguments = shlex.split(again_command(key))
        assert tool == "l4f-datagen"
        return cli_run(*arguments)

    return run


def test_the_command_gives_the_same_bytes(job, run_command):
    folder = job()
    chosen = rows_of(folder)
    assert len({row["shard"] for row in chosen}) > 1
    for row in (chosen[0], chosen[7], chosen[-1], rows_of(folder, "rejected")[0]):
        result = run_command(folder, row["key"])
        assert result.exit_code == 0, result.output
        rejected = row["status"] == "rejected"  # then there are no bytes to compare
        assert (SAME in result.stderr) is not rejected
        for part in ("images", "masks", "alpha"):
            again = (folder.parent / "again" / part / f"{row['key']}.png").read_bytes()
            stored = folder / part / f"{row['shard']:05d}" / f"{row['key']}.png"
            assert rejected or again == stored.read_bytes()


def test_a_plan_cut_inside_a_block_is_cut_again(job, run_command):
    folder = job(number=19, count="attempts")
    records, manifest = read_records(folder), json.loads((folder / "manifest.json").read_text())
    recipe = check_recipe(manifest["provenance"]["recipe"], "test")

    def block():
        return [draw.image_id for draw in block_around(16, folder, recipe.sampling, records)]

    assert block() == [16, 17, 18, 19]
    last = rows_of(folder)[-1]
    assert last["image_id"] > 15
    assert SAME in run_command(folder, last["key"]).stderr
    # Downloaded without the markers: a last row that was rejected tells of the cut, too.
    shutil.rmtree(folder / ".l4f")
    assert block() == [16, 17, 18, 19, *([20] if records.accepted[-1] else [])]


def test_other_bytes_unknown_keys_other_weights_and_a_cut_marker_are_told(
    job, cli_run, run_command, tmp_path, make_generator, make_alpha
):
    folder = job()
    row = rows_of(folder)[0]
    path = folder / "masks" / f"{row['shard']:05d}" / f"{row['key']}.png"
    path.write_bytes(path.read_bytes() + b"\0")
    other = tmp_path / "b.safetensors"
    save_alpha(other, make_alpha(make_generator(16), seed=9), generator_fingerprint=None)
    asked = ("inspect", "sample", folder, row["key"], "--out", tmp_path / "x")
    marker = sorted((folder / ".l4f/shards").iterdir())[-1]

    def cut():
        marker.write_bytes(marker.read_bytes()[:100])
        return cli_run(*asked)

    for run, code, told in (
        (lambda: run_command(folder, row["key"]), 1, "differs from the files of the dataset"),
        (lambda: run_command(folder, "psi0700-seed0000001"), 2, "1: is not in the ledger of"),
        (lambda: cli_run(*asked, "--alpha", other), 4, "was made with other weights, latents or b"),
        (cut, 4, f"Error: {marker}: is no marker of a shard ("),
    ):
        result = run()
        assert result.exit_code == code
        assert told in result.output
    assert "run the `make` that made the dataset again" in result.output
    assert not (tmp_path / "x").exists()


def test_an_out_that_cannot_be_or_is_the_dataset_is_refused(job, cli_run, tmp_path, monkeypatch):
    folder = job()
    key = rows_of(folder)[0]["key"]
    before = sorted(folder.rglob("*"))
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file/below", tmp_path / ("x" * 300)):
        result = cli_run("inspect", "sample", folder, key, "--out", out)
        assert result.exit_code == 2
        assert f"Error: {out}: cannot be written (" in result.output
        assert "name another folder with --out" in result.output
    monkeypatch.chdir(folder)
    for out in (folder, folder / "images", ".", "../set/again"):
        result = cli_run("inspect", "sample", folder, key, "--out", out)
        assert result.exit_code == 2
        assert f"{out}: lies in the dataset, which holds its own files alone; " in result.output
    assert sorted(folder.rglob("*")) == before
    assert (tmp_path / "file").read_text() == "mine"


def test_latents_that_have_moved_are_named(tiny_recipe, job, cli_run, tmp_path):
    rows = np.random.RandomState(0).randn(40, 8).astype(np.float32)
    for name, values in (("here", rows), ("there", rows), ("other", rows + 1)):
        np.save(tmp_path / f"{name}.npy", values)
    tiny_recipe["sampling"]["latents"] = str(tmp_path / "here.npy")
    folder = job()
    (tmp_path / "here.npy").unlink()
    asked = ("inspect", "sample", folder, rows_of(folder)[0]["key"], "--out", tmp_path / "x")
    for named, code, told in (
        ((), 4, "here.npy: cannot be read"),
        (("other",), 4, "than these; name its own ones with --generator, --alpha and --latents"),
        (("there",), 0, SAME),
    ):
        flags = [f"--latents={tmp_path / name}.npy" for name in named]
        result = cli_run(*asked, *flags)
        assert result.exit_code == code, result.output
        assert told in result.output


def test_report_writes_what_make_left(job, cli_run):
    folder = job()
    pages = {name: (folder / name).read_bytes() for name in ("report.html", "contact_sheet.png")}
    assert b"again" in pages["report.html"]
    for name in pages:
        (folder / name).unlink()
    assert cli_run("report", folder).stdout == f"{folder / 'report.html'}\n"
    assert cli_run("report", folder, "--contact-sheet").exit_code == 0
    assert {name: (folder / name).read_bytes() for name in pages} == pages
