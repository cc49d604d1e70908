"""Rows, markers and the manifest: what they tell, and what is none."""

import hashlib
import json
import subprocess

import pytest

from l4f_datagen.core.errors import InputRefused, UsageError
from l4f_datagen.dataset.manifest import (
    Counts,
    Marker,
    dump_json,
    empty_masks_note,
    ledger_row,
    read_manifest,
)

COUNTS = {
    "attempted": 18,
    "accepted": 15,
    "rejected": {"border": 3},
    "empty_masks": 0,
    "filled_holes": 0,
}
LEFT_OUT = {
    *(".l4f/lock", ".l4f/run.json", "manifest.json"),
    *(f".l4f/shards/{shard:05d}.json" for shard in range(3)),
}


@pytest.fixture(scope="module")
def folder(discs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("discs")
    discs.make_dataset(folder, 15)
    return folder


@pytest.fixture(scope="module")
def manifest(folder):
    return json.loads((folder / "manifest.json").read_bytes())


def test_what_it_tells(discs, folder, manifest):
    assert read_manifest(folder) == manifest
    wanted = {
        "counts": COUNTS,
        "psi": [1.0],
        "seeds": {"first": 0, "last": 17},
        "formats": ["png", "coco", "hf"],
        "mask_threshold": 0.9,
        "category": "disc",
        "licence": {"name": "Apache-2.0", "url": ""},
        "provenance": discs.PROVENANCE,
    }
    assert manifest | wanted == manifest
    shards = [(shard["attempted"], shard["accepted"]) for shard in manifest["shards"]]
    assert shards == [(8, 7), (8, 6), (2, 2)]
    text = (folder / "manifest.json").read_text()
    assert text == dump_json(manifest).decode()  # keys are sorted
    assert str(folder) not in text


def test_digests_are_those_of_sha256sum(discs, folder, manifest):
    left = discs.files_of(folder)
    facts = [
        (shard["accepted"], *one) for shard in manifest["shards"] for one in shard["files"].items()
    ]
    for accepted, name, fact in [*facts, *((None, *one) for one in manifest["indexes"].items())]:
        if "files" not in fact:
            digest, sizes = hashlib.sha256(left[name]).hexdigest(), [len(left.pop(name))]
        else:
            lines = subprocess.check_output("sha256sum *", shell=True, cwd=folder / name)
            digest = hashlib.sha256(lines).hexdigest()
            sizes = [len(left.pop(one)) for one in list(left) if one.startswith(f"{name}/")]
            assert fact["files"] == len(sizes) == accepted
        assert (fact["sha256"], fact["bytes"]) == (digest, sum(sizes))
    assert set(left) == LEFT_OUT


@pytest.mark.parametrize(
    ("part", "value", "told"),
    [
        ("provenance", None, "provenance is missing"),
        ("provenance.generator.sha256", None, r"provenance\.generator\.sha256 is missing"),
        ("provenance.recipe.filters", [], r"provenance\.recipe\.filters is \[\]"),
        ("counts.accepted", "15", r"counts\.accepted is '15'"),
        ("schema", 99, "schema 99, this version reads up to 2"),
        *((None, data, "") for data in (b"", b"[]", b"3", b"[" * 99_999, b"\xff")),
    ],
)
def test_what_is_no_manifest(manifest, tmp_path, part, value, told):
    if part is not None:
        damaged = inner = json.loads(json.dumps(manifest))
        *parents, last = part.split(".")
        for name in parents:
            inner = inner[name]
        inner[last] = value
        if value is None:
            del inner[last]
        value = dump_json(damaged)
    (tmp_path / "manifest.json").write_bytes(value)
    with pytest.raises(InputRefused, match=rf"manifest\.json: is no manifest of .*\(.*{told}.*\)"):
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


def test_a_marker_survives_its_file(folder):
    data = (folder / ".l4f/shards/00001.json").read_bytes()
    marker = Marker.from_bytes(data)
    assert (marker.shard, marker.attempted, marker.accepted) == (1, 8, 6)
    assert marker.to_bytes() == data


NO_MARKERS = [
    *(b"", b"{", b"[]", b"3", b"{}", b'{"schema":1}', b'{"schema":99,"shard":0}', b"[" * 99_999),
    *({"rows": []}, {"rows": None}, {"rows": [None] * 8}, {"rows": ["row"] * 8}),
    *({"files": []}, {"files": [3]}, {"files": [["images/a.png", 1]]}),
    *({"files": [["images/a.png", "1", "ff"]]}, {"files": [[1, 1, "ff"]]}),
    *({"accepted": "x"}, {"accepted": None}, {"accepted": 5}, {"attempted": 7}),
    *({"planned": "8"}, {"planned": 7}, {"shard": "1"}, {"empty_masks": None}),
    *({"rejected": []}, {"rejected": {"border": "2"}}, {"rejected": {}}),
    *({"filled_holes": []}, {"more": 1}),
]
NO_ROWS = [
    *({"status": "rejected"}, {"key": 3}, {"image_id": "9"}, {"seed": None}, {"shard": []}),
    *({"psi": "1"}, {"split": []}, {"scores": None}, {"scores": {"coverage": "high"}}),
    {"key": None},
]


@pytest.mark.parametrize(
    ("damage", "of_row"),
    [*((damage, False) for damage in NO_MARKERS), *((damage, True) for damage in NO_ROWS)],
)
def test_what_is_no_marker(folder, damage, of_row):
    values = json.loads((folder / ".l4f/shards/00001.json").read_bytes())
    if of_row:
        values["rows"][1] |= damage  # the first was rejected
        if damage == {"key": None}:
            del values["rows"][1]["key"]
    elif isinstance(damage, dict):
        values |= damage
    with pytest.raises(ValueError, match=r"marker|schema|Expecting|values to unpack"):
        Marker.from_bytes(damage if isinstance(damage, bytes) else dump_json(values))


def test_counts_add_up_in_parts_as_in_one(discs):
    rows = [ledger_row(discs.make_disc(seed), 0) for seed in range(18)]
    assert {type(rows[0]["psi"]), *map(type, rows[0]["scores"].values())} == {float}
    whole, parts = Counts(), Counts()
    whole.add(rows)
    for part in (rows[:0], rows[:2], rows[2:]):
        parts.add(part)
    assert parts == whole
    assert whole.to_dict() == COUNTS
    assert (whole.seeds, Counts().seeds) == ((0, 17), ())
    scores = [row["scores"]["coverage"] for row in rows if row["status"] == "accepted"]
    assert whole.scores["coverage"] == (min(scores), max(scores))


@pytest.mark.parametrize(
    ("empty", "told"),
    [
        (0, None),
        (3, "3 of 60 masks are empty; look at the contact sheet"),
        (60, "60 of 60 masks are empty; the alpha network may be unusable: look at the contact"),
    ],
)
def test_empty_masks_are_told_with_what_to_do(empty, told):
    note = empty_masks_note({"empty_masks": empty, "accepted": 60})
    assert note is told is None or note.startswith(told)


@pytest.mark.parametrize(
    ("statuses", "fits"),
    [
        ("+-+-", {None: True, 4: True, 3: True, 2: False, 1: False}),
        ("+--+", {None: True, 3: True, 2: True, 1: False}),
        ("+-+", {None: False, 3: False, 2: True, 1: False}),
        ("----", {None: True, 1: True}),
    ],
)
def test_a_shard_is_kept_where_an_undisturbed_run_would_end_it_alike(statuses, fits):
    rows = [{"status": "accepted" if sign == "+" else "rejected"} for sign in statuses]
    marker = Marker(0, 4, len(rows), statuses.count("+"), {}, 0, files=(), rows=rows)
    assert {wanted: marker.ends_where_asked(4, wanted) for wanted in fits} == fits
    assert not any(marker.ends_where_asked(5, wanted) for wanted in fits)
