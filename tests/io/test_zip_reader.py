import re
import struct
import zipfile

import pytest

from l4f_datagen.core.errors import AnnotationRefused, InputRefused
from l4f_datagen.io.zip_reader import ZipLimits, ZipReader


def write(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_files_by_name(tmp_path):
    members = {
        "b/x.png": b"two",
        "a.png": b"one",
        "__MACOSX/a.png": b"",
        "b/._x.png": b"",
        "d/": b"",
    }
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
    limits = ZipLimits(file_bytes=100, total_bytes=110)
    with pytest.raises(InputRefused, match=re.escape(problem)):
        ZipReader(path, limits)


def test_a_bomb(tmp_path):
    path = write(tmp_path / "a.zip", {"zeros": bytes(3 << 20)})
    with pytest.raises(AnnotationRefused, match="a zip bomb is not read"):
        ZipReader(path, ZipLimits(ratio=400), refusal=AnnotationRefused)
    assert ZipReader(path).size("zeros") == 3 << 20


def test_what_is_no_zip(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(InputRefused, match=r"a.zip: is no zip file, or a broken one \(.*\); exp"):
        ZipReader(tmp_path / "a.zip")


@pytest.mark.parametrize("damage", ["stream", "method"])
def test_a_damaged_member_is_refused_by_name(tmp_path, damage):
    path = write(tmp_path / "set.zip", {"a.png": b"pixels " * 50})
    raw = bytearray(path.read_bytes())
    central = raw.index(b"PK\1\2")
    if damage == "stream":  # the length of the compressed stream stays
        raw[30 + len("a.png")] = 0xFF
    else:
        raw[central + 10] = raw[8] = 99
    path.write_bytes(raw)
    with pytest.raises(InputRefused, match=r"set.zip/a.png: cannot be unpacked \(.+\); export or"):
        ZipReader(path).read("a.png")


def test_an_encrypted_member(tmp_path):
    path = write(tmp_path / "set.zip", {"a.png": b"x"})
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\1\2") + 8] = 1
    path.write_bytes(raw)
    with pytest.raises(InputRefused, match=r"member 'a.png' is encrypted; unpack it first"):
        ZipReader(path)


def test_members_named_twice_or_not_at_all(tmp_path):
    path = write(tmp_path / "set.zip", {"Q": b"1", "R": b"2"})
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"R", b"Q"))
    with pytest.raises(InputRefused, match=r"member 'Q' twice"):
        ZipReader(path)
    path.write_bytes(whole.replace(b"Q", b"\0"))
    with pytest.raises(InputRefused, match="member '' lies outside the zip"):
        ZipReader(path)


def test_a_member_that_is_larger_than_it_says(tmp_path):
    path = write(tmp_path / "set.zip", {"a.png": b"x" * 50}, zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<I", raw, raw.index(b"PK\1\2") + 24, 10)
    path.write_bytes(raw)
    with pytest.raises(InputRefused, match=r"set.zip/a.png: (cannot be unpacked|unpacks to more)"):
        ZipReader(path).read("a.png")
