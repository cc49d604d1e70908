"""The zip directory: archives of the standard library, and archives that lie."""

import io
import struct
import zipfile
from pathlib import Path

import pytest

from l4f_datagen.checkpoints.pickle_machine.source import ByteSource, Span
from l4f_datagen.checkpoints.torch_file import read_members
from l4f_datagen.core.errors import CheckpointRefused


def _read(data: bytes, path: Path) -> dict[str, bytes]:
    path.write_bytes(data)
    with ByteSource(path) as source:
        members = read_members(Span(source, 0, source.size))
        return {name: span.read() for name, span in members.items()}


def _zip(
    members: dict[str, bytes], method: int = zipfile.ZIP_STORED, comment: bytes = b""
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.comment = comment
    return out.getvalue()


MEMBERS = {"a/data.pkl": b"x" * 100, "a/data/0": b"", "a/data/1": bytes(range(256)) * 5}


@pytest.mark.parametrize("comment", [b"", b"a comment", b"c" * 60_000])
def test_members_come_back(comment: bytes, tmp_path: Path) -> None:
    assert _read(_zip(MEMBERS, comment=comment), tmp_path / "z") == MEMBERS


def test_members_with_64_bit_sizes_come_back(tmp_path: Path) -> None:
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w") as archive,
        archive.open("a/data/0", "w", force_zip64=True) as it,
    ):
        it.write(b"0123456789")
    assert _read(out.getvalue(), tmp_path / "z") == {"a/data/0": b"0123456789"}


def test_sizes_in_the_64_bit_field_are_used(tmp_path: Path) -> None:
    """Rewrites a directory entry so that size and offset are only in the extra field."""
    data = _zip({"first": b"abc", "second": b"defgh"})
    end = data.rindex(b"PK\x05\x06")
    start = struct.unpack_from("<I", data, end + 16)[0]
    at = data.rindex(b"PK\x01\x02")
    entry = bytearray(data[at:end])
    (offset,) = struct.unpack_from("<I", entry, 42)
    struct.pack_into("<II", entry, 20, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<I", entry, 42, 0xFFFFFFFF)
    extra = struct.pack("<HHQQQ", 1, 24, 5, 5, offset)
    struct.pack_into("<H", entry, 30, len(extra))
    directory = data[start:at] + bytes(entry) + extra
    tail = bytearray(data[end:])
    struct.pack_into("<I", tail, 12, len(directory))
    rebuilt = data[:start] + directory + bytes(tail)
    assert _read(rebuilt, tmp_path / "z") == {"first": b"abc", "second": b"defgh"}


def test_compressed_members_are_refused(tmp_path: Path) -> None:
    data = _zip({"a/data.pkl": bytes(100_000)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointRefused, match=r"compressed member 'a/data.pkl'"):
        _read(data, tmp_path / "z")


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    data = _zip({"a/data/0": b"one", "a/data/1": b"two"}).replace(b"a/data/1", b"a/data/0")
    with pytest.raises(CheckpointRefused, match="member 'a/data/0' is not where"):
        _read(data, tmp_path / "z")


def _changed(field: str, value: int) -> bytes:
    data = bytearray(_zip(MEMBERS))
    end, entry = data.rindex(b"PK\x05\x06"), data.index(b"PK\x01\x02")
    places = {
        "directory size": ("<I", end + 12),
        "directory offset": ("<I", end + 16),
        "signature": ("<I", entry),
        "packed": ("<I", entry + 20),
        "size": ("<I", entry + 24),
        "offset": ("<I", entry + 42),
    }
    code, at = places[field]
    struct.pack_into(code, data, at, value)
    if field == "size":
        struct.pack_into(code, data, at - 4, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("directory size", 0xFFFFFFF0, "damaged zip archive"),
        ("directory offset", 0xFFFFFFF0, "damaged zip archive|beyond the end"),
        ("signature", 0, "damaged zip archive"),
        ("packed", 7, "compressed member"),
        ("size", 0xFFFFFF00, "beyond its end"),
        ("offset", 50, "not where it is announced"),
        ("offset", 0xFFFFFF00, "announces"),
    ],
)
def test_directories_that_lie_are_refused(
    field: str, value: int, said: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointRefused, match=said):
        _read(_changed(field, value), tmp_path / "z")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.99])
def test_cut_off_archives_are_refused(keep: float, tmp_path: Path) -> None:
    data = _zip(MEMBERS)
    with pytest.raises(CheckpointRefused, match="damaged zip archive"):
        _read(data[: int(len(data) * keep)], tmp_path / "z")


def test_a_directory_beyond_its_bound_is_not_read(tmp_path: Path) -> None:
    """Names that are long enough make a directory of 5 MB in a file without content."""
    data = _zip({f"a/{k:05d}{'x' * 60_000}": b"" for k in range(90)})
    with pytest.raises(CheckpointRefused, match=r"its directory takes \d+ bytes"):
        _read(data, tmp_path / "z")
