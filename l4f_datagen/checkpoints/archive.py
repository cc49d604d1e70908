"""The members of a zip archive as spans: directory only, nothing unpacked, every size checked.

torch.save stores its members uncompressed, so a member is a span of the file. A compressed member
is refused, which leaves nothing for a zip bomb to grow from.
"""

import struct

from .storage import ByteSource, Span

MAX_MEMBERS = 50_000
MAX_DIRECTORY_BYTES = 1 << 24
MAX_COMMENT = 0xFFFF
END = b"PK\x05\x06"
END_SIZE = 22
END64 = b"PK\x06\x06"
LOCATOR64 = b"PK\x06\x07"
LOCATOR64_SIZE = 20
ENTRY_SIZE = 46
LOCAL_SIZE = 30
ZIP64_EXTRA = 1


def read_directory(source: ByteSource, whole: Span) -> dict[str, Span]:
    """Return member name -> span of its bytes, for the archive that fills ``whole``.

    Raises:
        CheckpointRefused: no zip archive, cut off, compressed, or with sizes that cannot be.
    """
    try:
        count, size, offset = _locate(whole)
        if count > MAX_MEMBERS or size > MAX_DIRECTORY_BYTES or count * ENTRY_SIZE > size:
            raise source.refuse(f"is a zip archive that announces {count} members in {size} bytes")
        directory = whole.read(offset, size)
        members: dict[str, Span] = {}
        position = 0
        for _ in range(count):
            name, span, step = _entry(source, whole, directory, position)
            if name in members:
                raise source.refuse(f"is a zip archive with two members {name[:80]!r}")
            members[name] = span
            position += step
    except (struct.error, ValueError) as error:
        raise source.refuse(f"is a damaged zip archive ({error})") from None
    return members


def _locate(whole: Span) -> tuple[int, int, int]:
    """Return the number of members, the size of the directory and where it starts."""
    tail_size = min(whole.length, END_SIZE + MAX_COMMENT)
    tail = whole.read(whole.length - tail_size, tail_size)
    at = tail.rfind(END)
    if at < 0 or at + END_SIZE > len(tail):
        raise ValueError("its directory at the end is missing")
    count, size, offset = struct.unpack_from("<HII", tail, at + 10)
    locator = whole.length - tail_size + at - LOCATOR64_SIZE
    if locator >= 0 and whole.read(locator, 4) == LOCATOR64:
        (end64,) = struct.unpack("<Q", whole.read(locator + 8, 8))
        record = whole.read(end64, 56)
        if record[:4] != END64:
            raise ValueError("its 64-bit directory is not where it is announced")
        count, size, offset = struct.unpack_from("<QQQ", record, 32)
    return count, size, offset


def _entry(
    source: ByteSource, whole: Span, directory: bytes, position: int
) -> tuple[str, Span, int]:
    """Return name and span of the member at ``position``, and the length of its entry."""
    if directory[position : position + 4] != b"PK\x01\x02":
        raise ValueError("its directory is cut off")
    flags, method = struct.unpack_from("<HH", directory, position + 8)
    packed, size, name_len, extra_len, comment_len = struct.unpack_from(
        "<IIHHH", directory, position + 20
    )
    (offset,) = struct.unpack_from("<I", directory, position + 42)
    start = position + ENTRY_SIZE
    name = directory[start : start + name_len].decode("utf-8")
    extra = directory[start + name_len : start + name_len + extra_len]
    size, packed, offset = _zip64(extra, size, packed, offset)
    if flags & 1 or method != 0 or size != packed:
        raise source.refuse(
            f"holds the compressed member {name[:80]!r}, which torch never writes",
            "save the weights again with torch.save",
        )
    local = whole.read(offset, LOCAL_SIZE)
    if local[:4] != b"PK\x03\x04":
        raise ValueError(f"member {name[:80]!r} is not where it is announced")
    local_name, local_extra = struct.unpack_from("<HH", local, 26)
    begin = offset + LOCAL_SIZE + local_name + local_extra
    if begin + size > whole.length:
        raise ValueError(f"member {name[:80]!r} reaches beyond the end of the file")
    return name, whole.part(begin, size), ENTRY_SIZE + name_len + extra_len + comment_len


def _zip64(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Replace the sizes that did not fit in 32 bits."""
    values = [size, packed, offset]
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == ZIP64_EXTRA:
            field = position + 4
            for k, value in enumerate(values):
                if value == 0xFFFFFFFF:
                    (values[k],) = struct.unpack_from("<Q", extra, field)
                    field += 8
        position += 4 + length
    return values[0], values[1], values[2]
