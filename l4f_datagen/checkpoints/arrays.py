"""Stand-ins for what NumPy puts into pickles: dtypes, scalars, and arrays that stay in the file."""

import math
import struct

import torch

from .machine import Record, StandIn, show
from .storage import Span, StoredTensor, contiguous_strides

MAX_DIMS = 32
CODES = {
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "i1": torch.int8,
    "i2": torch.int16,
    "i4": torch.int32,
    "i8": torch.int64,
    "u1": torch.uint8,
    "u2": torch.uint16,
    "u4": torch.uint32,
    "u8": torch.uint64,
    "b1": torch.bool,
}
# dtype kind -> struct's letters for 1, 2, 4 and 8 bytes
SCALAR_FORMATS = {"f": " efd", "i": "bhiq", "u": "BHIQ", "b": "?"}


class DtypeRecord(Record):
    """A NumPy dtype of plain numbers; anything that can hold an object is refused."""

    def __init__(self, code: object = None, *_flags: object) -> None:
        super().__init__("numpy.dtype")
        if not isinstance(code, str) or code.lstrip("<|=") not in CODES:
            raise ValueError(f"arrays of {show(code)!r} are no weights")
        self.code = code.lstrip("<|=")
        self.dtype = CODES[self.code]

    def set_state(self, state: object) -> None:
        """Check the byte order, the only part of the state that matters."""
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", "|", "="):
            raise ValueError(f"byte order {show(order)!r} is not little endian")


class ArrayRecord(Record):
    """A NumPy array; ``tensor`` is set with its state and reads nothing."""

    def __init__(self, kind: object, shape: object, _code: object = None) -> None:
        super().__init__("numpy.ndarray")
        self.tensor: StoredTensor | None = None
        # NumPy itself makes an empty array here and sets the shape with the state.
        if not isinstance(kind, StandIn) or kind.name != "numpy.ndarray" or shape != (0,):
            raise ValueError(f"an array declared as {show(shape)} before its data")

    def set_state(self, state: object) -> None:
        """Take shape, dtype, order and data; they must agree."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("an array state that is no 5-tuple")
        _, shape, dtype, fortran, data = state
        self.tensor = make_array(data, dtype, shape, "F" if fortran else "C")


def make_array(data: object, dtype: object, shape: object, order: object) -> StoredTensor:
    """Return the array as a stored tensor; shape and number of bytes must agree.

    Raises:
        ValueError: they do not, or the array holds something else than numbers.
    """
    if not isinstance(data, Span) or not isinstance(dtype, DtypeRecord):
        raise ValueError("an array that does not hold plain numbers")
    if not isinstance(shape, tuple) or len(shape) > MAX_DIMS:
        raise ValueError("an array without a shape")
    if any(type(size) is not int or size < 0 for size in shape):
        raise ValueError("an array with a size that is no whole number")
    wanted = math.prod(shape) * dtype.dtype.itemsize
    if wanted != data.length:
        raise ValueError(f"shape {list(shape)} needs {wanted} bytes, {data.length} are there")
    strides = contiguous_strides(shape)
    if order == "F":
        strides = tuple(reversed(contiguous_strides(shape[::-1])))
    return StoredTensor(data, dtype.dtype, shape, strides)


def make_scalar(dtype: object, data: object) -> int | float | bool:
    """Return a NumPy scalar as a Python number."""
    if not isinstance(dtype, DtypeRecord) or not isinstance(data, Span):
        raise ValueError("a scalar that is no number")
    size = dtype.dtype.itemsize
    if data.length != size:
        raise ValueError(f"a scalar of {data.length} bytes, expected {size}")
    letter = SCALAR_FORMATS[dtype.code[0]][size.bit_length() - 1]
    value: int | float | bool = struct.unpack("<" + letter, data.read())[0]
    return value


def _class_of_arrays(*_args: object) -> object:
    raise ValueError("an array made without its data")


def _globals() -> dict[tuple[str, str], object]:
    table: dict[tuple[str, str], object] = {
        ("numpy", "dtype"): StandIn("numpy.dtype", DtypeRecord),
        ("numpy", "ndarray"): StandIn("numpy.ndarray", _class_of_arrays),
    }
    for core in ("numpy.core", "numpy._core"):
        array = f"{core}.multiarray"
        table[array, "_reconstruct"] = StandIn(f"{array}._reconstruct", ArrayRecord)
        table[array, "scalar"] = StandIn(f"{array}.scalar", make_scalar)
        table[f"{core}.numeric", "_frombuffer"] = StandIn(f"{core}.numeric._frombuffer", make_array)
    return table


NUMPY_GLOBALS = _globals()
