import hashlib
import json
import runpy
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from l4f_datagen.core.errors import InputRefused, UsageError
from l4f_datagen.dataset.manifest import Marker, dump_json, read_manifest

discs = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "discs.py")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("discs")
    discs.make_dataset(folder, 15)
    return folder


@pytest.fixture(scope="module")
def manifest(folder):
    return json.loads((folder / "manifest.json").read_bytes())


def test_what_it_tells(folder, manifest):
    assert read_manifest(folder) == manifest
    assert manifest["counts"] == {
        **{"attempted": 18, "accepted": 15, "rejected": {"border": 3}},
        **{"empty_masks": 0, "filled_holes": 0},
    }
    assert manifest["psi"] == [1.0]
    assert manifest["seeds"] == {"first": 0, "last": 17}
    assert manifest["formats"] == ["png", "coco", "hf"]
    assert manifest["mask_threshold"] == 0.9
    assert manifest["category"] == "disc"
    assert manifest["licence"] == {"name": "Apache-2.0", "url": ""}
    assert manifest["provenance"] == discs.PROVENANCE
    shards = [(shard["attempted"], shard["accepted"]) for shard in manifest["shards"]]
    assert shards == [(8, 7), (8, 6), (2, 2)]


def test_digests_are_those_of_sha256sum(folder, manifest):
    seen = set()
    for shard in manifest["shards"]:
        for name, fact in shard["files"].items():
            path = folder / name
            if path.is_dir():
                listing = subprocess.run(
                    "sha256sum *", shell=True, cwd=path, capture_output=True, check=True
                ).stdout
                assert fact["sha256"] == hashlib.sha256(listing).hexdigest()
                assert fact["files"] == len(list(path.iterdir())) == shard["accepted"]
                assert fact["bytes"] == sum(file.stat().st_size for file in path.iterdir())
                seen |= {file.relative_to(folder) for file in path.iterdir()}
            else:
                check_file(path, fact)
                seen.add(path.relative_to(folder))
    for name, fact in manifest["indexes"].items():
        check_file(folder / name, fact)
        seen.add(Path(name))
    there = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert {str(path) for path in there - seen} == {
        *(".l4f/lock", ".l4f/run.json", "manifest.json"),
        *(f".l4f/shards/{shard:05d}.json" for shard in range(3)),
    }


@pytest.mark.parametrize(
    ("part", "value", "told"),
    [
        ("provenance", None, "provenance is missing"),
        ("provenance.generator.sha256", None, r"provenance\.generator\.sha256 is missing"),
        ("provenance.recipe.filters", [], r"provenance\.recipe\.filters is \[\]"),
        ("counts.accepted", "15", r"counts\.accepted is '15'"),
        ("schema", 99, "schema 99, this version reads up to 2"),
    ],
)
def test_a_manifest_that_lacks_a_part_is_refused(manifest, tmp_path, part, value, told):
    damaged = json.loads(json.dumps(manifest))
    *parents, last = part.split(".")
    inner = damaged
    for name in parents:
        inner = inner[name]
    inner |= {last: value}
    if value is None:
        del inner[last]
    (tmp_path / "manifest.json").write_bytes(dump_json(damaged))
    with pytest.raises(InputRefused, match=rf"manifest\.json: is no manifest .*\({told}\)"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("data", [b"", b"[]", b"3", b"[" * 99_999, b"\xff"])
def test_what_is_no_manifest(tmp_path, data):
    (tmp_path / "manifest.json").write_bytes(data)
    with pytest.raises(InputRefused, match="is no manifest of a dataset"):
        read_manifest(tmp_path)


def test_a_folder_without_a_manifest(tmp_path):
    with pytest.raises(UsageError, match="nowhere: no such folder"):
        read_manifest(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="is no finished dataset"):
        read_manifest(tmp_path)
    (tmp_path / ".l4f").mkdir()
    (tmp_path / ".l4f/run.json").write_text("{}")
    with pytest.raises(UsageError, match="is not finished; run its `make` again"):
        read_manifest(tmp_path)


def check_file(path, fact):
    data = path.read_bytes()
    assert fact == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_keys_are_sorted_and_nothing_of_the_machine_is_told(folder):
    text = (folder / "manifest.json").read_text()
    assert text == dump_json(json.loads(text)).decode()
    assert str(folder) not in text


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"3", b"{}", b'{"schema":1}', b'{"schema":99,"shard":0}', b"[" * 99_999],
)
def test_what_is_no_marker(data):
    with pytest.raises(ValueError, match=r"marker|schema|Expecting"):
        Marker.from_bytes(data)


def marker_bytes(folder):
    return (folder / ".l4f/shards/00001.json").read_bytes()


def test_a_marker_survives_its_file(folder):
    marker = Marker.from_bytes(marker_bytes(folder))
    assert (marker.shard, marker.attempted, marker.accepted) == (1, 8, 6)
    assert marker.to_bytes() == marker_bytes(folder)
    assert Marker.from_bytes(marker.to_bytes()) == marker


@pytest.mark.parametrize(
    "change",
    [
        *({"rows": []}, {"rows": None}, {"rows": [None] * 8}, {"rows": ["row"] * 8}),
        *({"files": []}, {"files": [3]}, {"files": [["images/a.png", 1]]}),
        *({"files": [["images/a.png", "1", "ff"]]}, {"files": [[1, 1, "ff"]]}),
        *({"accepted": "x"}, {"accepted": None}, {"accepted": 5}, {"attempted": 7}),
        *({"planned": "8"}, {"planned": 7}, {"shard": "1"}, {"empty_masks": None}),
        *({"rejected": []}, {"rejected": {"border": "2"}}, {"rejected": {}}),
        *({"filled_holes": []}, {"more": 1}),
    ],
)
def test_a_marker_that_contradicts_itself(folder, change):
    values = json.loads(marker_bytes(folder)) | change
    with pytest.raises(ValueError, match=r"^not a marker: |values to unpack"):
        Marker.from_bytes(dump_json(values))


@pytest.mark.parametrize(
    "change",
    [
        *({"status": "rejected"}, {"key": 3}, {"image_id": "9"}, {"seed": None}, {"shard": []}),
        *({"psi": "1"}, {"split": []}, {"scores": None}, {"scores": {"coverage": "high"}}),
    ],
)
def test_a_row_of_a_marker_that_is_none(folder, change):
    values = json.loads(marker_bytes(folder))
    values["rows"][1] |= change  # the first was rejected
    with pytest.raises(ValueError, match=r"^not a marker: "):
        Marker.from_bytes(dump_json(values))
    values["rows"][1] = {"status": "accepted"}
    with pytest.raises(ValueError, match=r"^not a marker: 'key'$"):
        Marker.from_bytes(dump_json(values))
