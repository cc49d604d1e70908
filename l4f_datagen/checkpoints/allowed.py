"""The explicit table of globals that a checkpoint may name, and what stands in for each.

Nothing outside this table is ever looked up, and nothing in it is the real thing: calls build
records, dicts and tensor descriptions, and read no weights.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .arrays import NUMPY_GLOBALS
from .machine import Allowed, Record, StandIn, is_plain_key, show
from .storage import Span, StoredTensor

STORAGE_TYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


@dataclass(frozen=True)
class Storage:
    """A torch storage as the file declares it."""

    span: Span
    dtype: torch.dtype


class PersistentObject(Record):
    """An object of NVIDIA's code: class name and state. The source text in the file is dropped."""

    def __init__(self, meta: object = None) -> None:
        if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
            raise ValueError("an object without a state")
        super().__init__("torch_utils.persistence._reconstruct_persistent_obj")
        self.class_name = show(meta.get("class_name"))
        self.state = meta["state"]


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


def _ordered(pairs: object = ()) -> dict[object, object]:
    if not isinstance(pairs, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and is_plain_key(pair[0])
        for pair in pairs
    ):
        raise ValueError("a dict of something else than pairs")
    return dict(pairs)


def _set(items: object = ()) -> list[object]:
    if not isinstance(items, list | tuple):
        raise ValueError("a set of something else than a list")
    return list(items)


def _encode(text: object, encoding: object = "utf-8") -> bytes:
    # Old protocols write byte strings as text in which each character is one byte.
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("bytes in an unknown encoding")
    return text.encode("latin-1")


def _size(items: object = ()) -> tuple[object, ...]:
    if not isinstance(items, list | tuple):
        raise ValueError("a size of something else than a list")
    return tuple(items)


def _record(name: str) -> StandIn:
    return StandIn(name, lambda *args: Record(name, args))


def _plain_globals() -> dict[tuple[str, str], object]:
    table: dict[tuple[str, str], object] = {
        ("collections", "OrderedDict"): StandIn("collections.OrderedDict", _ordered),
        ("collections", "defaultdict"): StandIn("collections.defaultdict", lambda *_kind: {}),
        ("argparse", "Namespace"): _record("argparse.Namespace"),
        ("torch", "device"): _record("torch.device"),
        ("torch", "Size"): StandIn("torch.Size", _size),
        ("torch._utils", "_rebuild_tensor"): StandIn("torch._utils._rebuild_tensor", _tensor),
        ("torch._utils", "_rebuild_tensor_v2"): StandIn("torch._utils._rebuild_tensor_v2", _tensor),
        ("torch._utils", "_rebuild_parameter"): StandIn(
            "torch._utils._rebuild_parameter", _parameter
        ),
        ("torch._utils", "_rebuild_parameter_with_state"): StandIn(
            "torch._utils._rebuild_parameter_with_state", _parameter
        ),
        ("_codecs", "encode"): StandIn("_codecs.encode", _encode),
    }
    for builtins in ("builtins", "__builtin__"):
        table[builtins, "set"] = StandIn(f"{builtins}.set", _set)
        table[builtins, "dict"] = StandIn(f"{builtins}.dict", _ordered)
    for name, dtype in STORAGE_TYPES.items():
        table["torch", name] = dtype
    return table


# What torch.save writes for weights, optimizer states and the options of a training run.
TORCH_GLOBALS: Allowed = {**_plain_globals(), **NUMPY_GLOBALS}


def nvidia_globals(load_from_bytes: Callable[[object], object]) -> Allowed:
    """Return the table for NVIDIA's pickles.

    Args:
        load_from_bytes: reads the torch file that is nested in a storage, restricted as well.
    """
    nested = StandIn("torch.storage._load_from_bytes", load_from_bytes)
    persistent = "torch_utils.persistence"
    return {
        **TORCH_GLOBALS,
        (persistent, "_reconstruct_persistent_obj"): StandIn(
            f"{persistent}._reconstruct_persistent_obj", PersistentObject
        ),
        ("torch.storage", "_load_from_bytes"): nested,
        ("dnnlib.util", "EasyDict"): StandIn("dnnlib.util.EasyDict", _ordered),
        ("dnnlib.tflib.network", "Network"): _record("dnnlib.tflib.network.Network"),
    }
