"""Files of torch.save: zip archives, and the older plain streams that NVIDIA's pickles nest."""

import struct
import zipfile
from collections.abc import Callable
from typing import IO, cast

import torch

from .pickle_machine import load_pickle
from .pickle_machine.machine import Budget
from .pickle_machine.source import ByteSource, Cursor, Span
from .stand_ins import Storage, find_global

ZIP_START = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_START = b"\x80\x02\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little") + b"."
LEGACY_VERSION = 1001
# Bytes of a zip directory that are read at most: 100 for each of the thousand tensors of a 1024 px
# training checkpoint, times forty. ``zipfile`` builds an object of 1 kB for each entry.
MAX_DIRECTORY_BYTES = 1 << 22
LOCAL_HEADER = struct.Struct("<4s22xHH")
BAD_ZIP = (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OverflowError)


def load_torch(span: Span, budget: Budget) -> object:
    """Return the object of a torch file, or of one nested in another; tensors are unread.

    Raises:
        CheckpointRefused: damaged, or asking for a global that weights do not need.
    """
    start = span.read(0, min(span.length, len(LEGACY_START)))
    if start.startswith(ZIP_START):
        return _load_zip(span, budget)
    if start == LEGACY_START:
        return _load_legacy(span, budget)
    raise span.source.refuse("is no torch file", "save the weights with torch.save")


class _SpanFile:
    """A span as the file that ``zipfile`` wants; a single read is bounded."""

    def __init__(self, span: Span) -> None:
        self.span, self.position = span, 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = offset + (0, self.position, self.span.length)[whence]
        if not 0 <= self.position <= self.span.length:
            raise zipfile.BadZipFile("it points beyond its end")
        return self.position

    def read(self, count: int = -1) -> bytes:
        left = self.span.length - self.position
        count = left if count < 0 else min(count, left)
        if count > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its directory takes {count} bytes")
        self.position += count
        return self.span.read(self.position - count, count)


def read_members(
    span: Span, remedy: str = "save the weights again with torch.save"
) -> dict[str, Span]:
    """Return member name -> bytes of a zip archive; nothing is unpacked, so no bomb can grow.

    Raises:
        CheckpointRefused: damaged, or with compressed members (see ``remedy``).
    """
    source = span.source
    members: dict[str, Span] = {}
    try:
        infos = zipfile.ZipFile(cast(IO[bytes], _SpanFile(span))).infolist()
        for info in infos:
            name = info.filename[:80]
            if (
                info.flag_bits & 1
                or info.compress_type != 0
                or info.file_size != info.compress_size
            ):
                raise source.refuse(
                    f"holds the compressed member {name!r}, which is not read",
                    remedy,
                )
            header = span.read(info.header_offset, LOCAL_HEADER.size)
            magic, name_length, extra_length = LOCAL_HEADER.unpack(header)
            if magic != ZIP_START or info.filename in members:
                raise zipfile.BadZipFile(f"member {name!r} is not where it is announced, or twice")
            start = info.header_offset + LOCAL_HEADER.size + name_length + extra_length
            members[info.filename] = span.part(start, info.file_size)
    except BAD_ZIP as error:
        raise source.refuse(f"is a damaged zip archive ({error})") from None
    return members


def _load_zip(span: Span, budget: Budget) -> object:
    source = span.source
    members = read_members(span)
    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        shown = ", ".join(sorted(members)[:4])[:120]
        raise source.refuse(
            f"is a zip archive without torch weights (it holds {shown})",
            "unpack it and give the checkpoint inside",
        )
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in members:
        raise source.refuse("is a TorchScript archive", "save the weights with torch.save")
    order = members.get(f"{root}byteorder")
    if order is not None and (order.length > 16 or order.read() != b"little"):
        raise source.refuse("was saved on a big-endian machine", "save it on a little-endian one")

    def persistent(identity: object) -> Storage:
        key, dtype, count = _storage_identity(identity)
        member = members.get(f"{root}data/{key}")
        if member is None:
            raise source.refuse(f"lacks the storage {key[:40]!r} that a tensor needs")
        if count * dtype.itemsize > member.length:
            raise source.refuse(f"holds {member.length} bytes for {count} values of {key[:40]!r}")
        return Storage(member.part(0, count * dtype.itemsize), dtype)

    return load_pickle(Cursor(members[pickles[0]]), find_global, budget, persistent)


def _load_legacy(span: Span, budget: Budget) -> object:
    source = span.source
    cursor = Cursor(span)
    declared: dict[str, tuple[torch.dtype, int]] = {}
    storages: dict[str, Storage] = {}

    def declare(identity: object) -> Storage:
        key, dtype, count = _storage_identity(identity)
        if declared.setdefault(key, (dtype, count)) != (dtype, count):
            raise source.refuse(f"declares the storage {key[:40]!r} twice")
        return Storage(Span(source, 0, 0), dtype)

    def header() -> object:
        return load_pickle(cursor, find_global, budget)

    header()  # the magic number, compared by the caller
    version, system = header(), header()
    if version != LEGACY_VERSION or not isinstance(system, dict):
        raise source.refuse("is a torch file of an unknown version", "save it with a newer torch")
    if system.get("little_endian") is not True:
        raise source.refuse("was saved on a big-endian machine", "save it on a little-endian one")
    # The storages follow the pickle. A first pass over it only learns which ones there are.
    start = cursor.position
    load_pickle(cursor, find_global, budget, declare)
    keys = header()
    if not isinstance(keys, list) or any(type(key) is not str for key in keys):
        raise source.refuse("lacks the list of its storages")
    if sorted(keys) != sorted(declared):
        raise source.refuse("lists other storages than its tensors need")
    for key in keys:
        dtype, count = declared[key]
        if int.from_bytes(cursor.take(8), "little") != count:
            raise source.refuse(f"stores another length for {key[:40]!r} than it declares")
        storages[key] = Storage(cursor.skip(count * dtype.itemsize), dtype)
    again = Cursor(span.part(start, span.length - start))
    return load_pickle(
        again, find_global, budget, lambda identity: storages[_storage_identity(identity)[0]]
    )


def _storage_identity(identity: object) -> tuple[str, torch.dtype, int]:
    """Return key, dtype and number of values of the storage that a persistent id names."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise ValueError("a persistent id that is no storage")
    _, dtype, key, _location, count = identity[:5]
    if len(identity) == 6 and identity[5] is not None:
        raise ValueError("a storage that is a view of another")
    if not isinstance(dtype, torch.dtype) or type(key) is not str:
        raise ValueError("a storage without type or key")
    if type(count) is not int or count < 0:
        raise ValueError("a storage without a length")
    return key, dtype, count


def nested_loader(source: ByteSource, budget: Budget) -> Callable[[object], object]:
    """Return the reader of torch files nested in byte strings; each is read once."""
    seen: dict[tuple[int, int, bytes | None], object] = {}

    def load(data: object) -> object:
        if not isinstance(data, Span):
            raise ValueError("a nested torch file that is no byte string")
        place = (data.start, data.length, data.inline)
        if place not in seen:
            seen[place] = load_torch(data, budget)
        return seen[place]

    return load
