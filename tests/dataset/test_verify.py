"""Every damage to a finished dataset is named, and what the remedy says mends it."""

import json
import shutil

import pytest

from l4f_datagen.dataset.manifest import read_manifest
from l4f_datagen.dataset.verify import count_files, verify_dataset

ALL = ["png", "coco", "hf", "imagefolder", "webdataset", "yolo"]


@pytest.fixture
def folder(discs, tmp_path):
    discs.make_dataset(tmp_path / "out", 15, formats=ALL, output={"keep_rejected": True})
    return tmp_path / "out"


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_dataset_as_it_was_written_has_no_problem(folder):
    counted = []
    assert verify_dataset(folder, counted.append) == []
    assert sum(counted) == count_files(read_manifest(folder))
    listed = [path for path in folder.rglob("*") if path.is_file()]
    # Not in the manifest: itself, the lock, the record of the run, and three markers.
    assert sum(counted) == len(listed) - 6


def damages(folder):
    images = sorted(path for path in (folder / "images/00001").iterdir())
    flip(images[0])
    images[1].unlink()
    images[2].write_bytes(images[2].read_bytes()[:-3])
    flip(folder / "data/train-00002.parquet")
    flip(folder / "annotations/instances_train.json")
    (folder / "masks/00000/extra.png").write_bytes(b"png")
    (folder / "masks/00000/.DS_Store").write_bytes(b"")
    return {
        f"images/00001/{images[0].name}": "its content has changed",
        f"images/00001/{images[1].name}": "is missing",
        f"images/00001/{images[2].name}": "bytes, expected",
        "data/train-00002.parquet": "its content has changed",
        "annotations/instances_train.json": "its content has changed",
        "masks/00000/extra.png": "is not part of the dataset",
    }


def test_every_damage_is_named_and_mended_as_told(cli_run, discs, folder):
    undisturbed = discs.files_of(folder)
    wanted = damages(folder)
    found = verify_dataset(folder)
    assert [one.path for one in found] == sorted(wanted)
    assert all(wanted[one.path] in one.problem for one in found)
    assert {one.path: one.shard for one in found}["data/train-00002.parquet"] == 2
    told = {one.path: one.remedy for one in found}
    assert told["data/train-00002.parquet"] == (
        "delete it and run the same `make` again: it writes shard 2 anew"
    )
    run = cli_run("verify", folder, "--json", "--remove-changed")
    assert run.exit_code == 1
    assert [one["path"] for one in json.loads(run.stdout)["problems"]] == sorted(wanted)
    assert "6 of" in run.stderr
    for extra in ("extra.png", ".DS_Store"):
        (folder / "masks/00000" / extra).unlink()  # nothing of others is deleted by itself
    discs.make_dataset(folder, 15, formats=ALL, output={"keep_rejected": True})
    assert verify_dataset(folder) == []
    assert discs.files_of(folder) == undisturbed


@pytest.mark.parametrize("how", ["missing", "damaged", "of another run"])
def test_a_marker_that_does_not_fit(folder, how):
    marker = folder / ".l4f/shards/00001.json"
    if how == "missing":
        marker.unlink()
    elif how == "damaged":
        marker.write_text("{")
    else:
        shutil.copy(folder / ".l4f/shards/00000.json", marker)
    flip(next((folder / "alpha/00001").iterdir()))
    found = {one.path: one.problem for one in verify_dataset(folder)}
    assert found == {
        ".l4f/shards/00001.json": "the shard's record is missing or damaged",
        "alpha/00001": "a file in it has changed",
    }


def test_a_download_of_one_format_is_checked_as_far_as_it_goes(folder, tmp_path):
    for name in ("manifest.json", "ledger.jsonl", "recipe.yaml", "data"):
        copy = shutil.copytree if (folder / name).is_dir() else shutil.copy
        (tmp_path / "copy").mkdir(exist_ok=True)
        copy(folder / name, tmp_path / "copy" / name)
    assert verify_dataset(tmp_path / "copy") == []
    flip(tmp_path / "copy/data/train-00000.parquet")
    (tmp_path / "copy/data/train-00001.parquet").unlink()
    found = verify_dataset(tmp_path / "copy")
    assert [(one.path, one.problem, one.remedy) for one in found] == [
        ("data/train-00000.parquet", "its content has changed", "download it again"),
        ("data/train-00001.parquet", "is missing", "download it again"),
    ]


def test_the_command(cli_run, folder, tmp_path):
    run = cli_run("verify", folder)
    assert run.exit_code == 0
    assert "files are as manifest.json lists them" in run.stdout
    flip(folder / "ledger.jsonl")
    run = cli_run("verify", folder)
    assert run.exit_code == 1
    assert run.stdout.startswith(
        "ledger.jsonl: its content has changed; run the same `make` again: it writes it anew\n"
    )
    assert cli_run("verify", tmp_path / "none").exit_code == 2
