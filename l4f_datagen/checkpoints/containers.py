"""Which container a file is, told by its first bytes, and what is in it."""

from dataclasses import dataclass

from l4f_datagen.core.errors import CheckpointRefused

from .allowed import nvidia_globals
from .cursor import Cursor
from .machine import Budget
from .pickles import load_pickle
from .safetensors import is_safetensors, read_header
from .storage import ByteSource, Span, StoredTensor
from .torchfile import LEGACY_START, ZIP_START, load_torch, nested_loader

DOWNLOAD = "download the checkpoint itself"
# First bytes of files that people give by mistake.
MISTAKES = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file it points to", "git lfs pull"),
    (b"<", "is a web page or XML, not a checkpoint", DOWNLOAD),
    (b"\x89PNG", "is a PNG picture", "give a checkpoint file"),
    (b"\xff\xd8\xff", "is a JPEG picture", "give a checkpoint file"),
    (b"GIF8", "is a GIF picture", "give a checkpoint file"),
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


@dataclass(frozen=True)
class TorchFile:
    """The object of a file of torch.save; tensors are unread."""

    loaded: object


@dataclass(frozen=True)
class PickleFile:
    """The object of a plain pickle; tensors are unread."""

    loaded: object


@dataclass(frozen=True)
class SafeFile:
    """Metadata and tensors of a safetensors file; tensors are unread."""

    metadata: dict[str, str]
    tensors: dict[str, StoredTensor]


def read_container(source: ByteSource) -> TorchFile | PickleFile | SafeFile:
    """Return what is in a file, whatever its name says.

    Raises:
        CheckpointRefused: it is no checkpoint, is damaged, or asks for code.
    """
    if source.size == 0:
        raise source.refuse("is empty", DOWNLOAD)
    if is_safetensors(source):
        return SafeFile(*read_header(source))
    whole = Span(source, 0, source.size)
    head = source.read(0, min(source.size, 512))
    budget = Budget()
    if head.startswith((ZIP_START, LEGACY_START)):
        return TorchFile(load_torch(whole, budget))
    if head[:1] in [bytes([first]) for first in PICKLE_STARTS]:
        allowed = nvidia_globals(nested_loader(source, budget))
        return PickleFile(load_pickle(Cursor(whole), allowed, budget))
    raise _mistake(source, head)


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
