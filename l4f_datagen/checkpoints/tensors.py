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

from l4f_datagen.models.layers import low_pass

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
    shape: Shape
    strides: Shape
    offset: int = 0

    @property
    def _reach(self) -> int:
        """Elements of the storage from the first to the last one used."""
        steps = zip(self.shape, self.strides, strict=True)
        return 1 + sum((size - 1) * stride for size, stride in steps)

    def check(self, name: str) -> None:
        """Check that the view lies inside its storage and is no larger than it."""
        refuse, shape = self.storage.source.refuse, self.shape
        if self.dtype not in WEIGHT_DTYPES:
            problem = f"{name} is {str(self.dtype).removeprefix('torch.')}, expected floating point"
            raise refuse(problem, "convert the weights to float32")
        if len(shape) > MAX_DIMS or len(self.strides) != len(shape):
            raise refuse(f"{name} has {len(shape)} sizes and {len(self.strides)} strides")
        if min((*shape, *self.strides, self.offset), default=0) < 0:
            raise refuse(f"{name} has a negative size, stride or offset")
        if 0 in shape:
            raise refuse(f"{name} is empty, its shape is {list(shape)}")
        held = self.storage.length // self.dtype.itemsize
        # A stride of 0 would let a few bytes declare any size; weights never need one.
        if math.prod(shape) > held or self.offset + self._reach > held:
            raise refuse(f"{name} declares {list(shape)}, but its storage holds {held} values")

    def read(self) -> Tensor:
        """Return the values, float32, contiguous (call ``check`` first)."""
        flat = torch.empty(self._reach, dtype=self.dtype)
        raw = flat.view(torch.uint8).numpy()
        self.storage.read_into(self.offset * self.dtype.itemsize, raw.data)
        return flat.as_strided(self.shape, self.strides).contiguous().float()


def contiguous_strides(shape: Sequence[int]) -> Shape:
    """Return the row-major strides of ``shape``."""
    steps = accumulate((max(size, 1) for size in reversed(shape)), mul, initial=1)
    return tuple(steps)[-2::-1]


def _same(tensor: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True)
class Change:
    """How a tensor of a file becomes ours: a view, which settles the shape, then its values.

    A view that a shape does not allow raises RuntimeError or IndexError.
    """

    view: Callable[[Tensor], Tensor] = _same
    values: Callable[[Tensor], Tensor] = _same


KEEP = Change()
# Axes of size 1, checked: ``reshape`` allows no other number of values.
DROP_FIRST = Change(lambda tensor: tensor.reshape(tensor.shape[1:]))
DROP_TWO = Change(lambda tensor: tensor.reshape(tensor.shape[2:]))
SCALAR = Change(lambda tensor: tensor.reshape(()))
FLATTEN = Change(lambda tensor: tensor.reshape(1) if tensor.numel() == 1 else tensor.squeeze())
# TensorFlow stores dense layers as (in, out) and convolutions as (height, width, in, out).
TRANSPOSE = Change(lambda tensor: tensor.permute(1, 0))
KERNEL_LAST = Change(lambda tensor: tensor.permute(3, 2, 0, 1))
# Its up-sampling convolution is a true convolution, ours a transposed one: mirrored kernels.
MIRRORED = Change(values=lambda tensor: tensor.flip(2, 3))
KERNEL_LAST_MIRRORED = Change(KERNEL_LAST.view, MIRRORED.values)
# Some codes add the 1 of a style when it is used; our biases hold it.
PLUS_ONE = Change(values=lambda tensor: tensor + 1)


@dataclass(frozen=True)
class Entry:
    """One tensor on its way into our state; ``name`` is its name in the file."""

    name: str
    stored: StoredTensor
    change: Change = KEEP


Entries = Mapping[str, Entry]
# A name in the file -> our key, and the change on the way.
Rules = Mapping[str, tuple[str, Change]]
WEIGHT_AND_BIAS: Rules = {"weight": ("weight", KEEP), "bias": ("bias", KEEP)}

# The resampling filter is a constant that files carry and that our networks have built in.
FILTER_NAMES = ("resample_filter", "kernel")
FILTER_TOLERANCE = 1e-3  # files may hold it in half precision


def rules_of(
    places: Mapping[str, str], parts: Rules = WEIGHT_AND_BIAS, joint: str = "."
) -> dict[str, tuple[str, Change]]:
    """Return rules for the parts of layers that have the same: their place -> ours."""
    return {
        f"{theirs}{joint}{part}": (f"{ours}.{key}", change)
        for theirs, ours in places.items()
        for part, (key, change) in parts.items()
    }


def rename(
    source: ByteSource,
    tensors: Mapping[str, StoredTensor],
    rules: Rules,
    prefix: str,
    remedy: str = "give a plain StyleGAN2 checkpoint",
) -> dict[str, Entry]:
    """Return our key -> entry for tensors under foreign names; ``prefix`` is for messages.

    Refused: a name without a meaning, two with the same one, or another resampling filter.
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
    if stored.shape[-2:] == (4, 4) and math.prod(stored.shape) == 16:
        kernel = stored.read().reshape(4, 4)
        if torch.allclose(kernel / kernel.sum(), low_pass(1.0)[0, 0], atol=FILTER_TOLERANCE):
            return
    problem = f"{name} is another resampling filter than [1, 3, 3, 1]"
    raise source.refuse(problem, "only networks with the standard filter can be opened")
