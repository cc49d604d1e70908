"""Which tensors, of which shapes, a network of given widths holds, by arithmetic alone.

A file's shapes are compared with these before any network is made: making one first would take
the memory that a small file with wide layers asks for.
"""

from collections.abc import Iterator, Mapping, Sequence

from l4f_datagen.models.alpha_network import READ_CHANNELS
from l4f_datagen.models.spec import GeneratorSpec

Shape = tuple[int, ...]
Shapes = dict[str, Shape]


def generator_shapes(spec: GeneratorSpec) -> Shapes:
    """Return the state of ``Generator(spec)`` as key -> shape."""
    shapes: Shapes = {"w_avg": (spec.w_dim,)}
    for k in range(spec.mapping_layers):
        shapes[f"mapping.fc.{k}.weight"] = (spec.w_dim, spec.w_dim if k else spec.z_dim)
        shapes[f"mapping.fc.{k}.bias"] = (spec.w_dim,)
    for side in spec.resolutions:
        block, width = f"synthesis.b{side}", spec.channels[side]
        if side == 4:
            shapes[f"{block}.const"] = (width, 4, 4)
        else:
            shapes |= _layer(f"{block}.conv0", spec.channels[side // 2], width, spec.w_dim, side)
        shapes |= _layer(f"{block}.conv1", width, width, spec.w_dim, side)
        shapes |= _affine(f"{block}.torgb", width, spec.w_dim)
        shapes[f"{block}.torgb.weight"] = (3, width, 1, 1)
        shapes[f"{block}.torgb.bias"] = (3,)
    return shapes


def discriminator_shapes(resolution: int, channels: Mapping[int, int]) -> Shapes:
    """Return the state of ``Discriminator(resolution, channels)`` as key -> shape."""
    shapes = dict(_conv("from_rgb", 3, channels[resolution], 1))
    side = resolution
    for k in range(resolution.bit_length() - 3):
        wide, narrow = channels[side], channels[side // 2]
        shapes |= dict(_conv(f"blocks.{k}.conv0", wide, wide, 3))
        shapes |= dict(_conv(f"blocks.{k}.conv1", wide, narrow, 3))
        shapes[f"blocks.{k}.skip.weight"] = (narrow, wide, 1, 1)
        side //= 2
    shapes |= dict(_conv("conv", channels[4] + 1, channels[4], 3))  # one channel of deviations
    shapes |= {"fc.weight": (channels[4], channels[4] * 16), "fc.bias": (channels[4],)}
    return shapes | {"out.weight": (1, channels[4]), "out.bias": (1,)}


def alpha_shapes(channels: Mapping[int, int], resolutions: Sequence[int]) -> Shapes:
    """Return the state of ``AlphaNetwork(channels, resolutions)`` as key -> shape."""
    shapes: Shapes = {}
    width = 2 * READ_CHANNELS
    for side in resolutions:
        for read in ("first", "second"):
            shapes |= dict(_conv(f"{read}.{side}", channels[side], READ_CHANNELS, 1))
    for side in resolutions[1:-1]:
        shapes |= dict(_conv(f"merge.{side}", 2 * width, width, 1))
    return shapes | dict(_conv("out", width, 1, 1))


def _conv(name: str, c_in: int, c_out: int, kernel: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (c_out, c_in, kernel, kernel)
    yield f"{name}.bias", (c_out,)


def _affine(name: str, c_in: int, w_dim: int) -> Shapes:
    return {f"{name}.affine.weight": (c_in, w_dim), f"{name}.affine.bias": (c_in,)}


def _layer(name: str, c_in: int, c_out: int, w_dim: int, side: int) -> Shapes:
    return {
        **_affine(name, c_in, w_dim),
        **dict(_conv(name, c_in, c_out, 3)),
        f"{name}.noise_strength": (),
        f"{name}.noise_const": (side, side),
    }
