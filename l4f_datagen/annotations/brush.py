"""Label Studio's brush runs: a bit stream over the RGBA bytes of a canvas (thi.ng rle-pack).

Big-endian bits: 32 for the number of words, 5 for the word size - 1, four times 4 for the run
length sizes - 1. Then, until all words are out: 1 bit "run?", 2 bits that pick a size, that many
bits of length - 1; a run repeats one word, anything else lists its words.
"""

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.annotations.truth import Mask
from l4f_datagen.core.errors import AnnotationRefused


class _Bits:
    """Reads unsigned numbers from a bit array; past its end is an error of the record."""

    def __init__(self, data: NDArray[np.uint8], subject: str) -> None:
        self.bits = np.unpackbits(data)
        self.place = 0
        self.subject = subject

    def take(self, count: int) -> NDArray[np.uint8]:
        end = self.place + count
        if end > self.bits.size:
            raise AnnotationRefused(self.subject, "a brush RLE that is cut", "export it again")
        taken = self.bits[self.place : end]
        self.place = end
        return taken

    def number(self, count: int) -> int:
        value = 0
        for bit in self.take(count).tolist():
            value = value << 1 | bit
        return value


def decode_brush(rle: object, size_hw: tuple[int, int], subject: str) -> Mask:
    """Decode a brush region.

    Args:
        rle: list of bytes as whole numbers.
        size_hw: height and width of the image it was painted on.
        subject: the record, for the error.

    Returns:
        bool ``h w``, where the alpha byte of the canvas is above 127.

    Raises:
        AnnotationRefused: not bytes, cut, or of another number of pixels.
    """
    if not isinstance(rle, list) or not rle:
        raise AnnotationRefused(subject, "a brush without an RLE", "export it again")
    if any(type(byte) is not int or not 0 <= byte <= 255 for byte in rle):
        raise AnnotationRefused(subject, "a brush RLE that is no list of bytes", "export it again")
    height, width = size_hw
    bits = _Bits(np.asarray(rle, np.uint8), subject)
    words, word_size = bits.number(32), bits.number(5) + 1
    sizes = [bits.number(4) + 1 for _ in range(4)]
    if word_size != 8 or words != height * width * 4:
        raise AnnotationRefused(
            subject,
            f"a brush RLE of {words} words of {word_size} bits for {width} x {height} RGBA pixels",
            "export it again",
        )
    canvas = np.zeros(words, np.uint8)
    filled = 0
    while filled < words:
        is_run = bits.number(1)
        length = bits.number(sizes[bits.number(2)]) + 1
        if filled + length > words:
            raise AnnotationRefused(subject, "a brush RLE that overflows", "export it again")
        taken = np.packbits(bits.take(8 if is_run else 8 * length))
        canvas[filled : filled + length] = taken
        filled += length
    return canvas.reshape(height, width, 4)[:, :, 3] > 127
