"""Our own checkpoints: safetensors that say what they are, where they come from, and for what use.

Metadata, all text: ``format`` ("l4f-datagen"), ``version``, ``kind`` (generator, discriminator,
alpha, segmenter), ``spec`` (JSON), and where known ``licence`` (JSON), ``origin``,
``source_sha256``, ``generator_fingerprint`` (alpha) and ``training`` (JSON).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor

from l4f_datagen.core.errors import L4FError
from l4f_datagen.io.disk import staged
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.models.generator import GeneratorSpec
from l4f_datagen.recipe.catalogue import Licence

from .byte_source import ByteSource
from .containers import SAFE_DTYPES

FORMAT = "l4f-datagen"
VERSION = 1  # of the metadata; raised when an older version could not read a new file
KINDS = ("generator", "discriminator", "alpha", "segmenter")
TEXTS = ("origin", "source_sha256", "generator_fingerprint")
DTYPE_NAMES = {dtype: name for name, dtype in SAFE_DTYPES.items()}


@dataclass(frozen=True)
class Native:
    """The checked metadata of one of our files."""

    kind: str
    spec: Mapping[str, Any]
    licence: Licence | None
    training: Mapping[str, Any]
    origin: str | None
    source_sha256: str | None
    generator_fingerprint: str | None


def is_trained(key: str) -> bool:
    """Whether a tensor of a state is trained: all but the mean of w and the noise maps."""
    return key != "w_avg" and not key.endswith(".noise_const")


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """Return a hash that names a generator's weights, whatever file they came from.

    SHA-256 over all trained tensors (not w_avg and not the noise maps, which some containers
    lack) in the order of their names, each value rounded to half precision: a copy stored so has
    the fingerprint of its original.
    """
    digest = hashlib.sha256()
    for key in filter(is_trained, sorted(state)):
        digest.update(f"{key}{list(state[key].shape)}".encode())
        digest.update(_bytes_of(state[key].half()))
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


class Facts(TypedDict, total=False):
    """How a file is written, and what it says beside its weights."""

    half: bool  # in half precision what that leaves as it is, see ``save_generator``
    licence: Licence | None  # of the weights
    origin: str | None  # where they come from, one line
    source_sha256: str | None  # of the file they were converted from
    generator_fingerprint: str | None  # of the generator that an alpha network was trained on
    training: Mapping[str, Any] | None  # facts for the reader; any JSON


def save_generator(
    path: Path, spec: GeneratorSpec, state: Mapping[str, Tensor], **facts: Unpack[Facts]
) -> None:
    """Write a generator with its mean of w and its noise maps: ``Generator(spec).state_dict()``.

    In ``half`` precision the mapping, w_avg, biases and constants stay float32, and so does a
    tensor with a value beyond 65,504. L4FError where the file cannot be written, ValueError where
    a value is NaN or infinite.
    """
    names = ("resolution", "z_dim", "w_dim", "mapping_layers", "conv_clamp", "channels")
    _save(path, "generator", {name: getattr(spec, name) for name in names}, state, facts)


def save_discriminator(path: Path, discriminator: Discriminator, **facts: Unpack[Facts]) -> None:
    """Write a discriminator; see ``save_generator``."""
    shape = {"resolution": discriminator.resolution, "channels": discriminator.channels}
    _save(path, "discriminator", shape, discriminator.state_dict(), facts)


def save_alpha(path: Path, network: AlphaNetwork, **facts: Unpack[Facts]) -> None:
    """Write an alpha network, never in half precision; see ``save_generator``."""
    shape = {"resolutions": network.resolutions, "channels": network.channels}
    _save(path, "alpha", shape, network.state_dict(), facts | {"half": False})


def _save(
    path: Path, kind: str, spec: Mapping[str, Any], state: Mapping[str, Tensor], facts: Facts
) -> None:
    # Text as keys, which JSON makes of them anyway: they are then sorted as text, as ever.
    channels = {str(side): width for side, width in spec["channels"].items()}
    licence, training = facts.get("licence"), facts.get("training")
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "kind": kind,
        "spec": json.dumps({**spec, "channels": channels}, sort_keys=True),
        "licence": json.dumps(licence.facts, sort_keys=True) if licence else None,
        "training": None if training is None else json.dumps(training, sort_keys=True),
        **{name: facts.get(name) for name in TEXTS},
    }
    ready: dict[str, Tensor] = {}
    for key, tensor in state.items():
        # Rounding in the mapping network moves w, and with it every pixel: it stays whole, and so
        # do what is small and added to every pixel, and what half precision cannot hold.
        whole = key.startswith(("mapping.", "w_avg")) or key.endswith(("bias", "const"))
        rounded = tensor.half()
        half = facts.get("half") and not whole and _finite(rounded)
        ready[key] = rounded if half else tensor.float()
        if not _finite(ready[key]):
            raise ValueError(f"{key} holds NaN or infinite values")
    write_safetensors(path, ready, {k: str(v) for k, v in metadata.items() if v is not None})


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


def read_metadata(source: ByteSource, metadata: Mapping[str, str], kind: str | None) -> Native:
    """Return the checked metadata of one of our files (``kind`` None: whatever it holds)."""
    if metadata.get("format") != FORMAT:
        remedy = "give the original checkpoint, or a file that `l4f-datagen convert` wrote"
        raise source.refuse("is a safetensors file of another program", remedy)
    if metadata.get("version") != str(VERSION):
        version = str(metadata.get("version"))[:20]
        raise source.refuse(f"has the format version {version!r}", "install a newer l4f-datagen")
    found = metadata.get("kind", "")
    if found not in KINDS or kind not in (None, found):
        raise source.refuse(f"holds {found[:40]!r}, expected {kind!r}", "give the other file")
    try:
        licence = json.loads(metadata.get("licence", "null"))
        spec, training = json.loads(metadata["spec"]), json.loads(metadata.get("training", "{}"))
        if not isinstance(spec, dict) or not isinstance(training, dict):
            raise ValueError("spec or training is no object")
        known = None if licence is None else _licence(licence)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise source.refuse(f"has metadata that cannot be read ({error})") from None
    return Native(found, spec, known, training, **{name: metadata.get(name) for name in TEXTS})


def _licence(value: object) -> Licence:
    if isinstance(value, dict) and set(value) - {"attribution"} == {"name", "link", "commercial"}:
        texts = value["name"], value["link"] or "", value.get("attribution") or ""
        if all(isinstance(t, str) for t in texts) and isinstance(value["commercial"], bool | None):
            return Licence(**value)
    raise ValueError("a licence without a sound name, link, commercial and attribution")


def write_safetensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file: staged as ``.part``, then renamed. Same input, same bytes.

    Not by the library, which orders the metadata by a hash that differs from run to run: two files
    of the same weights must be the same bytes.
    """
    # Wide types first, so that every tensor is aligned to its element size.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name in order:
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.dtype.itemsize
        facts = {"dtype": DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape)}
        header[name] = {**facts, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    try:
        with staged(path) as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in order:
                file.write(_bytes_of(tensors[name]))
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        remedy = "check the folder, its permissions and the free space"
        raise L4FError(str(path), problem, remedy) from None
