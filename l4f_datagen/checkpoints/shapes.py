"""From stored tensors to a checked state: shapes by arithmetic first, values last.

The shapes of a file tell a spec, and must then be exactly those of the network of that spec, which
is made without memory: a small file may announce layers of any width.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from l4f_datagen.core.errors import CheckpointRefused
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.models.generator import Generator, GeneratorSpec

from .byte_source import ByteSource
from .stand_ins import show
from .tensors import Entries, Shape

SIDES = [2**k for k in range(2, 11)]
# Names of the synthesis layers and of the layers to RGB, in the order in which they run.
LAYERS = ["b4.conv1", *(f"b{side}.{conv}" for side in SIDES[1:] for conv in ("conv0", "conv1"))]
RGB_LAYERS = [f"b{side}.torgb" for side in SIDES]
MAX_MAPPING_LAYERS = 64  # eight in the paper, two in many networks of the ADA code
MAX_CLAMP = 1e9  # beyond, float32 activations would not be finite long before
MAX_WIDTH = 1 << 16  # 128 times the widest network published
TOLERANCE = 1e-6  # of options: a float32 keeps seven digits
LISTED = 4  # names that a message shows
OPTIONAL = re.compile(r"w_avg|.*\.noise_const")
REMEDY = "give a complete StyleGAN2 checkpoint"
SUPPORTED = "give an unconditional StyleGAN2 with the skip architecture"

Network = TypeVar("Network", bound=nn.Module)
SCALING = (torch.Tensor.div, torch.Tensor.__truediv__)


class Unfilled(TorchFunctionMode):
    """Builds networks without the numbers they would start with.

    On the meta device random numbers and arithmetic go through torch's reference implementations,
    whose import takes over a second, and all for values that nobody looks at.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a torch function; a random tensor stays empty, and scaling leaves it as it is."""
        if func in SCALING:
            return args[0]
        return (torch.empty if func is torch.randn else func)(*args, **(kwargs or {}))


def without_memory(make: Callable[[], Network]) -> Network:
    """Make a network whose tensors have shapes and take no memory."""
    with torch.device("meta"), Unfilled():
        return make()


def filled(make: Callable[[], Network], state: Mapping[str, Tensor]) -> Network:
    """Make a network of the tensors given, which it shares; frozen, in evaluation mode."""
    network = without_memory(make)
    network.load_state_dict(dict(state), assign=True)
    network.eval().requires_grad_(False)
    return network


def state_shapes(make: Callable[[], nn.Module]) -> dict[str, Shape]:
    """Return our key -> shape of a network's state."""
    return {key: tuple(tensor.shape) for key, tensor in without_memory(make).state_dict().items()}


def agreed_clamp(source: ByteSource, clamps: Iterable[object]) -> float | None:
    """Return the bound that a network's layers clip at, None for none; they must agree."""
    found: set[float | None] = set()
    for clamp in clamps:
        number = float(clamp) if isinstance(clamp, int | float) and clamp is not True else None
        if clamp is not None and (number is None or not 0 < number < MAX_CLAMP):
            raise source.refuse(f"has the conv_clamp {show(clamp)}", REMEDY)
        found.add(number)
    if len(found) > 1:
        raise source.refuse("has layers with different conv_clamp", REMEDY)
    return found.pop() if found else None


def check_options(
    source: ByteSource,
    modules: Mapping[str, Mapping[object, object]],
    fixed: Iterable[tuple[str, str, object]],
) -> None:
    """Refuse options of modules that are not what our layers have built in, where a file has them.

    ``fixed`` has rows of a pattern for names of modules, an option, and what it must be.
    """
    for (pattern, option, wanted), (name, options) in product(fixed, modules.items()):
        if option not in options or not re.fullmatch(pattern, name):
            continue
        found = options[option]
        close = (list(found) if isinstance(found, tuple) else found) == wanted
        if isinstance(found, int | float) and isinstance(wanted, int | float):
            close = abs(found - wanted) <= TOLERANCE
        if not close:
            problem = f"has {name}.{option} = {show(found)}, expected {wanted}"
            raise source.refuse(problem, SUPPORTED)


class _Unread:
    """A network of a file before its values are read: entries, and our key -> our shape."""

    def __init__(self, source: ByteSource, entries: Entries) -> None:
        self.source, self.entries = source, entries
        self.shapes: dict[str, Shape] = {}
        self.repeated: dict[str, tuple[int, float]] = {}
        for key, entry in entries.items():
            entry.stored.check(entry.name)
            try:
                probe = torch.empty(()).expand(entry.stored.shape)
                self.shapes[key] = tuple(entry.change.view(probe).shape)
            except (RuntimeError, IndexError):
                raise self.refuse_shape(key, "which cannot become ours") from None
        tensors = [entry.stored for entry in entries.values()]
        total = sum(math.prod(tensor.shape) * tensor.dtype.itemsize for tensor in tensors)
        if total > source.size:
            raise source.refuse(f"declares {total} bytes of weights, but has {source.size} in all")

    def refuse_shape(self, key: str, problem: str) -> CheckpointRefused:
        name, shape = self.entries[key].name, list(self.entries[key].stored.shape)
        return self.source.refuse(f"{name} has the shape {shape}, {problem}", REMEDY)

    def repeat(self, keys: Iterable[str], axis: int, scale: float = 1.0) -> None:
        """Let a single channel of some tensors stand three times, each times ``scale``."""
        for key in keys:
            self.repeated[key] = axis, scale
            self.shapes[key] = tuple(3 if k == axis else n for k, n in enumerate(self.shapes[key]))

    def named(self, pattern: str) -> list[re.Match[str]]:
        """Return the matches of the keys that match."""
        return [match for key in self.shapes if (match := re.fullmatch(pattern, key))]

    def sides(self, pattern: str) -> list[int]:
        """Return the resolutions that keys name, ascending."""
        sides = sorted(int(match[1]) for match in self.named(pattern))
        if not sides or any(side not in SIDES for side in sides):
            problem = f"has layers for the sizes {sides}, expected {SIDES}"
            raise self.source.refuse(problem, REMEDY)
        return sides

    def sizes(self, key: str, count: int) -> Shape:
        """Return a shape that the spec is read from."""
        if key not in self.shapes:
            raise self.source.refuse(f"lacks {key}", REMEDY)
        if len(self.shapes[key]) != count:
            raise self.refuse_shape(key, f"expected {count} sizes")
        if max(self.shapes[key]) > MAX_WIDTH:
            raise self.refuse_shape(key, f"expected at most {MAX_WIDTH} channels")
        return self.shapes[key]

    def read_as(self, make: Callable[[], nn.Module]) -> dict[str, Tensor]:
        """Check the shapes against those of a network, and read all values: float32, contiguous."""
        wanted = state_shapes(make)
        missing = [key for key in wanted if key not in self.shapes and not OPTIONAL.fullmatch(key)]
        unknown, wrong = [], []
        for key, shape in self.shapes.items():
            name = self.entries[key].name
            if key not in wanted:
                unknown.append(name)
            elif shape != wanted[key]:
                wrong.append(f"{name} as {list(shape)}, expected {list(wanted[key])}")
        noplace = "holds {}, for which there is no place"
        for problem, names in (("lacks {}", missing), (noplace, unknown), ("holds {}", wrong)):
            if names:
                more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
                shown = ", ".join(names[:LISTED]) + more
                raise self.source.refuse(problem.format(shown), REMEDY)
        state: dict[str, Tensor] = {}
        for key, entry in self.entries.items():
            value = entry.change.values(entry.change.view(entry.stored.read()))
            if key in self.repeated:
                axis, scale = self.repeated[key]
                value = value.repeat_interleave(3, dim=axis) * scale
            state[key] = value.contiguous()
            low, high = torch.aminmax(state[key])  # one pass and no memory; NaN spreads to both
            if not (math.isfinite(low) and math.isfinite(high)):
                raise self.source.refuse(f"{entry.name} holds NaN or infinite values", REMEDY)
        return state


def generator_state(
    source: ByteSource, entries: Entries, conv_clamp: float | None
) -> tuple[dict[str, Tensor], GeneratorSpec, int]:
    """Return state, spec, and the number of image channels (3, or 1, which is repeated).

    Refused: not square, RGBA, or tensors that are missing, unknown, of wrong shape, or not finite.
    """
    unread = _Unread(source, entries)
    _check_square(unread)
    rgb = [match[0] for match in unread.named(r".*\.torgb\.(weight|bias)")]
    found = {unread.shapes[key][0] for key in rgb if unread.shapes[key]}
    for count in sorted(found - {1, 3}):
        kind = "RGBA images (4 channels)" if count == 4 else f"images of {count} channels"
        remedy = "give a generator of RGB or of grey images"
        raise source.refuse(f"is a generator of {kind}, not RGB", remedy)
    if found == {1}:
        unread.repeat(rgb, axis=0)
    sides = unread.sides(r"synthesis\.b(\d{1,4})\.conv1\.weight")
    depth = len(unread.named(r"mapping\.fc\.\d+\.weight"))
    if depth > MAX_MAPPING_LAYERS:
        raise source.refuse(f"has {depth} mapping layers", REMEDY)
    w_dim, z_dim = unread.sizes("mapping.fc.0.weight", 2)
    channels = {side: unread.sizes(f"synthesis.b{side}.conv1.weight", 4)[0] for side in sides}
    try:
        spec = GeneratorSpec(max(sides), channels, z_dim, w_dim, depth, conv_clamp)
    except ValueError as error:
        raise source.refuse(f"is no StyleGAN2 this tool knows ({error})", REMEDY) from None
    return unread.read_as(lambda: Generator(spec)), spec, 1 if found == {1} else 3


def _check_square(unread: _Unread) -> None:
    remedy = "only square networks that start at 4 x 4 can be opened"
    for key, shape in unread.shapes.items():
        if key.endswith("const") and len(shape) > 1 and shape[-2] != shape[-1]:
            shown = f"{unread.entries[key].name} has {shape[-2]} x {shape[-1]} values"
            problem = f"is a generator of images that are not square ({shown})"
            raise unread.source.refuse(problem, remedy)
    side = unread.shapes.get("synthesis.b4.const", ())[-1:]
    if side and side != (4,):
        raise unread.source.refuse(f"starts at {side[0]} x {side[0]} and not at 4 x 4", remedy)


def discriminator_state(
    source: ByteSource, entries: Entries
) -> tuple[dict[str, Tensor], int, dict[int, int]]:
    """Return state, resolution and channels by resolution of a discriminator."""
    unread = _Unread(source, entries)
    if unread.shapes.get("from_rgb.weight", ())[1:2] == (1,):
        # For three equal channels, each gives a third of the response. Equalised learning rate
        # divides by the square root of the channels, now three: 1 / 3 * sqrt(3) is left.
        unread.repeat(["from_rgb.weight"], axis=1, scale=1 / math.sqrt(3))
    blocks = len(unread.named(r"blocks\.\d+\.conv1\.weight"))
    resolution = 4 << min(blocks, 20)
    if resolution not in SIDES[2:]:
        raise source.refuse(f"has a discriminator of {blocks} blocks", REMEDY)
    names = ["from_rgb.weight", *(f"blocks.{k}.conv1.weight" for k in range(blocks))]
    channels = {resolution >> k: unread.sizes(name, 4)[0] for k, name in enumerate(names)}
    state = unread.read_as(lambda: Discriminator(resolution, channels))
    return state, resolution, channels


def alpha_state(
    source: ByteSource, entries: Entries
) -> tuple[dict[str, Tensor], tuple[int, ...], dict[int, int]]:
    """Return state, resolutions and channels by resolution of an alpha network."""
    unread = _Unread(source, entries)
    sides = unread.sides(r"first\.(\d{1,4})\.weight")
    channels = {side: unread.sizes(f"first.{side}.weight", 4)[1] for side in sides}
    return unread.read_as(lambda: AlphaNetwork(channels, sides)), tuple(sides), channels
