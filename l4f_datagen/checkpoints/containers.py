"""What is in a checkpoint, told by its first bytes: safetensors, torch files or pickles.

Torch files are zip archives, or the older plain streams that NVIDIA's pickles nest. Tensors are
described (``StoredTensor``), not read.
"""

import functools
import math
import struct
import zipfile
from dataclasses import dataclass
from typing import IO, cast

import torch
from safetensors import SafetensorError, safe_open

from .byte_source import ByteSource, Cursor, Span
from .pickle_machine import Budget, load_pickle
from .stand_ins import TABLE, Globals, StandIn, Storage, find_global
from .tensors import DTYPES, StoredTensor, contiguous_strides

DOWNLOAD = "download the checkpoint itself"
OPENED = "docs/checkpoints.md lists what can be opened"
# First bytes of files that people give by mistake.
IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8")
PACKED = (b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ")
MISTAKES = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file it points to", "git lfs pull"),
    (b"<", "is a web page or XML, not a checkpoint", DOWNLOAD),
    (IMAGES, "is a PNG, JPEG or GIF image", "give a checkpoint file"),
    (b"\x89HDF", "is an HDF5 file", OPENED),
    (PACKED, "is compressed with gzip, 7z, RAR, bzip2 or xz", "unpack it first"),
    (b"{", "is text", DOWNLOAD),
)
# What a pickle may start with: a protocol, or one of the first operations of protocol 0.
PICKLE_STARTS = b"\x80(c]}"
ZIP_START = b"PK\x03\x04"
# MAGIC_NUMBER and PROTOCOL_VERSION of ``torch.serialization``.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_START = b"\x80\x02\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little") + b"."
LEGACY_VERSION = 1001
BIG_ENDIAN = ("was saved on a big-endian machine", "save it on a little-endian one")
# Bytes of a zip directory that are read at most: 100 for each of the thousand tensors of a 1024 px
# training checkpoint, times forty. ``zipfile`` builds an object of 1 kB for each entry.
MAX_DIRECTORY_BYTES = 1 << 22
LOCAL_HEADER = struct.Struct("<4s22xHH")
# What ``zipfile`` and the lines around it raise at a damaged archive; each becomes a refusal.
BAD_ZIP = (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OverflowError)
MAX_HEADER_BYTES = 1 << 24  # those of our 1024 px files have 20 kB
SAFE_DTYPES = {name: dtype for dtype, name, *_ in DTYPES if name}


@dataclass(frozen=True)
class Container:
    """What a file holds."""

    loaded: object  # tensors are ``StoredTensor``, modules ``ModuleRecord``
    metadata: dict[str, str] | None = None  # of a safetensors file, None for other containers

    @property
    def tensors(self) -> dict[str, StoredTensor]:
        """The tensors of a safetensors file, by name; empty for other containers."""
        return self.loaded if self.metadata is not None and isinstance(self.loaded, dict) else {}


def read_container(source: ByteSource) -> Container:
    """Return what is in a file, whatever its name says.

    CheckpointRefused: it is no checkpoint, is damaged, or asks for code.
    """
    whole, budget = source.whole, Budget()
    head = whole.head(512)
    if not head:
        raise source.refuse("is empty", DOWNLOAD)
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and length <= source.size - 8:
        return _read_safetensors(source, length)
    if head.startswith((ZIP_START, LEGACY_START)):
        return Container(load_torch(whole, budget))
    if head[0] in PICKLE_STARTS:
        return Container(load_pickle(Cursor(whole), _with_nested(budget), budget))
    for start, problem, remedy in MISTAKES:
        if head.lstrip().startswith(start):
            raise source.refuse(problem, remedy)
    if head[257:262] == b"ustar":
        raise source.refuse("is a tar archive", "unpack it first")
    raise source.refuse(f"is no checkpoint (it starts with {head[:8]!r})", OPENED)


def _read_safetensors(source: ByteSource, length: int) -> Container:
    """Let the library check the header (no holes, no overlaps, sizes that fit) and take it over."""
    if length > MAX_HEADER_BYTES:
        raise source.refuse(f"announces a header of {length} bytes")
    tensors: dict[str, StoredTensor] = {}
    start = 8 + length
    try:
        with safe_open(source.path, framework="pt") as file:
            metadata = file.metadata() or {}
            for name in file.offset_keys():
                view = file.get_slice(name)
                dtype, shape = SAFE_DTYPES[view.get_dtype()], tuple(view.get_shape())
                span = source.whole.part(start, math.prod(shape) * dtype.itemsize)
                tensors[name] = StoredTensor(span, dtype, shape, contiguous_strides(shape))
                start += span.length
    except (SafetensorError, OSError, KeyError, ValueError, OverflowError) as error:
        raise source.refuse(f"has a safetensors header that cannot be read ({error})") from None
    return Container(tensors, metadata)


def _with_nested(budget: Budget) -> Globals:
    """Return ``find_global`` with the reader of torch files nested in byte strings of a pickle."""
    load_once = functools.cache(lambda span: load_torch(span, budget))

    def load(data: object) -> object:
        if not isinstance(data, Span):
            raise ValueError("a nested torch file that is no byte string")
        return load_once(data)

    name = "torch.storage._load_from_bytes"
    return functools.partial(find_global, table={**TABLE, name: StandIn(name, load)})


def load_torch(span: Span, budget: Budget) -> object:
    """Return the object of a torch file, or of one nested in another; tensors are unread."""
    start = span.head(len(LEGACY_START))
    if start.startswith(ZIP_START):
        return _load_zip(span, budget)
    if start != LEGACY_START:
        raise span.source.refuse("is no torch file", "save the weights with torch.save")
    return _load_legacy(span, budget)


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


def read_members(span: Span, remedy: str = "save them again with torch.save") -> dict[str, Span]:
    """Return member name -> bytes of a zip archive; nothing is unpacked, so no bomb can grow.

    A damaged one is refused, and one with compressed members, with ``remedy`` as the way out.
    """
    source = span.source
    members: dict[str, Span] = {}
    try:
        for info in zipfile.ZipFile(cast(IO[bytes], _SpanFile(span))).infolist():
            name = info.filename[:80]
            packed = info.compress_type != 0 or info.file_size != info.compress_size
            if packed or info.flag_bits & 1:
                raise source.refuse(f"holds the compressed member {name!r}, not read", remedy)
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
        problem = f"is a zip archive without torch weights (it holds {shown})"
        raise source.refuse(problem, "unpack it and give the checkpoint inside")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in members:
        raise source.refuse("is a TorchScript archive", "save the weights with torch.save")
    order = members.get(f"{root}byteorder")
    if order is not None and order.head(7) != b"little":
        raise source.refuse(*BIG_ENDIAN)

    def persistent(identity: object) -> Storage:
        key, dtype, count = _identity(identity)
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
        key, dtype, count = _identity(identity)
        if declared.setdefault(key, (dtype, count)) != (dtype, count):
            raise source.refuse(f"declares the storage {key[:40]!r} twice")
        return Storage(Span(source, 0, 0), dtype)

    # The first is the magic number, compared by the caller.
    _, version, system = (load_pickle(cursor, find_global, budget) for _ in range(3))
    if version != LEGACY_VERSION or not isinstance(system, dict):
        raise source.refuse("is a torch file of an unknown version", "save it with a newer torch")
    if system.get("little_endian") is not True:
        raise source.refuse(*BIG_ENDIAN)
    # The storages follow the pickle. A first pass over it only learns which ones there are.
    start = cursor.position
    load_pickle(cursor, find_global, budget, declare)
    keys = load_pickle(cursor, find_global, budget)
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
    return load_pickle(again, find_global, budget, lambda name: storages[_identity(name)[0]])


def _identity(identity: object) -> tuple[str, torch.dtype, int]:
    """Return key, dtype and number of values of the storage that a persistent id names."""
    match identity:
        case ("storage", torch.dtype() as dtype, str(key), _, int(count), *view):
            if count >= 0 and view in ([], [None]):  # no view of another storage
                return key, dtype, count
    raise ValueError("a persistent id that is no storage")
