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
DTYPE_NAMES = {dtype: name for name, dtype in SAFE_DTYPES.items()}


@dataclass(frozen=True)
class Native:
    """The checked metadata of one of our files."""

    kind: str
    spec: Mapping[str, Any]
    licence: Licence | None
    origin: str | None
    source_sha256: str | None
    generator_fingerprint: str | None
    training: Mapping[str, Any]


def is_trained(key: str) -> bool:
    """Whether a tensor of a state is trained: all but the mean of w and the noise maps."""
    return key != "w_avg" and not key.endswith(".noise_const")


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """Return a hash that names a generator's weights, whatever file they came from.

    SHA-256 over all trained tensors (not w_avg and not the noise maps, which some containers
    lack) in the order of their names, each value rounded to half precision: a copy that is stored
    in half precision has the same fingerprint as its original.
    """
    digest = hashlib.sha256()
    for key in sorted(state):
        if not is_trained(key):
            continue
        values = state[key].detach().cpu().to(torch.float16).contiguous()
        digest.update(f"{key}{list(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class Facts(TypedDict, total=False):
    """What a file says beside its weights."""

    licence: Licence | None  # of the weights
    origin: str | None  # where they come from, one line
    source_sha256: str | None  # of the file they were converted from
    training: Mapping[str, Any] | None  # facts for the reader; any JSON


def save_generator(
    path: Path,
    spec: GeneratorSpec,
    state: Mapping[str, Tensor],
    *,
    half: bool = False,
    **facts: Unpack[Facts],
) -> None:
    """Write a generator with its mean of w and its noise maps: ``Generator(spec).state_dict()``.

    In ``half`` precision the mapping, w_avg, biases and constants stay float32.

    Raises:
        L4FError: the file cannot be written.
        ValueError: a value is NaN, infinite or too large for half precision.
    """
    names = ("resolution", "z_dim", "w_dim", "mapping_layers", "conv_clamp")
    shape = {name: getattr(spec, name) for name in names}
    _save(path, "generator", {**shape, "channels": dict(spec.channels)}, state, half, facts)


def save_discriminator(
    path: Path, discriminator: Discriminator, *, half: bool = False, **facts: Unpack[Facts]
) -> None:
    """Write a discriminator; see ``save_generator``."""
    shape = {"resolution": discriminator.resolution, "channels": discriminator.channels}
    _save(path, "discriminator", shape, discriminator.state_dict(), half, facts)


def save_alpha(
    path: Path, network: AlphaNetwork, *, generator_fingerprint: str | None, **facts: Unpack[Facts]
) -> None:
    """Write an alpha network and the fingerprint of its generator; see ``save_generator``."""
    shape = {"resolutions": network.resolutions, "channels": network.channels}
    more = {} if generator_fingerprint is None else {"generator_fingerprint": generator_fingerprint}
    _save(path, "alpha", shape, network.state_dict(), False, facts, more)


def _save(
    path: Path,
    kind: str,
    spec: Mapping[str, Any],
    state: Mapping[str, Tensor],
    half: bool,
    facts: Facts,
    more: Mapping[str, str] = {},
) -> None:
    # Text as keys, which JSON makes of them anyway: they are then sorted as text, as ever.
    channels = {str(side): width for side, width in spec["channels"].items()}
    said = json.dumps({**spec, "channels": channels}, sort_keys=True)
    metadata = {"format": FORMAT, "version": str(VERSION), "kind": kind, "spec": said, **more}
    if (licence := facts.get("licence")) is not None:
        metadata["licence"] = json.dumps(licence.facts, sort_keys=True)
    for name in ("origin", "source_sha256"):
        if (text := facts.get(name)) is not None:
            metadata[name] = str(text)
    if (training := facts.get("training")) is not None:
        metadata["training"] = json.dumps(training, sort_keys=True)
    ready: dict[str, Tensor] = {}
    for key, tensor in state.items():
        # Rounding in the mapping network moves w, and with it every pixel: it stays whole, and so
        # does what is small and added to every pixel.
        whole = key.startswith(("mapping.", "w_avg")) or key.endswith(("bias", "const"))
        rounded = half and not whole
        ready[key] = tensor.to(torch.float16) if rounded else tensor.float()
        if not torch.isfinite(ready[key]).all():
            raise ValueError(f"{key} is not finite as {ready[key].dtype}")
    write_safetensors(path, ready, metadata)


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
        spec = json.loads(metadata["spec"])
        training = json.loads(metadata.get("training", "{}"))
        if not isinstance(spec, dict) or not isinstance(training, dict):
            raise ValueError("spec or training is no object")
        return Native(
            kind=found,
            spec=spec,
            licence=None if licence is None else _licence(licence),
            origin=metadata.get("origin"),
            source_sha256=metadata.get("source_sha256"),
            generator_fingerprint=metadata.get("generator_fingerprint"),
            training=training,
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise source.refuse(f"has metadata that cannot be read ({error})") from None


def _licence(value: object) -> Licence:
    needed = {"name", "link", "commercial"}
    if not isinstance(value, dict) or set(value) - {"attribution"} != needed:
        raise ValueError("a licence without name, link and commercial")
    name, link, commercial = value["name"], value["link"], value["commercial"]
    attribution = value.get("attribution")
    if not isinstance(name, str) or not all(isinstance(v, str | None) for v in (link, attribution)):
        raise ValueError("a licence whose name, link or attribution is no text")
    if not isinstance(commercial, bool | None):
        raise ValueError("a licence whose commercial is neither true nor false")
    return Licence(name, link, commercial, attribution)


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
        header[name] = {
            "dtype": DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    try:
        with staged(path) as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in order:
                values = tensors[name].detach().cpu().contiguous().reshape(-1)
                file.write(values.view(torch.uint8).numpy().data)
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        remedy = "check the folder, its permissions and the free space"
        raise L4FError(str(path), problem, remedy) from None
