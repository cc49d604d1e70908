"""A file's bytes on demand: bounded reads, spans of it, and tensors read only when they are needed.

Nothing here trusts a size that the file declares: every length is checked against the bytes that
are really there before memory is taken.
"""

import math
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from l4f_datagen.core.errors import CheckpointRefused

AGAIN = "get the file again, it is damaged or not complete"
MAX_DIMS = 8
MAX_PROBLEM = 400
WEIGHT_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


class ByteSource:
    """A regular file opened for bounded reads.

    Raises:
        CheckpointRefused: there is no such file, it is a folder or device, or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.stat = path.stat()
            if not stat.S_ISREG(self.stat.st_mode):
                raise self.refuse("is not a regular file", "give the path of a checkpoint file")
            self._file = path.open("rb", buffering=0)
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or str(error)
            raise self.refuse(f"cannot be read ({problem})", "check the path") from None
        self.size = self.stat.st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._file.close()

    def refuse(self, problem: str, remedy: str = AGAIN) -> CheckpointRefused:
        """Return the error to raise about this file; names in it may be anybody's."""
        shown = "".join(char if char.isprintable() else "?" for char in problem[:MAX_PROBLEM])
        return CheckpointRefused(str(self.path), shown, remedy)

    def read_into(self, start: int, view: memoryview) -> None:
        """Fill ``view`` from byte ``start`` on.

        Raises:
            CheckpointRefused: the file ends earlier.
        """
        self._file.seek(start)
        done = 0
        while done < len(view):
            count = self._file.readinto(view[done:])
            if not count:
                raise self.refuse(f"ends after {start + done} bytes, more were announced")
            done += count

    def read(self, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start`` on; the range is checked before memory is taken.

        Raises:
            CheckpointRefused: the range is not inside the file.
        """
        if start < 0 or length < 0 or start + length > self.size:
            raise self.refuse(f"announces {length} bytes at {start}, but has {self.size} in all")
        out = bytearray(length)
        self.read_into(start, memoryview(out))
        return bytes(out)


@dataclass(frozen=True)
class Span:
    """Bytes inside a file (``source``), or a few bytes already in memory (``inline``)."""

    source: ByteSource
    start: int
    length: int
    inline: bytes | None = None

    def read(self, offset: int = 0, length: int | None = None) -> bytes:
        """Return ``length`` bytes from ``offset`` of the span on (None: to its end)."""
        length = self.length - offset if length is None else length
        if offset < 0 or length < 0 or offset + length > self.length:
            raise self.source.refuse("announces bytes beyond the end of a tensor's storage")
        if self.inline is not None:
            return self.inline[offset : offset + length]
        return self.source.read(self.start + offset, length)

    def part(self, start: int, length: int) -> "Span":
        """Return a span inside this one."""
        if start < 0 or length < 0 or start + length > self.length:
            raise self.source.refuse(f"announces {length} bytes at {start}, beyond its end")
        if self.inline is not None:
            return Span(self.source, 0, length, self.inline[start : start + length])
        return Span(self.source, self.start + start, length)

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill ``view`` from ``offset`` of the span on."""
        if self.inline is not None:
            view[:] = self.inline[offset : offset + len(view)]
        else:
            self.source.read_into(self.start + offset, view)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as a file declares it; nothing is read before ``read``.

    Attributes:
        storage: all bytes of the storage it is a view of, little endian.
        dtype: element type.
        shape: sizes.
        strides: steps in elements, one per size.
        offset: first element.
    """

    storage: Span
    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements as stored."""
        return self.numel * self.dtype.itemsize

    def check(self, name: str) -> None:
        """Check that the view lies inside its storage and is no larger than it.

        Raises:
            CheckpointRefused: names the tensor.
        """
        refuse = self.storage.source.refuse
        if self.dtype not in WEIGHT_DTYPES:
            raise refuse(
                f"{name} is {str(self.dtype).removeprefix('torch.')}, expected floating point",
                "convert the weights to float32",
            )
        if len(self.shape) > MAX_DIMS or len(self.strides) != len(self.shape):
            raise refuse(f"{name} has {len(self.shape)} sizes and {len(self.strides)} strides")
        if min((*self.shape, *self.strides, self.offset), default=0) < 0:
            raise refuse(f"{name} has a negative size, stride or offset")
        if self.numel == 0:
            raise refuse(f"{name} is empty, its shape is {list(self.shape)}")
        held = self.storage.length // self.dtype.itemsize
        steps = zip(self.shape, self.strides, strict=True)
        last = self.offset + sum((size - 1) * stride for size, stride in steps)
        # A stride of 0 would let a few bytes declare any size; weights never need one.
        if self.numel > held or last >= held:
            raise refuse(f"{name} declares {list(self.shape)}, but its storage holds {held} values")

    def read(self) -> Tensor:
        """Return the values, float32, contiguous (call ``check`` first)."""
        size = self.dtype.itemsize
        if self.strides == contiguous_strides(self.shape):
            flat = self._read_flat(self.offset, self.numel)
            return flat.reshape(self.shape).float()
        steps = zip(self.shape, self.strides, strict=True)
        length = 1 + sum((n - 1) * stride for n, stride in steps)
        assert length * size <= self.storage.length
        flat = self._read_flat(self.offset, length)
        return flat.as_strided(self.shape, self.strides).contiguous().float()

    def _read_flat(self, first: int, count: int) -> Tensor:
        flat = torch.empty(count, dtype=self.dtype)
        raw = flat.view(torch.uint8).numpy()
        self.storage.read_into(first * self.dtype.itemsize, raw.data)
        return flat


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the row-major strides of ``shape``."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))
