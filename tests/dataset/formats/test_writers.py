import json

import pytest

from l4f_datagen.core.sample import FORMATS
from l4f_datagen.dataset import layout
from l4f_datagen.dataset.formats import WRITERS
from l4f_datagen.dataset.formats.encoding import IMAGE_ENCODERS, SUFFIXES


def test_the_tables_agree_and_no_two_formats_share_a_place_or_an_index():
    assert list(WRITERS) == list(FORMATS)
    assert set(IMAGE_ENCODERS) == set(SUFFIXES)
    places = [place for writer in WRITERS.values() for place in (*writer.places, *writer.flat)]
    indexes = [name for writer in WRITERS.values() for name in writer.indexes]
    assert len(set(places)) == len(places) > 10
    assert len(set(indexes)) == len(indexes) >= 3


@pytest.mark.parametrize("name", [name for name in FORMATS if not FORMATS[name]])
def test_each_format_alone_lists_and_removes_its_own_files(discs, tmp_path, name):
    discs.make_dataset(tmp_path, 5, formats=[name], output={"keep_rejected": True})
    manifest = json.loads((tmp_path / "manifest.json").read_bytes())
    listed = {file for shard in manifest["shards"] for file in shard["files"]}
    assert {f"rejected/00000/{kind}" for kind in ("images", "masks", "alpha")} < listed
    assert all((tmp_path / file).exists() for file in [*listed, *manifest["indexes"]])
    layout.clear(tmp_path)
    assert set(discs.files_of(tmp_path)) == {".l4f/run.json", ".l4f/lock"}


def test_an_index_of_a_split_exists_where_the_split_does_and_lost_files_come_back(discs, tmp_path):
    what = {"formats": FORMATS, "blocks": discs.split_blocks, "output": {"keep_rejected": True}}
    discs.make_dataset(tmp_path, 9, **what)
    before = discs.files_of(tmp_path)
    for split in ("train", "val"):
        assert {
            *(f"annotations/instances_{split}.json", f"imagefolder/{split}/metadata.jsonl"),
            *(f"data/{split}-00000.parquet", f"webdataset/{split}-00000.tar"),
        } < set(before)
        assert any(name.startswith(f"yolo/images/{split}/psi") for name in before)
    assert not [name for name in before if "test" in name]
    (tmp_path / "webdataset/val-00000.tar").unlink()
    next((tmp_path / "rejected/00000/masks").iterdir()).unlink()
    max((tmp_path / "yolo/labels/train").iterdir()).write_bytes(b"")
    problem = "files missing or cut short; made again"
    notes = [f"shard 0: 2 {problem}", f"shard 1: 1 {problem}"]
    assert discs.make_dataset(tmp_path, 9, **what) == notes
    assert discs.files_of(tmp_path) == before
