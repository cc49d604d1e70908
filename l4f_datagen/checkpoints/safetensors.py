"""The safetensors container: a bounded reader of its header, and a writer with stable bytes.

The format is 8 bytes of header length, a JSON header, and the raw values, little endian. We write
it ourselves because two saves of the same weights must give the same bytes (the library orders its
metadata by hash), and read it ourselves because weights are read only when they are needed.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from l4f_datagen.core.errors import L4FError
from l4f_datagen.io.disk import staged

from .storage import MAX_DIMS, ByteSource, Span, StoredTensor, contiguous_strides

MAX_HEADER_BYTES = 1 << 24
LARGEST = 1 << 50
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def is_safetensors(source: ByteSource) -> bool:
    """Whether the file starts like safetensors."""
    if source.size < 10:
        return False
    head = source.read(0, 9)
    return int.from_bytes(head[:8], "little") <= source.size - 8 and head[8:] == b"{"


def read_header(source: ByteSource) -> tuple[dict[str, str], dict[str, StoredTensor]]:
    """Return metadata and tensors of a safetensors file; no value is read.

    Raises:
        CheckpointRefused: the header is damaged or announces bytes that are not there.
    """
    length = int.from_bytes(source.read(0, 8), "little")
    if length > min(MAX_HEADER_BYTES, source.size - 8):
        raise source.refuse(f"announces a header of {length} bytes")
    try:
        header = json.loads(source.read(8, length), object_pairs_hook=_unique)
        metadata = header.pop("__metadata__", {})
        if any(type(value) is not str for value in metadata.values()):
            raise ValueError("metadata that is no text")
        values = Span(source, 8 + length, source.size - 8 - length)
        tensors = {name: _tensor(source, values, item) for name, item in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise source.refuse(f"has a safetensors header that cannot be read ({error})") from None
    return metadata, tensors


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name that occurs twice")
    return made


def _tensor(source: ByteSource, values: Span, item: dict[str, Any]) -> StoredTensor:
    dtype, shape = DTYPES[item["dtype"]], tuple(item["shape"])
    begin, end = item["data_offsets"]
    if any(type(number) is not int or not 0 <= number < LARGEST for number in (*shape, begin, end)):
        raise ValueError("a size that is no whole number, or none of a file")
    if len(shape) > MAX_DIMS:
        raise ValueError(f"{len(shape)} sizes")
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{end - begin} bytes for the shape {list(shape)}")
    return StoredTensor(values.part(begin, end - begin), dtype, shape, contiguous_strides(shape))


def write_safetensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file: staged as ``.part``, then renamed. Same input, same bytes.

    Raises:
        L4FError: the file cannot be written; nothing is left behind.
    """
    # Wide types first, so that every tensor is aligned to its element size.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name in order:
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.dtype.itemsize
        shape = list(tensor.shape)
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    try:
        with staged(path) as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in order:
                values = tensors[name].detach().cpu().contiguous().reshape(-1)
                file.write(values.view(torch.uint8).numpy().data)
    except OSError as error:
        raise L4FError(
            str(path),
            f"cannot be written ({error.strerror or error})",
            "check the folder, its permissions and the free space",
        ) from None
