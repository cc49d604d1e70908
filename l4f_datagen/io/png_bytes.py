"""PNG of many images at once: rows filtered by NumPy, deflated by libdeflate.

An encoder that takes small images one by one spends its time on everything but pixels; on large
ones deflating takes the time. Both let other threads run. Faster deflaters exist, but their output
depends on the CPU and on uninitialised memory; that of one version of libdeflate depends on the
pixels alone.
"""

import struct
from collections.abc import Sequence
from typing import Any, Literal

import deflate
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
Filter = Literal["none", "up", "average"]

FILTER_TYPES: dict[Filter, int] = {"none": 0, "up": 2, "average": 3}
"""Byte before each row (PNG specification, 9.2)."""
COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
"""Channels to colour type: grey, RGB, RGBA."""
LEVEL = 1
"""On 64 images of toy-cars 58 us an image. Levels 2 and 6 take 94 and 107 us for files 1 % larger,
level 12 takes 591 us for files 0.5 % smaller."""
CHUNK_BYTES = 2**18
"""Filtered at once: the rows and what is computed from them stay in a core's cache."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encode_pngs(images: Sequence[Pixels] | Pixels, filter_name: Filter) -> list[bytes]:
    """Encode images of one size and kind as PNG; the same pixels give the same bytes.

    Args:
        images: uint8 or uint16 ``h w``, or uint8 ``h w 3`` or ``h w 4``; a list of them, or one
            array of all.
        filter_name: what the rows are filtered by: "average" is best for images, "up" for
            mattes, "none" for masks.
    """
    if len(images) == 0:
        return []
    height, width, *rest = images[0].shape
    channels = rest[0] if rest else 1
    depth = images[0].itemsize
    head = struct.pack(">IIBBBBB", width, height, 8 * depth, COLOUR_TYPES[channels], 0, 0, 0)
    before, after = SIGNATURE + _chunk(b"IHDR", head), _chunk(b"IEND", b"")
    step = max(1, CHUNK_BYTES // images[0].nbytes)
    files = []
    for start in range(0, len(images), step):
        stack = np.stack(list(images[start : start + step]))
        rows: NDArray[np.uint8] = stack.astype(">u2").view(np.uint8) if depth == 2 else stack
        rows = rows.reshape(len(stack), height, width * channels * depth)
        for filtered in _filter_rows(rows, filter_name, channels * depth):
            data = deflate.zlib_compress(filtered.data, LEVEL)
            files.append(before + _chunk(b"IDAT", data) + after)
    return files


def _filter_rows(rows: NDArray[np.uint8], name: Filter, pixel_bytes: int) -> NDArray[np.uint8]:
    """Filter ``n h bytes``; the rows come back with their filter's number: ``n h 1+bytes``."""
    number, height, length = rows.shape
    filtered = np.empty((number, height, 1 + length), np.uint8)
    filtered[:, :, 0] = FILTER_TYPES[name]
    out = filtered[:, :, 1:]
    if name == "none":
        out[:] = rows
    elif name == "up":
        out[:, :1] = rows[:, :1]
        np.subtract(rows[:, 1:], rows[:, :-1], out=out[:, 1:])
    else:
        # Less the mean of left and above, rounded down: of bytes, without a carry. Outside is 0.
        above, left = np.zeros_like(rows), np.zeros_like(rows)
        above[:, 1:] = rows[:, :-1]
        left[:, :, pixel_bytes:] = rows[:, :, :-pixel_bytes]
        np.subtract(rows, (above & left) + ((above ^ left) >> 1), out=out)
    return filtered


def _chunk(kind: bytes, data: bytes | bytearray) -> bytes:
    checksum = deflate.crc32(data, deflate.crc32(kind))
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)))
