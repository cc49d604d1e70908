"""Which container a file is, told by its first bytes, and what is in it; no tensor is read."""

import math
from dataclasses import dataclass

import torch
from safetensors import SafetensorError, safe_open

from l4f_datagen.core.errors import CheckpointRefused

from .pickle_machine import load_pickle
from .pickle_machine.machine import Budget
from .pickle_machine.source import ByteSource, Cursor, Span
from .stand_ins import find_global_of_pickle
from .tensors import StoredTensor, contiguous_strides
from .torch_file import LEGACY_START, ZIP_START, load_torch, nested_loader

DOWNLOAD = "download the checkpoint itself"
# First bytes of files that people give by mistake.
MISTAKES = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file it points to", "git lfs pull"),
    (b"<", "is a web page or XML, not a checkpoint", DOWNLOAD),
    (b"\x89PNG", "is a PNG image", "give a checkpoint file"),
    (b"\xff\xd8\xff", "is a JPEG image", "give a checkpoint file"),
    (b"GIF8", "is a GIF image", "give a checkpoint file"),
    (b"\x89HDF", "is an HDF5 file", "convert it to one of the formats in the README"),
    (b"\x1f\x8b", "is compressed with gzip", "unpack it first"),
    (b"7z\xbc\xaf", "is a 7z archive", "unpack it first"),
    (b"Rar!", "is a RAR archive", "unpack it first"),
    (b"BZh", "is compressed with bzip2", "unpack it first"),
    (b"\xfd7zXZ", "is compressed with xz", "unpack it first"),
    (b"{", "is text", DOWNLOAD),
)
# What a pickle may start with: a protocol, or one of the first operations of protocol 0.
PICKLE_STARTS = b"\x80(c]}"


# Headers of our 1024 px files have 20 kB.
MAX_HEADER_BYTES = 1 << 24
SAFE_DTYPES = {
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


@dataclass(frozen=True)
class Container:
    """What a file holds.

    Attributes:
        loaded: its object; tensors are ``StoredTensor``, modules ``ModuleRecord``.
        metadata: of a safetensors file, None for pickles and torch files.
    """

    loaded: object
    metadata: dict[str, str] | None = None

    @property
    def tensors(self) -> dict[str, StoredTensor]:
        """The tensors of a safetensors file, by name; empty for other containers."""
        loaded = self.loaded if self.metadata is not None else None
        return loaded if isinstance(loaded, dict) else {}


def read_container(source: ByteSource) -> Container:
    """Return what is in a file, whatever its name says.

    Raises:
        CheckpointRefused: it is no checkpoint, is damaged, or asks for code.
    """
    if source.size == 0:
        raise source.refuse("is empty", DOWNLOAD)
    if source.size >= 10 and source.read(8, 1) == b"{":
        length = int.from_bytes(source.read(0, 8), "little")
        if length <= source.size - 8:
            return _read_safetensors(source, length)
    whole = Span(source, 0, source.size)
    head = source.read(0, min(source.size, 512))
    budget = Budget()
    if head.startswith((ZIP_START, LEGACY_START)):
        return Container(load_torch(whole, budget))
    if head[0] in PICKLE_STARTS:
        find = find_global_of_pickle(nested_loader(source, budget))
        return Container(load_pickle(Cursor(whole), find, budget))
    raise _mistake(source, head)


def _read_safetensors(source: ByteSource, length: int) -> Container:
    """Let the library check the header (no holes, no overlaps, sizes that fit) and take it over."""
    if length > MAX_HEADER_BYTES:
        raise source.refuse(f"announces a header of {length} bytes")
    tensors: dict[str, StoredTensor] = {}
    start = 8 + length
    try:
        with safe_open(source.path, framework="pt") as file:
            metadata = file.metadata() or {}
            for name in file.offset_keys():
                view = file.get_slice(name)
                dtype, shape = SAFE_DTYPES[view.get_dtype()], tuple(view.get_shape())
                span = Span(source, start, math.prod(shape) * dtype.itemsize)
                tensors[name] = StoredTensor(span, dtype, shape, contiguous_strides(shape))
                start += span.length
    except (SafetensorError, OSError, KeyError, ValueError, OverflowError) as error:
        raise source.refuse(f"has a safetensors header that cannot be read ({error})") from None
    return Container(tensors, metadata)


def _mistake(source: ByteSource, head: bytes) -> CheckpointRefused:
    for start, problem, remedy in MISTAKES:
        if head.lstrip().startswith(start):
            return source.refuse(problem, remedy)
    if head[257:262] == b"ustar":
        return source.refuse("is a tar archive", "unpack it first")
    return source.refuse(
        f"is no checkpoint (it starts with {head[:8]!r})",
        "the README lists what can be opened",
    )
