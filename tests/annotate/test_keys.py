import json

import pytest

from l4f_datagen.annotate.keys import KeyFile, KeyRow, keys_of, read_key_file, write_key_file
from l4f_datagen.core.errors import AnnotationRefused

ROWS = [
    KeyRow("psi0700-seed0000003.png", 0.7, 3),
    KeyRow("psi0707-seed4294967295.png", 0.7071, 2**32 - 1),
]
FACTS = {"drawn_with": {"sampling.noise_mode": "const"}, "domain": "toy"}


def test_what_is_written_is_read_back_exactly(tmp_path):
    write_key_file(tmp_path, KeyFile(ROWS, FACTS))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys.csv", "keys.json"]
    for path in (tmp_path, tmp_path / "keys.csv", tmp_path / "keys.json"):
        keys = read_key_file(path)
        assert keys.rows == ROWS
        assert keys.facts == {"schema": 1, "pictures": 2, **FACTS}
    assert (tmp_path / "keys.csv").read_text().splitlines() == [
        "file,key,psi,seed",
        "psi0700-seed0000003.png,psi0700-seed0000003,0.7,3",
        "psi0707-seed4294967295.png,psi0707-seed4294967295,0.7071,4294967295",
    ]


def test_a_table_edited_in_a_spreadsheet_is_read(tmp_path):
    text = "\ufeffseed,psi,file\r\n3,0.50,folder\\one.png\r\n4,1,\r\n"
    (tmp_path / "keys.csv").write_text(text, encoding="utf-8", newline="")
    keys = read_key_file(tmp_path)
    assert keys.rows == [KeyRow("one.png", 0.5, 3), KeyRow("psi1000-seed0000004", 1.0, 4)]
    assert keys.facts == {}


def test_psi_and_seed_come_from_names():
    keys = keys_of(["a/psi0500-seed0000012_gt.png", "psi1250-seed4000000000.jpg"], "x.json", None)
    assert [(row.psi, row.seed) for row in keys.rows] == [(0.5, 12), (1.25, 4_000_000_000)]
    assert not keys.facts


@pytest.mark.parametrize("name", ["face3.png", "seed0000003.png"])
def test_names_without_a_key_are_named(name):
    with pytest.raises(AnnotationRefused, match=rf"export {name}: its name holds no key .* --keys"):
        keys_of([name], "export", None)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", r"keys\.csv: no columns file, psi and seed"),
        ("file,key\na,b\n", "no columns file, psi and seed"),
        ("file,psi,seed\n", "names no image"),
        ("file,psi,seed\na.png,0.5,1\nb.png,2.5,1\n", r"keys\.csv line 3: psi '2\.5' and seed '1'"),
        ("file,psi,seed\na.png,nan,1\n", "line 2: psi 'nan'"),
        ("file,psi,seed\na.png,0.5,-1\n", "seed '-1'"),
        ("file,psi,seed\na.png,0.5,4294967296\n", "a 32-bit number"),
        ("file,psi,seed\na.png,0.5\n", "seed None"),
        ("file,psi,seed\na.png,0.5,1\nb.png,0.5,1\n", "key psi0500-seed0000001 is named twice"),
        ("file,psi,seed\n" + "x" * 200_000 + ",1,1\n", r"no CSV \(field larger"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
    ],
)
def test_broken_tables_are_one_line(tmp_path, text, match):
    data = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "keys.csv").write_bytes(data)
    with pytest.raises(AnnotationRefused, match=match):
        read_key_file(tmp_path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", r"keys\.json: not JSON"),
        ("[" * 100_000, r"keys\.json: not JSON"),
        ("[]", r"is no keys\.json of `sample`"),
        (json.dumps({"schema": 1, "drawn_with": 3}), r"is no keys\.json of `sample`"),
        (json.dumps({"schema": 9, **FACTS}), "has schema 9, expected 1"),
    ],
)
def test_broken_facts_are_one_line(tmp_path, text, match):
    write_key_file(tmp_path, KeyFile(ROWS))
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(AnnotationRefused, match=match):
        read_key_file(tmp_path)


def test_a_missing_key_file_is_named(tmp_path):
    with pytest.raises(AnnotationRefused, match=r"keys\.csv: cannot be read \(No such file"):
        read_key_file(tmp_path)
