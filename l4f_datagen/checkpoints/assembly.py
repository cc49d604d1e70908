"""From stored tensors under foreign names to a checked state of our networks.

Shapes are settled by arithmetic before a value is read: they must be exactly those of the network
whose spec they tell.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from l4f_datagen.models.spec import GeneratorSpec

from .changes import KEEP, Change
from .expected import Shapes, alpha_shapes, discriminator_shapes, generator_shapes
from .storage import ByteSource, StoredTensor

MAX_MAPPING_LAYERS = 64
SIDES = [2**k for k in range(2, 11)]
OPTIONAL = re.compile(r"w_avg|.*\.noise_const")
LISTED = 4
REMEDY = "give a complete StyleGAN2 checkpoint"


@dataclass(frozen=True)
class Entry:
    """One tensor on its way into our state.

    Attributes:
        name: its name in the file, for messages.
        stored: where its values are.
        change: what makes our values of the file's.
    """

    name: str
    stored: StoredTensor
    change: Change = KEEP


Entries = Mapping[str, Entry]


def add_entry(source: ByteSource, entries: dict[str, Entry], key: str, entry: Entry) -> None:
    """Add an entry under our key.

    Raises:
        CheckpointRefused: two names of the file mean the same tensor.
    """
    if key in entries:
        raise source.refuse(f"holds both {entries[key].name} and {entry.name}", REMEDY)
    entries[key] = entry


def generator_state(
    source: ByteSource, entries: Entries, conv_clamp: float | None
) -> tuple[GeneratorSpec, dict[str, Tensor]]:
    """Return spec and state of a generator.

    Raises:
        CheckpointRefused: tensors that are missing, unknown, of wrong shape, or not finite.
    """
    shapes = _shapes_of(source, entries)
    sides = _sides(source, shapes, r"synthesis\.b(\d{1,4})\.conv1\.weight")
    depth = sum(bool(re.fullmatch(r"mapping\.fc\.\d+\.weight", key)) for key in shapes)
    if depth > MAX_MAPPING_LAYERS:
        raise source.refuse(f"has {depth} mapping layers", REMEDY)
    w_dim, z_dim = _sizes(source, shapes, entries, "mapping.fc.0.weight", 2)
    channels = {
        side: _sizes(source, shapes, entries, f"synthesis.b{side}.conv1.weight", 4)[0]
        for side in sides
    }
    try:
        spec = GeneratorSpec(max(sides), channels, z_dim, w_dim, depth, conv_clamp)
    except ValueError as error:
        raise source.refuse(f"is no StyleGAN2 this tool knows ({error})", REMEDY) from None
    _compare(source, entries, shapes, generator_shapes(spec))
    return spec, _read_state(source, entries)


def discriminator_state(
    source: ByteSource, entries: Entries
) -> tuple[int, dict[int, int], dict[str, Tensor]]:
    """Return resolution, channels by resolution and state of a discriminator.

    Raises:
        CheckpointRefused: tensors that are missing, unknown, of wrong shape, or not finite.
    """
    shapes = _shapes_of(source, entries)
    blocks = sum(bool(re.fullmatch(r"blocks\.\d+\.conv1\.weight", key)) for key in shapes)
    resolution = 4 << min(blocks, 20)
    if resolution not in SIDES[2:]:
        raise source.refuse(f"has a discriminator of {blocks} blocks", REMEDY)
    widths = ["from_rgb.weight", *(f"blocks.{k}.conv1.weight" for k in range(blocks))]
    channels = {
        resolution >> k: _sizes(source, shapes, entries, name, 4)[0]
        for k, name in enumerate(widths)
    }
    _compare(source, entries, shapes, discriminator_shapes(resolution, channels))
    return resolution, channels, _read_state(source, entries)


def alpha_state(
    source: ByteSource, entries: Entries
) -> tuple[tuple[int, ...], dict[int, int], dict[str, Tensor]]:
    """Return resolutions, channels by resolution and state of an alpha network.

    Raises:
        CheckpointRefused: tensors that are missing, unknown, of wrong shape, or not finite.
    """
    shapes = _shapes_of(source, entries)
    sides = _sides(source, shapes, r"first\.(\d{1,4})\.weight")
    channels = {
        side: _sizes(source, shapes, entries, f"first.{side}.weight", 4)[1] for side in sides
    }
    _compare(source, entries, shapes, alpha_shapes(channels, sides))
    return tuple(sides), channels, _read_state(source, entries)


def _shapes_of(source: ByteSource, entries: Entries) -> Shapes:
    """Return our key -> our shape, reading no values."""
    shapes: Shapes = {}
    total = 0
    for key, entry in entries.items():
        entry.stored.check(entry.name)
        total += entry.stored.nbytes
        try:
            shapes[key] = entry.change.shape(entry.stored.shape)
        except ValueError as error:
            shape = list(entry.stored.shape)
            raise source.refuse(f"{entry.name} has the shape {shape}, {error}", REMEDY) from None
    if total > source.size:
        raise source.refuse(f"declares {total} bytes of weights, but has {source.size} in all")
    return shapes


def _sides(source: ByteSource, shapes: Shapes, pattern: str) -> list[int]:
    sides = sorted(int(match[1]) for key in shapes if (match := re.fullmatch(pattern, key)))
    if not sides or any(side not in SIDES for side in sides):
        raise source.refuse(f"has layers for the sizes {sides}, expected {SIDES}", REMEDY)
    return sides


def _sizes(
    source: ByteSource, shapes: Shapes, entries: Entries, key: str, count: int
) -> tuple[int, ...]:
    """Return a shape that the spec is read from."""
    if key not in shapes:
        raise source.refuse(f"lacks {key}", REMEDY)
    if len(shapes[key]) != count:
        name, shape = entries[key].name, list(entries[key].stored.shape)
        raise source.refuse(f"{name} has the shape {shape}, expected {count} sizes", REMEDY)
    return shapes[key]


def _compare(source: ByteSource, entries: Entries, shapes: Shapes, wanted: Shapes) -> None:
    missing = [key for key in wanted if key not in shapes and not OPTIONAL.fullmatch(key)]
    if missing:
        raise source.refuse(f"lacks {_listed(missing)}", REMEDY)
    unknown = [entries[key].name for key in shapes if key not in wanted]
    if unknown:
        raise source.refuse(f"holds {_listed(unknown)}, for which there is no place", REMEDY)
    wrong = [
        f"{entries[key].name} as {list(shapes[key])}, expected {list(wanted[key])}"
        for key in shapes
        if shapes[key] != wanted[key]
    ]
    if wrong:
        raise source.refuse(f"holds {_listed(wrong)}", REMEDY)


def _read_state(source: ByteSource, entries: Entries) -> dict[str, Tensor]:
    """Read all values, float32, contiguous."""
    state: dict[str, Tensor] = {}
    for key, entry in entries.items():
        tensor = entry.change.values(entry.stored.read()).contiguous()
        low, high = torch.aminmax(tensor)  # one pass and no memory; NaN spreads to both
        if not (math.isfinite(low) and math.isfinite(high)):
            raise source.refuse(f"{entry.name} holds NaN or infinite values", REMEDY)
        state[key] = tensor
    return state


def _listed(names: Sequence[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
