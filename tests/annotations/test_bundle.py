import os
import zipfile

import pytest

from l4f_datagen.annotations.bundle import open_bundle, parse_json
from l4f_datagen.core.errors import AnnotationRefused


def write_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_file_folder_and_zip_give_the_same_bytes(tmp_path):
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "sub" / "a.json").write_bytes(b"[1]")
    (tmp_path / "d" / ".hidden").write_bytes(b"x")
    folder = open_bundle(tmp_path / "d")
    members = {"sub/a.json": "[1]", "__MACOSX/._a": "x", "sub/": ""}
    packed = open_bundle(write_zip(tmp_path / "d.zip", members))
    single = open_bundle(tmp_path / "d" / "sub" / "a.json")
    assert (folder.kind, packed.kind, single.kind) == ("folder", "zip", "file")
    assert folder.names == packed.names == ("sub/a.json",)
    assert folder.json("sub/a.json") == packed.json("sub/a.json") == single.json("a.json") == [1]
    assert folder.head("sub/a.json", 1) == packed.head("sub/a.json", 1) == b"["
    assert single.subject("a.json") == str(tmp_path / "d" / "sub" / "a.json")


def test_text_is_utf_8_with_or_without_a_mark(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf[1]")
    assert open_bundle(path).json("a.json") == [1]
    for data in ("[1]".encode("utf-16"), b'["\xe4"]'):
        path.write_bytes(data)
        with pytest.raises(AnnotationRefused, match=r"a\.json: not UTF-8 text \(byte"):
            open_bundle(path).json("a.json")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[1,", r"not JSON \(line 1 column 4"),
        ("", "not JSON"),
        ("[" * 100_000, "nested too deep"),
        ("9" * 5000, "absurd number"),
    ],
)
def test_broken_json_is_one_line(text, match):
    with pytest.raises(AnnotationRefused, match=match):
        parse_json(text, "f")


def test_missing_and_empty_are_refused_and_pipes_not_waited_for(tmp_path):
    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, said in (
        ("none", "no such file or folder"),
        ("d", "an empty folder"),
        ("pipe", "neither a file nor a folder"),
    ):
        with pytest.raises(AnnotationRefused, match=said):
            open_bundle(tmp_path / name)
    (tmp_path / "d" / "a.png").touch()
    bundle = open_bundle(tmp_path / "d")
    with pytest.raises(AnnotationRefused, match=r"d/a\.png: 0 bytes"):
        bundle.read("a.png")
    (tmp_path / "d" / "a.png").unlink()
    with pytest.raises(AnnotationRefused, match=r"a\.png: cannot be read \(No such file"):
        bundle.read("a.png")


def test_unsafe_zips_are_refused(tmp_path):
    for members, match in (
        ({"../../etc/passwd": "x"}, "lies outside the zip"),
        ({"a.png": b"\0" * (8 << 20)}, "a zip bomb is not read"),
        ({}, "an empty zip"),
        ({"a\x1b[31m.png": "x"}, "is not plain UTF-8 text"),  # would break a terminal
    ):
        with pytest.raises(AnnotationRefused, match=match):
            open_bundle(write_zip(tmp_path / "z.zip", members))
    path = write_zip(tmp_path / "z.zip", {"a.png": bytes(range(256)) * 4})
    data = bytearray(path.read_bytes())
    data[45:60] = b"\xff" * 15
    path.write_bytes(data)
    with pytest.raises(AnnotationRefused, match=r"z\.zip/a\.png: cannot be unpacked"):
        open_bundle(path).read("a.png")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a\n.png").write_bytes(b"x")
    with pytest.raises(AnnotationRefused, match=r"file name 'a\\n\.png' is not plain"):
        open_bundle(tmp_path / "d")


def test_rows_of_a_list_an_object_lines_and_a_table(tmp_path):
    path = tmp_path / "a.json"
    for text, places in (
        ('[{"a": 1}, {"a": 2}]', ["row 1", "row 2"]),
        ('{"a": 1}\n\n{"a": 2}\n', ["line 1", "line 3"]),
        ('{\n"a": 1\n}', [""]),
        ("a,b\n1,x\n2,y\n", ["row 1", "row 2"]),
    ):
        path.write_text(text)
        rows = open_bundle(path).rows("a.json")
        assert [row.where for row in rows] == [f"{path} {place}".strip() for place in places]
        assert [int(row.get("a")) for row in rows] == [1, 2][: len(places)]


def test_the_one_document_of_a_bundle(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    assert open_bundle(tmp_path / "a.json").document() == "a.json"
    assert open_bundle(tmp_path).document() == "a.json"
    (tmp_path / "b.json").write_text("[]")
    assert open_bundle(tmp_path).document() is None
    (tmp_path / "c.png").write_bytes(b"x")
    assert open_bundle(tmp_path / "c.png").document() is None
