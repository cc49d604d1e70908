"""Every damage to a finished dataset is named, and what the remedy says mends it."""

import json
import shutil

import pytest

from l4f_datagen.core.sample import FORMATS
from l4f_datagen.dataset.manifest import read_manifest
from l4f_datagen.dataset.verify import count_files, verify_dataset

CHANGED = "its content has changed"
WHAT = {"formats": tuple(FORMATS), "output": {"keep_rejected": True}}


@pytest.fixture
def folder(discs, tmp_path):
    discs.make_dataset(tmp_path / "out", 15, **WHAT)
    return tmp_path / "out"


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_dataset_as_it_was_written_has_no_problem(cli_run, discs, folder, tmp_path):
    counted = []
    assert verify_dataset(folder, counted.append) == []
    # Not in the manifest: itself, the lock, the record of the run, and three markers.
    assert sum(counted) == count_files(read_manifest(folder)) == len(discs.files_of(folder)) - 6
    run = cli_run("verify", folder)
    assert run.exit_code == 0
    assert "files are as manifest.json lists them" in run.stdout
    assert cli_run("verify", tmp_path / "none").exit_code == 2


def damages(folder):
    images = sorted((folder / "images/00001").iterdir())
    size = images[2].stat().st_size
    flip(images[0])
    images[1].unlink()
    images[2].write_bytes(images[2].read_bytes()[:-3])
    flip(folder / "data/train-00002.parquet")
    flip(folder / "annotations/instances_train.json")
    (folder / "masks/00000/extra.png").write_bytes(b"png")
    (folder / "masks/00000/.DS_Store").write_bytes(b"")
    again = "run the same `make` again: it writes"
    return {
        "annotations/instances_train.json": f"{CHANGED}; {again} it anew",
        "data/train-00002.parquet": f"{CHANGED}; delete it and {again} shard 2 anew",
        f"images/00001/{images[0].name}": f"{CHANGED}; delete it and {again} shard 1 anew",
        f"images/00001/{images[1].name}": f"is missing; {again} shard 1 anew",
        f"images/00001/{images[2].name}": f"bytes, expected {size}; {again} shard 1 anew",
        "masks/00000/extra.png": "is not part of the dataset, and readers may take it for a",
    }


def test_every_damage_is_named_and_mended_as_told(cli_run, discs, folder):
    undisturbed = discs.files_of(folder)
    wanted = damages(folder)
    found = verify_dataset(folder)
    assert [one.path for one in found] == list(wanted)
    for one in found:
        assert wanted[one.path] in str(one)
    assert cli_run("verify", folder).stdout.startswith(f"{found[0]}\n{found[1]}\n")
    run = cli_run("verify", folder, "--json", "--remove-changed")
    assert run.exit_code == 1
    assert [one["path"] for one in json.loads(run.stdout)["problems"]] == list(wanted)
    assert "6 of" in run.stderr
    for extra in ("extra.png", ".DS_Store"):
        (folder / "masks/00000" / extra).unlink()  # nothing of others is deleted by itself
    discs.make_dataset(folder, 15, **WHAT)
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
    assert {one.path: one.problem for one in verify_dataset(folder)} == {
        ".l4f/shards/00001.json": "the shard's record is missing or damaged",
        "alpha/00001": "a file in it has changed",
    }


def test_a_download_of_one_format_is_checked_as_far_as_it_goes(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder / "data", copy / "data")
    for name in ("manifest.json", "ledger.jsonl", "recipe.yaml"):
        shutil.copy(folder / name, copy / name)
    assert verify_dataset(copy) == []
    flip(copy / "data/train-00000.parquet")
    (copy / "data/train-00001.parquet").unlink()
    assert list(map(str, verify_dataset(copy))) == [
        f"data/train-00000.parquet: {CHANGED}; download it again",
        "data/train-00001.parquet: is missing; download it again",
    ]
