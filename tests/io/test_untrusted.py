import re
import struct
import zipfile

import pytest

from l4f_datagen.core.errors import AnnotationRefused, InputRefused
from l4f_datagen.io.untrusted import ZipReader, plain_yaml


def write(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_files_by_name(tmp_path):
    hidden = {"__MACOSX/a.png": b"", "b/._x.png": b"", "d/": b""}
    members = {"b/x.png": b"two", "a.png": b"one", **hidden}
    reader = ZipReader(write(tmp_path / "a.zip", members))
    assert reader.names == ("a.png", "b/x.png")
    assert (reader.read("a.png"), reader.size("b/x.png")) == (b"one", 3)


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"../up.png": b""}, "member '../up.png' lies outside the zip"),
        ({"/root.png": b""}, "member '/root.png' lies outside the zip"),
        ({"C:/x.png": b""}, "member 'C:/x.png' lies outside the zip"),
        ({"big.png": bytes(101)}, "member 'big.png' unpacks to 101 bytes from"),
        ({"a.png": bytes(60), "b.png": bytes(60)}, "member 'b.png' unpacks to 60 bytes from"),
    ],
)
def test_hostile_zips_are_refused(tmp_path, members, problem):
    path = write(tmp_path / "a.zip", members)
    with pytest.raises(InputRefused, match=re.escape(problem)):
        ZipReader(path, file_bytes=100, total_bytes=110)


def test_a_bomb_and_what_is_no_zip(tmp_path):
    path = write(tmp_path / "a.zip", {"zeros": bytes(3 << 20)})
    with pytest.raises(AnnotationRefused, match="a zip bomb is not read"):
        ZipReader(path, ratio=400, refusal=AnnotationRefused)
    assert ZipReader(path).size("zeros") == 3 << 20
    path.write_bytes(b"no zip")
    with pytest.raises(InputRefused, match=r"a.zip: is no zip file, or a broken one \(.*\); exp"):
        ZipReader(path)


def _stream(raw, central):
    raw[30 + len("a.png")] = 0xFF  # the length of the compressed stream stays


def _method(raw, central):
    raw[central + 10] = raw[8] = 99


def _encrypted(raw, central):
    raw[central + 8] = 1


def _longer(raw, central):
    struct.pack_into("<I", raw, central + 24, 10)


CANNOT = r"set.zip/a.png: cannot be unpacked \(.+\); export or"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_stream, CANNOT),
        (_method, CANNOT),
        (_encrypted, "member 'a.png' is encrypted; unpack it first"),
        (_longer, "set.zip/a.png: (cannot be unpacked|unpacks to more)"),
    ],
)
def test_a_damaged_member_is_refused_by_name(tmp_path, damage, said):
    method = zipfile.ZIP_STORED if damage is _longer else zipfile.ZIP_DEFLATED
    path = write(tmp_path / "set.zip", {"a.png": b"pixels " * 50}, method)
    raw = bytearray(path.read_bytes())
    damage(raw, raw.index(b"PK\1\2"))
    path.write_bytes(raw)
    with pytest.raises(InputRefused, match=said):
        ZipReader(path).read("a.png")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [(b"R", b"Q", "member 'Q' twice"), (b"Q", b"\0", "member '' lies outside the zip")],
)
def test_members_named_twice_or_not_at_all(tmp_path, old, new, said):
    path = write(tmp_path / "set.zip", {"Q": b"1", "R": b"2"})
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(InputRefused, match=said):
        ZipReader(path)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: [1, 2.5, yes, null, text]", {"a": [1, 2.5, True, None, "text"]}),
        ("- x\n- {y: 'z'}\n", ["x", {"y": "z"}]),
        ("1: 2", {"1": 2}),
        ("[{a: 1, b: {a: 1}}, {a: 1}]", [{"a": 1, "b": {"a": 1}}, {"a": 1}]),
        ("", None),
        ("0.5", 0.5),
    ],
)
def test_plain_values(text, data):
    assert plain_yaml(text) == data


BOMB = "a: &a [x, x]\n" + "".join(f"{k}: &{k} [*{p}, *{p}]\n" for p, k in ("ab", "bc", "cd"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (BOMB, "aliases such as .* are not read, write the value out"),
        ("a: &a [*a]", "aliases"),
        ("a: &a {b: 1}\nc: {<<: *a}", "aliases"),
        ("[" * 60_000, "nested deeper than 50 levels"),
        ("{a: " * 51 + "1" + "}" * 51, "nested deeper than 50 levels"),
        ("when: 2024-01-01", "2024-01-01 is a date to YAML, quote it if it is text"),
        ("when: 2024-13-99", "month must be in 1..12"),
        ("a: !!set {b, c}", "is a set to YAML"),
        ("a: !!binary aGVsbG8=", "is a bytes to YAML"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("? [1, 2]\n: 3", "unhashable key"),
        ("a: 1\nb: 2\n'a': 3\n", "the key a is given twice, again in line 3"),
        ("a: {b: 1, c: {d: 1, d: 1}}", "the key d is given twice, again in line 1"),
        ("- {1: a}\n- 1: b\n  1: c\n", "the key 1 is given twice, again in line 3"),
        ("<<: {a: 1, a: 2}", "the key a is given twice, again in line 1"),
        (f"? {'k' * 500}\n: 1\n? {'k' * 500}\n: 1", "the key k{80} is given twice, again in l"),
        ("a: [1", "expected"),
        ("a: b: c", "mapping values are not allowed here"),
        ("a: \x00", "special characters are not allowed"),
        (f"a: {'9' * 5000}", "Exceeds the limit"),
    ],
)
def test_anything_else_is_refused_in_one_short_line(text, problem):
    with pytest.raises(ValueError, match=problem) as caught:
        plain_yaml(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 200


def test_fifty_levels_are_read():
    data = plain_yaml("[" * 50 + "]" * 50)
    depth = 1
    while data:
        (data,) = data
        depth += 1
    assert depth == 50
