"""Run lengths of COCO, CVAT and Label Studio's brush, decoded with every bound checked.

The C decoder of pycocotools trusts its input, so strings of foreign files do not go there.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.annotations.records import Size, broken, checked_size

Mask = NDArray[np.bool_]  # h w, True on the object


def runs_to_mask(runs: NDArray[np.int64], size_hw: Size, where: str, *, order: str) -> Mask:
    """Spread run lengths, background and object in turn, over a mask.

    ``order`` is ``F`` (COCO: down the columns) or ``C`` (CVAT: along the rows).
    """
    height, width = size_hw
    if runs.size and (runs.min() < 0 or runs.max() > height * width):
        raise broken(where, "a run length below 0 or above the image")
    total = int(runs.sum())
    if total != height * width:
        pixels = f"{height} x {width} = {height * width} pixels"
        raise broken(where, f"run lengths cover {total} of {pixels}")
    flat = np.repeat(np.arange(runs.size) % 2 == 1, runs)
    return flat.reshape((width, height)).T if order == "F" else flat.reshape((height, width))


def coco_string_runs(counts: str, where: str) -> NDArray[np.int64]:
    """Decode the compressed COCO string to run lengths.

    Six-bit groups from character 48 on: five bits of value, lowest first, and one that says more
    follow; the last group's fifth bit is the sign; from the fourth run on the value is the
    difference to the run two before.
    """
    codes = np.frombuffer(counts.encode("utf-8", "replace"), np.uint8).astype(np.int64) - 48
    if codes.size == 0 or codes.min() < 0 or codes.max() > 63 or codes[-1] & 0x20:
        raise broken(where, "the RLE string is cut or holds foreign characters")
    last = np.flatnonzero((codes & 0x20) == 0)
    first = np.concatenate(([0], last[:-1] + 1))
    lengths = last - first + 1
    if lengths.max() > 7:  # 35 bits: far above any image
        raise broken(where, "a run length above the image")
    place = np.arange(codes.size) - np.repeat(first, lengths)
    deltas = np.add.reduceat((codes & 0x1F) << (5 * place), first)
    deltas = np.where(codes[last] & 0x10, deltas - (np.int64(1) << (5 * lengths)), deltas)
    runs = deltas.copy()
    runs[1::2] = np.cumsum(deltas[1::2])
    runs[2::2] = np.cumsum(deltas[2::2])
    return runs


def decode_coco_rle(rle: Mapping[str, Any], size_hw: Size | None, where: str) -> Mask:
    """Decode a COCO RLE record, compressed (string) or not (list); bool ``h w``."""
    size, counts = rle.get("size"), rle.get("counts")
    if not isinstance(size, list) or len(size) != 2:
        raise broken(where, "an RLE with no [height, width]")
    own = checked_size(size[0], size[1], where)
    if size_hw is not None and own != size_hw:
        sides = f"{own[1]} x {own[0]} pixels on an image of {size_hw[1]} x {size_hw[0]}"
        raise broken(where, f"an RLE of {sides}")
    if isinstance(counts, str):
        return runs_to_mask(coco_string_runs(counts, where), own, where, order="F")
    if not isinstance(counts, list) or not counts:
        raise broken(where, "no run lengths")
    if any(type(run) is not int or not -1 <= run < 1 << 40 for run in counts):
        raise broken(where, "run lengths that are not whole numbers")
    return runs_to_mask(np.asarray(counts, np.int64), own, where, order="F")


class _Bits:
    """Reads unsigned numbers from a bit array; past its end is an error of the record."""

    def __init__(self, data: NDArray[np.uint8], where: str) -> None:
        self.bits, self.place, self.where = np.unpackbits(data), 0, where

    def take(self, count: int) -> NDArray[np.uint8]:
        start, self.place = self.place, self.place + count
        if self.place > self.bits.size:
            raise broken(self.where, "a brush RLE that is cut")
        return self.bits[start : self.place]

    def number(self, count: int) -> int:
        return int("".join(map(str, self.take(count).tolist())), 2)


def decode_brush(rle: object, size_hw: Size, where: str) -> Mask:
    """Decode a brush region of Label Studio: a bit stream over RGBA bytes (thi.ng rle-pack).

    Big-endian bits: 32 for the number of words, 5 for the word size - 1, four times 4 for the run
    length sizes - 1. Then, until all words are out: 1 bit "run?", 2 bits that pick a size, that
    many bits of length - 1; a run repeats one word, anything else lists its words.

    Returns:
        bool ``h w``, where the alpha byte of the canvas is above 127.
    """
    if not isinstance(rle, list) or not rle:
        raise broken(where, "a brush without an RLE")
    if any(type(byte) is not int or not 0 <= byte <= 255 for byte in rle):
        raise broken(where, "a brush RLE that is not a list of bytes")
    height, width = size_hw
    bits = _Bits(np.asarray(rle, np.uint8), where)
    words, word_size = bits.number(32), bits.number(5) + 1
    sizes = [bits.number(4) + 1 for _ in range(4)]
    if word_size != 8 or words != height * width * 4:
        held = f"{words} words of {word_size} bits for {width} x {height} RGBA pixels"
        raise broken(where, f"a brush RLE of {held}")
    canvas = np.zeros(words, np.uint8)
    filled = 0
    while filled < words:
        is_run = bits.number(1)
        length = bits.number(sizes[bits.number(2)]) + 1
        if filled + length > words:
            raise broken(where, "a brush RLE that overflows")
        canvas[filled : filled + length] = np.packbits(bits.take(8 if is_run else 8 * length))
        filled += length
    return canvas.reshape(height, width, 4)[:, :, 3] > 127
