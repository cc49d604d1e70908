"""From stored tensors to a checked state: shapes by arithmetic first, values last.

The shapes of a file tell a spec, and must then be exactly those of the network of that spec, which
is made without memory: a small file may announce layers of any width.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.models.generator import Generator
from l4f_datagen.models.spec import GeneratorSpec

from .pickle_machine.machine import show
from .pickle_machine.source import ByteSource
from .tensors import Change, Entries, Entry, Shape

Shapes = dict[str, Shape]
SIDES = [2**k for k in range(2, 11)]
# Names of the synthesis layers and of the layers to RGB, in the order in which they run.
LAYERS = ["b4.conv1", *(f"b{side}.{conv}" for side in SIDES[1:] for conv in ("conv0", "conv1"))]
RGB_LAYERS = [f"b{side}.torgb" for side in SIDES]
# Eight in the paper, two in many networks of the ADA code.
MAX_MAPPING_LAYERS = 64
MAX_CLAMP = 1e9  # beyond, float32 activations would not be finite long before
OPTIONAL = re.compile(r"w_avg|.*\.noise_const")
MAX_WIDTH = 1 << 16  # 128 times the widest network published
LISTED = 4  # names that a message shows
REMEDY = "give a complete StyleGAN2 checkpoint"


Network = TypeVar("Network", bound=nn.Module)
SCALING = (torch.Tensor.div, torch.Tensor.__truediv__)


class Unfilled(TorchFunctionMode):
    """Builds networks without the numbers they would start with.

    On the meta device random numbers and arithmetic go through torch's reference implementations,
    whose import takes over a second, and all for values that nobody looks at.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run a torch function; a random tensor stays empty, and scaling leaves it as it is."""
        if func in SCALING:
            return args[0]
        return (torch.empty if func is torch.randn else func)(*args, **(kwargs or {}))


def without_memory(make: Callable[[], Network]) -> Network:
    """Make a network whose tensors have shapes and take no memory."""
    with torch.device("meta"), Unfilled():
        return make()


def filled(network: Network, state: Mapping[str, Tensor]) -> Network:
    """Put tensors into a network without memory; it is then frozen, in evaluation mode."""
    network.load_state_dict(dict(state), assign=True)
    network.eval().requires_grad_(False)
    return network


def state_shapes(network: nn.Module) -> Shapes:
    """Return our key -> shape of a network's state."""
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}


def agreed_clamp(source: ByteSource, clamps: Sequence[object]) -> float | None:
    """Return the bound that a network's layers clip at, None for none.

    Raises:
        CheckpointRefused: layers differ, or a bound is no positive number.
    """
    found: set[float | None] = set()
    for clamp in clamps:
        if clamp is None:
            found.add(None)
        elif isinstance(clamp, int | float) and clamp is not True and 0 < clamp < MAX_CLAMP:
            found.add(float(clamp))
        else:
            raise source.refuse(f"has the conv_clamp {show(clamp)}", REMEDY)
    if len(found) > 1:
        raise source.refuse("has layers with different conv_clamp", REMEDY)
    return found.pop() if found else None


def generator_state(
    source: ByteSource, entries: Entries, conv_clamp: float | None
) -> tuple[Generator, dict[str, Tensor], int]:
    """Return a generator without memory, its state, and the number of its image channels (1 or 3).

    A network of one channel becomes one of three equal channels.

    Raises:
        CheckpointRefused: not square, RGBA, or tensors that are missing, unknown, of wrong shape,
            or not finite.
    """
    shapes = _shapes_of(source, entries)
    _check_square(source, entries, shapes)
    entries, image_channels = _as_rgb(source, entries, shapes)
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
    network = without_memory(lambda: Generator(spec))
    _compare(source, entries, shapes, state_shapes(network))
    return network, _read_state(source, entries), image_channels


def _check_square(source: ByteSource, entries: Entries, shapes: Shapes) -> None:
    remedy = "only square networks that start at 4 x 4 can be opened"
    for key, shape in shapes.items():
        if not key.endswith((".const", ".noise_const")) or len(shape) < 2:
            continue
        height, width = shape[-2:]
        if height != width:
            shown = f"{entries[key].name} has {height} x {width} values"
            raise source.refuse(f"is a generator of images that are not square ({shown})", remedy)
        if key == "synthesis.b4.const" and height != 4:
            raise source.refuse(f"starts at {height} x {width} and not at 4 x 4", remedy)


def _as_rgb(source: ByteSource, entries: Entries, shapes: Shapes) -> tuple[Entries, int]:
    """Return entries whose layers to RGB have three channels, and how many the file has."""
    keys = [key for key in shapes if re.fullmatch(r".*\.torgb\.(weight|bias)", key)]
    found = {shapes[key][0] for key in keys if shapes[key]}
    if found == {1}:
        three = {key: replace(entries[key], change=_repeated(entries[key].change)) for key in keys}
        return {**entries, **three}, 1
    for count in sorted(found - {1, 3}):
        kind = "RGBA images (4 channels)" if count == 4 else f"images of {count} channels"
        remedy = "give a generator of RGB or of grey images"
        raise source.refuse(f"is a generator of {kind}, not RGB", remedy)
    return entries, 3


def _repeated(change: Change) -> Change:
    def values(tensor: Tensor) -> Tensor:
        made = change.values(tensor)
        return made.expand(3, *made.shape[1:])

    return Change(lambda shape: (3, *change.shape(shape)[1:]), values)


def discriminator_state(
    source: ByteSource, entries: Entries
) -> tuple[int, dict[int, int], dict[str, Tensor]]:
    """Return resolution, channels by resolution and state of a discriminator.

    Raises:
        CheckpointRefused: tensors that are missing, unknown, of wrong shape, or not finite.
    """
    first, shapes = "from_rgb.weight", _shapes_of(source, entries)
    if shapes.get(first, ())[1:2] == (1,):
        entries = {**entries, first: _of_grey(entries[first])}
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
    _compare(
        source,
        entries,
        shapes,
        state_shapes(without_memory(lambda: Discriminator(resolution, channels))),
    )
    return resolution, channels, _read_state(source, entries)


def _of_grey(entry: Entry) -> Entry:
    """Return the first layer of a network for grey images as one for three equal channels.

    Each channel gets a third of the response. Equalised learning rate divides by the square root
    of the channels, which have become three: 1 / 3 * sqrt(3) is left.
    """
    change = entry.change

    def values(tensor: Tensor) -> Tensor:
        made = change.values(tensor)
        return made.expand(made.shape[0], 3, *made.shape[2:]) / math.sqrt(3)

    def shape(sizes: Shape) -> Shape:
        made = change.shape(sizes)
        return (made[0], 3, *made[2:])

    return replace(entry, change=Change(shape, values))


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
    _compare(
        source, entries, shapes, state_shapes(without_memory(lambda: AlphaNetwork(channels, sides)))
    )
    return tuple(sides), channels, _read_state(source, entries)


def _shapes_of(source: ByteSource, entries: Entries) -> Shapes:
    """Return our key -> our shape, reading no values."""
    shapes: Shapes = {}
    total = 0
    for key, entry in entries.items():
        entry.stored.check(entry.name)
        total += entry.stored.nbytes
        try:
            shapes[key] = entry.shape
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
    if max(shapes[key]) > MAX_WIDTH:
        name, shape = entries[key].name, list(entries[key].stored.shape)
        problem = f"{name} has the shape {shape}, expected at most {MAX_WIDTH} channels"
        raise source.refuse(problem, REMEDY)
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
