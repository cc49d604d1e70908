"""The globals that a checkpoint may name, and what stands in for each: never the real one.

Calls build records, dicts and descriptions of tensors, and read no weights. Whole modules
(``torch.save(G)``, NVIDIA's snapshots) become ``ModuleRecord``: a class name and a state.
"""

import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

import torch

from .byte_source import Span
from .pickle_machine.machine import Globals, Record, StandIn, is_plain_key, show
from .tensors import DTYPES, StoredTensor, contiguous_strides

STORAGE_TYPES = {f"{name}Storage": dtype for dtype, _, name, *_ in DTYPES if name}
# NumPy's codes of plain numbers, and struct's letter for one of them.
NUMBERS = {code: (dtype, letter) for dtype, *_, code, letter in DTYPES if code}
MAX_DIMS = 32  # NumPy's own limit before version 2
# Classes of rosinality's and NVIDIA's networks and their forks, which live in packages of any name.
NETWORK_CLASSES = re.compile(
    r"Generator|PixelNorm|EqualLinear|EqualConv2d|ModulatedConv2d|StyledConv|ToRGB|ConstantInput"
    r"|NoiseInjection|Upsample|Downsample|Blur|FusedLeakyReLU|ScaledLeakyReLU|Discriminator"
    r"|ConvLayer|ResBlock|MappingNetwork|SynthesisNetwork|SynthesisBlock|SynthesisLayer|ToRGBLayer"
    r"|FullyConnectedLayer|Conv2dLayer|DiscriminatorBlock|DiscriminatorEpilogue|MinibatchStdLayer"
)
TENSORFLOW_NETWORK = "dnnlib.tflib.network.Network"


@dataclass(frozen=True)
class Storage:
    """A torch storage as the file declares it."""

    span: Span
    dtype: torch.dtype


class ModuleRecord(Record):
    """A network or a part of one: its class name and its state."""

    @property
    def class_name(self) -> str:
        """Name of the class without its module."""
        return self.name.rpartition(".")[2]


def _persistent(meta: object = None) -> ModuleRecord:
    """Stand in for NVIDIA's reconstruction of objects; the source text in ``meta`` is dropped."""
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
        raise ValueError("an object without a state")
    made = ModuleRecord(show(meta.get("class_name")))
    made.state = meta["state"]
    return made


def _tensor(
    storage: object, offset: object, shape: object, strides: object, *_rest: object
) -> StoredTensor:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without a storage")
    if type(offset) is not int or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise ValueError("a tensor without offset, shape or strides")
    if any(type(number) is not int for number in (*shape, *strides)):
        raise ValueError("a tensor with a size that is no whole number")
    return StoredTensor(storage.span, storage.dtype, shape, strides, offset)


def _parameter(data: object, *_rest: object) -> object:
    return data


def _dict(pairs: object = ()) -> dict[object, object]:
    if not isinstance(pairs, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and is_plain_key(pair[0])
        for pair in pairs
    ):
        raise ValueError("a dict of something else than pairs")
    return dict(pairs)


def _set(items: object = ()) -> list[object]:
    # A list, so that nothing is hashed.
    if not isinstance(items, list | tuple):
        raise ValueError("a set of something else than a list")
    return list(items)


def _size(items: object = ()) -> tuple[object, ...]:
    return tuple(_set(items))


def _encode(text: object, encoding: object = "utf-8") -> bytes:
    # Old protocols write byte strings as text in which each character is one byte.
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("bytes in an unknown encoding")
    return text.encode("latin-1")


class DtypeRecord(Record):
    """A NumPy dtype of plain numbers; anything that can hold an object is refused."""

    def __init__(self, code: object = None, *_flags: object) -> None:
        super().__init__("numpy.dtype")
        if not isinstance(code, str) or code.lstrip("<|=") not in NUMBERS:
            raise ValueError(f"arrays of {show(code)!r} are no weights")
        self.dtype, self.letter = NUMBERS[code.lstrip("<|=")]

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
        self.tensor = _array(data, dtype, shape, "F" if fortran else "C")


def _array(data: object, dtype: object, shape: object, order: object) -> StoredTensor:
    """Return an array as a stored tensor; shape and number of bytes must agree."""
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


def _scalar(dtype: object, data: object) -> int | float | bool:
    """Return a NumPy scalar as a Python number."""
    if not isinstance(dtype, DtypeRecord) or not isinstance(data, Span):
        raise ValueError("a scalar that is no number")
    if data.length != dtype.dtype.itemsize:
        raise ValueError(f"a scalar of {data.length} bytes, expected {dtype.dtype.itemsize}")
    value: int | float | bool = struct.unpack("<" + dtype.letter, data.read())[0]
    return value


def _no_array(*_args: object) -> object:
    raise ValueError("an array made without its data")


def _record(name: str) -> StandIn:
    return StandIn(name, lambda *args: Record(name, args))


def _table() -> dict[tuple[str, str], object]:
    calls: dict[str, Callable[..., object]] = {
        "collections.OrderedDict": _dict,
        "collections.defaultdict": lambda *_kind: {},
        "easydict.EasyDict": _dict,
        "dnnlib.util.EasyDict": _dict,
        "torch.Size": _size,
        "torch._utils._rebuild_tensor": _tensor,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
        "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
        "_codecs.encode": _encode,
        "numpy.dtype": DtypeRecord,
        "numpy.ndarray": _no_array,
    }
    for builtins in ("builtins", "__builtin__"):
        calls |= {f"{builtins}.set": _set, f"{builtins}.dict": _dict}
    for core in ("numpy.core", "numpy._core"):
        calls |= {
            f"{core}.multiarray._reconstruct": ArrayRecord,
            f"{core}.multiarray.scalar": _scalar,
            f"{core}.numeric._frombuffer": _array,
        }
    # Options of training runs: kept as records, or skipped.
    records = ("argparse.Namespace", "types.SimpleNamespace", "torch.device", TENSORFLOW_NETWORK)
    paths = ("pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib.WindowsPath")
    stand_ins = [StandIn(name, build) for name, build in calls.items()]
    table: dict[tuple[str, str], object] = {}
    for stand_in in [*stand_ins, *map(_record, records), *map(_record, paths)]:
        module, _, name = stand_in.name.rpartition(".")
        table[module, name] = stand_in
    return table | {("torch", name): dtype for name, dtype in STORAGE_TYPES.items()}


TABLE = _table()


def find_global(module: str, name: str) -> object | None:
    """Return what stands in for a global of a torch file, None where it is refused."""
    if (module, name) in TABLE:
        return TABLE[module, name]
    dotted = f"{module}.{name}"
    if module.startswith(("torch.nn.modules.", "torch.nn.parallel.")) or NETWORK_CLASSES.fullmatch(
        name
    ):
        return StandIn(dotted, lambda *args: ModuleRecord(dotted, args))
    return None


def find_global_of_pickle(load_from_bytes: Callable[[object], object]) -> Globals:
    """Return ``find_global`` for pickles; ``load_from_bytes`` reads torch files nested in them."""
    nested = StandIn("torch.storage._load_from_bytes", load_from_bytes)

    def find(module: str, name: str) -> object | None:
        return nested if f"{module}.{name}" == nested.name else find_global(module, name)

    return find
