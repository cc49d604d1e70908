"""Rejected samples on request: beside the dataset, in no index."""

import io
import json

import numpy as np
from PIL import Image

KEPT = {"keep_rejected": True}


def test_rejected_samples_lie_apart_and_the_rest_is_as_it_was(discs, tmp_path):
    discs.make_dataset(tmp_path / "kept", 15, output=KEPT)
    discs.make_dataset(tmp_path / "plain", 15)
    kept, plain = discs.files_of(tmp_path / "kept"), discs.files_of(tmp_path / "plain")
    apart = {name: data for name, data in kept.items() if name.startswith("rejected/")}
    rows = [json.loads(line) for line in kept["ledger.jsonl"].decode().splitlines()]
    rejected = [row for row in rows if row["status"] == "rejected"]
    assert {name.split("/")[-1] for name in apart} == {f"{row['key']}.png" for row in rejected}
    for row in rejected:
        disc = discs.make_disc(row["seed"])
        assert row["reason"] == disc.reason
        for folder, array in (("images", disc.image), ("masks", disc.mask * np.uint8(255))):
            data = apart[f"rejected/{row['shard']:05d}/{folder}/{row['key']}.png"]
            assert (np.asarray(Image.open(io.BytesIO(data))) == array).all()
    assert len(apart) == 3 * len(rejected)
    told = {name for name in kept if name.startswith(".l4f/shards/")} | {"manifest.json"}
    assert {n: d for n, d in kept.items() if n not in apart and n not in told} == {
        name: data for name, data in plain.items() if name not in told
    }


def test_the_manifest_sums_them_up(discs, tmp_path):
    discs.make_dataset(tmp_path, 15, output=KEPT)
    shards = json.loads((tmp_path / "manifest.json").read_bytes())["shards"]
    assert shards[0]["files"]["rejected/00000/alpha"]["files"] == 1


def test_a_lost_one_is_made_again_and_overwriting_removes_them(discs, tmp_path):
    discs.make_dataset(tmp_path, 15, output=KEPT)
    before = discs.files_of(tmp_path)
    next((tmp_path / "rejected/00000/masks").iterdir()).unlink()
    notes = discs.make_dataset(tmp_path, 15, output=KEPT)
    assert notes == ["shard 0: 1 files missing or cut short; made again"]
    assert discs.files_of(tmp_path) == before
    discs.make_dataset(tmp_path, 15, overwrite=True)
    assert not (tmp_path / "rejected").exists()
