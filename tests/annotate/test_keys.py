import json
from types import SimpleNamespace

import pytest

from l4f_datagen.annotate.keys import (
    KeyFile,
    KeyRow,
    check_rendered_alike,
    image_facts,
    keys_of,
    read_key_file,
    write_key_file,
)
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.recipe import check_recipe

ROWS = [
    KeyRow("psi0700-seed0000003.png", 0.7, 3),
    KeyRow("psi0707-seed4294967295.png", 0.7071, 2**32 - 1),
]
FACTS = {"drawn_with": {"sampling.noise_mode": "const"}, "domain": "toy"}


def test_what_is_written_is_read_back_exactly(tmp_path):
    with pytest.raises(AnnotationRefused, match=r"keys\.csv: cannot be read \(No such file"):
        read_key_file(tmp_path)
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
    names = ["a/psi0500-seed0000012_gt.png", "psi1250-seed4000000000.jpg"]
    keys = keys_of(names, "x.json", None)
    assert [(row.psi, row.seed) for row in keys.rows] == [(0.5, 12), (1.25, 4_000_000_000)]
    assert not keys.facts
    for name in ("face3.png", "seed0000003.png"):
        match = rf"export {name}: its name holds no key .* --keys"
        with pytest.raises(AnnotationRefused, match=match):
            keys_of([name], "export", None)


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (None, r"keys\.csv: no columns file, psi and seed"),
        ("", "names no image"),
        ("a.png,0.5,1\nb.png,2.5,1\n", r"keys\.csv line 3: psi '2\.5' and seed '1'"),
        ("a.png,nan,1\n", "line 2: psi 'nan'"),
        ("a.png,0.5,-1\n", "seed '-1'"),
        ("a.png,0.5,4294967296\n", "a 32-bit number"),
        ("a.png,0.5\n", "seed None"),
        ("a.png,0.5,1\nb.png,0.5,1\n", "key psi0500-seed0000001 is named twice"),
        ("x" * 200_000 + ",1,1\n", r"no CSV \(field larger"),
        ("\udcff\udcfe\0", "not UTF-8 text"),
    ],
)
def test_broken_tables_are_one_line(tmp_path, rows, match):
    text = "file,key\na,b\n" if rows is None else f"file,psi,seed\n{rows}"
    (tmp_path / "keys.csv").write_bytes(text.encode(errors="surrogateescape"))
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


def drawn(fingerprint="f" * 64, **sampling):
    recipe = check_recipe({"domain": "x", "sampling": sampling}, "test")
    return recipe, SimpleNamespace(fingerprint=fingerprint, sha256="s" * 64, path="g.pt")


@pytest.mark.parametrize(
    ("now", "match"),
    [
        ({"psi": [0.3], "seeds": "5-9", "block_size": 2, "precision": "bf16"}, None),
        ({"noise_mode": "random"}, r"sampling.noise_mode 'const', now it is 'random'; give --set "
         r"sampling\.noise_mode=const"),
        ({"truncation_cutoff": 4}, r"cutoff None, now it is 4; .*truncation_cutoff=null"),
        ({"fingerprint": "0" * 64}, r"another generator\.fingerprint than this recipe"),
    ],
)  # fmt: skip
def test_images_drawn_otherwise_are_refused_whatever_psi_and_batch(now, match):
    keys = KeyFile(ROWS, image_facts(*drawn()), "keys.csv")
    check_rendered_alike(KeyFile(ROWS), *drawn(**now))
    if match is None:
        check_rendered_alike(keys, *drawn(**now))
        return
    with pytest.raises(AnnotationRefused, match=match):
        check_rendered_alike(keys, *drawn(**now))
