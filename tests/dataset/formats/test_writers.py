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
    discs.make_dataset(tmp_path, 5, formats=[name])
    manifest = json.loads((tmp_path / "manifest.json").read_bytes())
    listed = {file for shard in manifest["shards"] for file in shard["files"]}
    assert listed
    assert all((tmp_path / file).exists() for file in [*listed, *manifest["indexes"]])
    layout.clear(tmp_path)
    assert set(discs.files_of(tmp_path)) == {".l4f/run.json", ".l4f/lock"}


def test_an_index_of_a_split_exists_where_the_split_does(discs, tmp_path):
    discs.make_dataset(tmp_path, 9, formats=FORMATS, blocks=discs.split_blocks)
    found = discs.files_of(tmp_path)
    for split in ("train", "val"):
        assert f"annotations/instances_{split}.json" in found
        assert f"imagefolder/{split}/metadata.jsonl" in found
        assert f"data/{split}-00000.parquet" in found
        assert f"webdataset/{split}-00000.tar" in found
        assert any(name.startswith(f"yolo/images/{split}/psi") for name in found)
    assert not [name for name in found if "test" in name]


def test_a_lost_file_is_made_again(discs, tmp_path):
    formats = ["imagefolder", "webdataset", "yolo"]
    discs.make_dataset(tmp_path, 9, formats=formats, blocks=discs.split_blocks)
    before = discs.files_of(tmp_path)
    (tmp_path / "webdataset/val-00000.tar").unlink()
    max((tmp_path / "yolo/labels/train").iterdir()).write_bytes(b"")
    notes = discs.make_dataset(tmp_path, 9, formats=formats, blocks=discs.split_blocks)
    assert [note[:8] for note in notes] == ["shard 0:", "shard 1:"]
    assert discs.files_of(tmp_path) == before
