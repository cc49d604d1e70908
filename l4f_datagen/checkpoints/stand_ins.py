"""The globals that a checkpoint may name, and what stands in for each: never the real one.

Calls build records, dicts and descriptions of tensors, and read no weights. Whole modules
(``torch.save(G)``, NVIDIA's snapshots) become ``ModuleRecord``: a class name and a state.
"""

import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from .byte_source import Span
from .tensors import DTYPES, StoredTensor, contiguous_strides

STORAGE_TYPES = {f"torch.{name}Storage": dtype for dtype, _, name, *_ in DTYPES if name}
# NumPy's codes of plain numbers, and struct's letter for one of them.
NUMBERS = {code: (dtype, letter) for dtype, *_, code, letter in DTYPES if code}
MAX_DIMS = 32  # NumPy's own limit before version 2
MAX_KEY_BITS = 64  # any number of longer integers can be made with one and the same hash
MAX_SHOWN, MAX_TEXT_SHOWN = 8, 60  # items and characters of a foreign value in a message
# Classes of rosinality's and NVIDIA's networks and their forks, which live in packages of any name.
NETWORK_CLASSES = re.compile(
    r"Generator|PixelNorm|EqualLinear|EqualConv2d|ModulatedConv2d|StyledConv|ToRGB|ConstantInput"
    r"|NoiseInjection|Upsample|Downsample|Blur|FusedLeakyReLU|ScaledLeakyReLU|Discriminator"
    r"|ConvLayer|ResBlock|MappingNetwork|SynthesisNetwork|SynthesisBlock|SynthesisLayer|ToRGBLayer"
    r"|FullyConnectedLayer|Conv2dLayer|DiscriminatorBlock|DiscriminatorEpilogue|MinibatchStdLayer"
)
TENSORFLOW_NETWORK = "dnnlib.tflib.network.Network"


@dataclass(frozen=True)
class StandIn:
    """What is called in place of the global of this dotted name."""

    name: str
    build: Callable[..., object]


# What stands in for a global, by module and name; None where it is refused.
Globals = Callable[[str, str], object | None]


class Record:
    """An instance of a foreign class: its name, its arguments and its state, and no behaviour."""

    def __init__(self, name: str, args: tuple[object, ...] = ()) -> None:
        self.name, self.args = name, args
        self.state: object = None

    def set_state(self, state: object) -> None:
        """Keep what the file sets on the instance."""
        self.state = state


class ModuleRecord(Record):
    """A network or a part of one: the name of its class, and its state."""


def is_plain_key(key: object) -> bool:
    """Whether a value may be the key of a dict: text, None or a number of ordinary size."""
    if isinstance(key, int):
        return key.bit_length() <= MAX_KEY_BITS
    return key is None or isinstance(key, str | float)


def show(value: object) -> str:
    """Return a short text for a value of a file; never walks into what may be deep or endless."""
    if isinstance(value, tuple | list) and len(value) <= MAX_SHOWN:
        items = ["..." if isinstance(item, tuple | list) else show(item) for item in value]
        return f"[{', '.join(items)}]"
    if value is None or isinstance(value, str | int | float):
        return str(value)[:MAX_TEXT_SHOWN]
    return type(value).__name__


@dataclass(frozen=True)
class Storage:
    """A torch storage as the file declares it."""

    span: Span
    dtype: torch.dtype


def _persistent(meta: object = None) -> ModuleRecord:
    """Stand in for NVIDIA's reconstruction of objects; the source text in ``meta`` is dropped."""
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
        raise ValueError("an object without a state")
    made = ModuleRecord(show(meta.get("class_name")))
    made.set_state(meta["state"])
    return made


def _tensor(*args: object) -> StoredTensor:
    match args:
        case (Storage(span, dtype), int(offset), tuple(shape), tuple(strides), *_):
            if all(type(number) is int for number in (*shape, *strides)):
                return StoredTensor(span, dtype, shape, strides, offset)
    raise ValueError("a tensor without storage, offset, shape or strides")


def _dict(pairs: object = ()) -> dict[object, object]:
    made = {}
    for pair in _set(pairs):
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not is_plain_key(pair[0]):
            raise ValueError("a dict of something else than pairs")
        made[pair[0]] = pair[1]
    return made


def _set(items: object = ()) -> list[object]:
    # A list, so that nothing is hashed.
    if not isinstance(items, list | tuple):
        raise ValueError("a collection of something else than a list")
    return list(items)


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
        match state:
            case (_, shape, dtype, fortran, data):
                self.tensor = _array(data, dtype, shape, "F" if fortran else "C")
            case _:
                raise ValueError("an array state that is no 5-tuple")


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
    in_columns = order == "F"
    strides = contiguous_strides(shape[::-1])[::-1] if in_columns else contiguous_strides(shape)
    return StoredTensor(data, dtype.dtype, shape, strides)


def _scalar(dtype: object, data: object) -> int | float | bool:
    """Return a NumPy scalar as a Python number; struct refuses another length."""
    if not isinstance(dtype, DtypeRecord) or not isinstance(data, Span):
        raise ValueError("a scalar that is no number")
    value: int | float | bool = struct.unpack("<" + dtype.letter, data.head(16))[0]
    return value


def _no_array(*_args: object) -> object:
    raise ValueError("an array made without its data")


def _record(name: str, *args: object) -> Record:
    return Record(name, args)


def _table() -> dict[str, object]:
    calls: dict[str, Callable[..., object]] = {
        "collections.defaultdict": lambda *_kind: {},
        "torch.Size": lambda items=(): tuple(_set(items)),
        "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
        "_codecs.encode": _encode,
        "numpy.dtype": DtypeRecord,
        "numpy.ndarray": _no_array,
    }
    dicts = ("collections.OrderedDict", "easydict.EasyDict", "dnnlib.util.EasyDict")
    calls |= dict.fromkeys([*dicts, "builtins.dict", "__builtin__.dict"], _dict)
    calls |= dict.fromkeys(["builtins.set", "__builtin__.set"], _set)
    for suffix in ("", "_v2"):
        calls[f"torch._utils._rebuild_tensor{suffix}"] = _tensor
    for suffix in ("", "_with_state"):
        calls[f"torch._utils._rebuild_parameter{suffix}"] = lambda data, *_rest: data
    for core in ("numpy.core", "numpy._core"):
        calls |= {
            f"{core}.multiarray._reconstruct": ArrayRecord,
            f"{core}.multiarray.scalar": _scalar,
            f"{core}.numeric._frombuffer": _array,
        }
    # Options of training runs: kept as records, or skipped.
    records = ("argparse.Namespace", "types.SimpleNamespace", "torch.device", TENSORFLOW_NETWORK)
    paths = ("pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib.WindowsPath")
    calls |= {name: partial(_record, name) for name in records + paths}
    return {**{name: StandIn(name, build) for name, build in calls.items()}, **STORAGE_TYPES}


TABLE = _table()  # by dotted name


def find_global(module: str, name: str, table: Mapping[str, object] = TABLE) -> object | None:
    """Return what stands in for a global of a torch file, None where it is refused."""
    own = module.startswith(("torch.nn.modules.", "torch.nn.parallel."))
    dotted = f"{module}.{name}"
    if dotted not in table and (own or NETWORK_CLASSES.fullmatch(name)):
        return StandIn(dotted, lambda *args: ModuleRecord(dotted, args))
    return table.get(dotted)
