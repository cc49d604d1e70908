import re
import zipfile
from functools import reduce

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
        ({"zeros": bytes(3 << 20)}, "a zip bomb is not read"),
        (b"no zip", "a.zip: is no zip file, or a broken one ("),
        (("R", "Q"), "member 'Q' twice"),
        (("Q", "\0"), "member '' lies outside the zip"),
    ],
)
def test_hostile_zips_are_refused(tmp_path, members, problem):
    path, most = tmp_path / "a.zip", {"file_bytes": 100, "total_bytes": 110}
    if isinstance(members, bytes):
        path.write_bytes(members)
    elif isinstance(members, tuple):
        old, new = (name.encode() for name in members)
        path.write_bytes(write(path, {"Q": b"1", "R": b"2"}).read_bytes().replace(old, new))
    else:
        write(path, members)
        if "zeros" in members:
            assert ZipReader(path).size("zeros") == 3 << 20
            most = {"ratio": 400}
    with pytest.raises(AnnotationRefused, match=re.escape(problem)):
        ZipReader(path, **most, refusal=AnnotationRefused)


CANNOT = r"set.zip/a.png: cannot be unpacked \(.+\); export or"


@pytest.mark.parametrize(
    ("place", "value", "said"),  # in the file, or from the central directory on
    [
        (30 + len("a.png"), 0xFF, CANNOT),  # the length of the compressed stream stays
        ("method", 99, CANNOT),
        ("flags", 1, "member 'a.png' is encrypted; unpack it first"),
        ("size", 10, "set.zip/a.png: (cannot be unpacked|unpacks to more)"),
    ],
)
def test_a_damaged_member_is_refused_by_name(tmp_path, place, value, said):
    method = zipfile.ZIP_STORED if place == "size" else zipfile.ZIP_DEFLATED
    path = write(tmp_path / "set.zip", {"a.png": b"pixels " * 5}, method)
    raw = bytearray(path.read_bytes())
    central = raw.index(b"PK\1\2")
    places = {"method": (central + 10, 8), "flags": (central + 8,), "size": (central + 24,)}
    for at in places.get(place, (place,)):
        raw[at] = value
    path.write_bytes(raw)
    with pytest.raises(InputRefused, match=said):
        ZipReader(path).read("a.png")


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: [1, 2.5, yes, null, text]", {"a": [1, 2.5, True, None, "text"]}),
        ("- x\n- {y: 'z'}\n", ["x", {"y": "z"}]),
        ("1: 2", {"1": 2}),
        ("[{a: 1, b: {a: 1}}, {a: 1}]", [{"a": 1, "b": {"a": 1}}, {"a": 1}]),
        ("", None),
        ("0.5", 0.5),
        ("[" * 50 + "]" * 50, reduce(lambda inner, _: [inner], range(49), [])),
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
