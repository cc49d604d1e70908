"""Tensors on their way from a file into our networks: where they lie, and how they change.

Shapes and values are handled apart, so that shapes are settled by arithmetic before a byte of a
tensor is read.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor

from .byte_source import ByteSource, Span

# A type of torch, its names in safetensors, torch storages and NumPy, and the letter of struct.
DTYPES = (
    (torch.float64, "F64", "Double", "f8", "d"),
    (torch.float32, "F32", "Float", "f4", "f"),
    (torch.float16, "F16", "Half", "f2", "e"),
    (torch.bfloat16, "BF16", "BFloat16", "", ""),
    (torch.int64, "I64", "Long", "i8", "q"),
    (torch.int32, "I32", "Int", "i4", "i"),
    (torch.int16, "I16", "Short", "i2", "h"),
    (torch.int8, "I8", "Char", "i1", "b"),
    (torch.uint8, "U8", "Byte", "u1", "B"),
    (torch.bool, "BOOL", "Bool", "b1", "?"),
    (torch.uint16, "", "", "u2", "H"),
    (torch.uint32, "", "", "u4", "I"),
    (torch.uint64, "", "", "u8", "Q"),
)
MAX_DIMS = 8  # rosinality's convolutions have five
WEIGHT_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
Shape = tuple[int, ...]


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as a file declares it, little endian; nothing is read before ``read``."""

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
        """Check that the view lies inside its storage and is no larger than it."""
        refuse = self.storage.source.refuse
        if self.dtype not in WEIGHT_DTYPES:
            problem = f"{name} is {str(self.dtype).removeprefix('torch.')}, expected floating point"
            raise refuse(problem, "convert the weights to float32")
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
    steps = accumulate((max(size, 1) for size in reversed(shape)), mul, initial=1)
    return tuple(steps)[-2::-1]


@dataclass(frozen=True)
class Change:
    """How shape and values of a tensor of a file become ours; ValueError where they cannot."""

    shape: Callable[[Shape], Shape]
    values: Callable[[Tensor], Tensor]


def _without_ones(count: int) -> Callable[[Shape], Shape]:
    def shape(sizes: Shape) -> Shape:
        if sizes[:count] != (1,) * count:
            raise ValueError(f"it should start with {count} of size 1")
        return sizes[count:]

    return shape


def _only_one(sizes: Shape) -> Shape:
    if set(sizes) - {1}:
        raise ValueError("it should be a single value")
    return ()


def _flat(sizes: Shape) -> Shape:
    wide = tuple(size for size in sizes if size != 1)
    if len(wide) > 1:
        raise ValueError("it should be a row of values")
    return wide or (1,)


def _permuted(*order: int) -> Callable[[Shape], Shape]:
    def shape(sizes: Shape) -> Shape:
        if len(sizes) != len(order):
            raise ValueError(f"it should have {len(order)} sizes")
        return tuple(sizes[k] for k in order)

    return shape


KEEP = Change(lambda shape: shape, lambda tensor: tensor)
DROP_FIRST = Change(_without_ones(1), lambda tensor: tensor[0])
DROP_TWO = Change(_without_ones(2), lambda tensor: tensor[0, 0])
SCALAR = Change(_only_one, lambda tensor: tensor.reshape(()))
FLATTEN = Change(_flat, lambda tensor: tensor.reshape(-1))
# TensorFlow stores dense layers as (in, out) and convolutions as (height, width, in, out).
TRANSPOSE = Change(_permuted(1, 0), lambda tensor: tensor.t())
KERNEL_LAST = Change(_permuted(3, 2, 0, 1), lambda tensor: tensor.permute(3, 2, 0, 1))
# Its up-sampling convolution is a true convolution, ours a transposed one: mirrored kernels.
KERNEL_LAST_MIRRORED = Change(
    _permuted(3, 2, 0, 1), lambda tensor: tensor.permute(3, 2, 0, 1).flip(2, 3)
)
MIRRORED = Change(_permuted(0, 1, 2, 3), lambda tensor: tensor.flip(2, 3))
# Some codes add the 1 of a style when it is used; our biases hold it.
PLUS_ONE = Change(lambda shape: shape, lambda tensor: tensor + 1)


@dataclass(frozen=True)
class Entry:
    """One tensor on its way into our state; ``name`` is its name in the file."""

    name: str
    stored: StoredTensor
    change: Change = KEEP

    @property
    def shape(self) -> Shape:
        """Our shape."""
        return self.change.shape(self.stored.shape)


Entries = Mapping[str, Entry]
# A name in the file -> our key, and the change on the way.
Rules = Mapping[str, tuple[str, Change]]

# The resampling filter is a constant that files carry and that our networks have built in.
FILTER_NAMES = ("resample_filter", "kernel")
ROW = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
FILTER_TOLERANCE = 1e-3  # files may hold it in half precision


def rename(
    source: ByteSource,
    tensors: Mapping[str, StoredTensor],
    rules: Rules,
    prefix: str,
    remedy: str = "give a plain StyleGAN2 checkpoint",
) -> dict[str, Entry]:
    """Return our key -> entry for tensors under foreign names; ``prefix`` is for messages.

    Raises:
        CheckpointRefused: a name without a meaning, two with the same one, or another filter.
    """
    entries: dict[str, Entry] = {}
    for name, stored in tensors.items():
        full = prefix + name
        if name.endswith(FILTER_NAMES):
            _check_filter(source, full, stored)
            continue
        if name not in rules:
            raise source.refuse(f"holds {full}, for which there is no place", remedy)
        key, change = rules[name]
        if key in entries:
            raise source.refuse(f"holds both {entries[key].name} and {full}", remedy)
        entries[key] = Entry(full, stored, change)
    return entries


def _check_filter(source: ByteSource, name: str, stored: StoredTensor) -> None:
    """Check that a filter is the standard [1, 3, 3, 1], whatever its gain."""
    stored.check(name)
    matches = stored.shape[-2:] == (4, 4) and stored.numel == 16
    if matches:
        kernel = stored.read().reshape(4, 4)
        wanted = torch.outer(ROW, ROW)
        matches = torch.allclose(kernel / kernel.sum(), wanted, atol=FILTER_TOLERANCE)
    if not matches:
        problem = f"{name} is another resampling filter than [1, 3, 3, 1]"
        raise source.refuse(problem, "only networks with the standard filter can be opened")
