"""The StyleGAN2 generator: z -> w -> image, and the features the alpha network reads."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from l4f_datagen.models.layers import EPS, EqualLinear, SynthesisLayer, ToRGB, bounded, upsample_rgb

NoiseMode = Literal["const", "random", "none"]
Mute = Literal["conv1", "const"]
Features = dict[int, list[Tensor]]

# rosinality's tools average 4,096 w that they draw anew each time; 10,000 of a fixed seed keep the
# mean within 1 % of a deviation and are always the same.
W_AVG_DRAWS = 10_000
W_AVG_SEED = 1000


@dataclass(frozen=True)
class GeneratorSpec:
    """Everything that fixes the generator's shape.

    Attributes:
        resolution: side of the square image, a power of two from 16 to 1024.
        channels: resolution -> channels of that block, for 4, 8, ... resolution.
        mapping_layers: depth of the mapping network (8 in the paper, 2 in many ADA nets).
        conv_clamp: bound that the checkpoint's layers clip at, None for none.
    """

    resolution: int
    channels: Mapping[int, int]
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    conv_clamp: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: resolution, widths or depth that no StyleGAN2 can have.
        """
        sides = [2**k for k in range(4, 11)]
        if self.resolution not in sides:
            raise ValueError(f"resolution must be one of {sides}, got {self.resolution}")
        if sorted(self.channels) != self.resolutions:
            named = sorted(self.channels)
            raise ValueError(f"channels must name {self.resolutions}, got {named}")
        numbers = [*self.channels.values(), self.z_dim, self.w_dim, self.mapping_layers]
        if min(numbers) < 1:
            raise ValueError(f"widths and depth must be at least 1, got {numbers}")

    @property
    def resolutions(self) -> list[int]:
        """4, 8, ... resolution."""
        return [2**k for k in range(2, int(math.log2(self.resolution)) + 1)]

    @property
    def num_ws(self) -> int:
        """Number of w a full W+ code has: 2 log2(resolution) - 2."""
        return 2 * len(self.resolutions)


def draw_z(seeds: Sequence[int], z_dim: int) -> NDArray[np.float32]:
    """Return ``batch z_dim``: one ``RandomState(seed)`` stream per sample, as NVIDIA's tools do."""
    rows = [np.random.RandomState(seed).randn(z_dim) for seed in seeds]
    return np.stack(rows).astype(np.float32)


class MappingNetwork(nn.Module):
    """z -> w: normalisation, then fully connected layers with learning rate multiplier 0.01."""

    def __init__(self, z_dim: int, w_dim: int, num_layers: int) -> None:
        super().__init__()
        self.fc = nn.ModuleList(
            EqualLinear(w_dim if k else z_dim, w_dim, lr_multiplier=0.01, activate=True)
            for k in range(num_layers)
        )

    def forward(self, z: Float[Tensor, "batch z_dim"]) -> Float[Tensor, "batch w_dim"]:
        """Return w, ``batch w_dim``, untruncated."""
        x = z.float()
        x = x * (x.square().mean(dim=1, keepdim=True) + EPS).rsqrt()
        for layer in self.fc:
            x = layer(x)
        return x


@torch.no_grad()
def estimate_w_avg(mapping: MappingNetwork, z_dim: int) -> Float[Tensor, " w_dim"]:
    """Mean of w over a fixed draw of 10,000 z, for checkpoints that store none."""
    stream = np.random.RandomState(W_AVG_SEED)
    z = stream.randn(W_AVG_DRAWS, z_dim).astype(np.float32)
    w: Tensor = mapping(torch.from_numpy(z))
    return w.mean(dim=0)


class Synthesis(NamedTuple):
    """What one synthesis pass gives.

    Attributes:
        image: ``batch 3 h w``, nominal range [-1, 1], not clipped, float32.
        features: resolution -> trunk activations ``batch c h w``, one at 4 px, two elsewhere.
        rgb_maps: resolution -> that resolution's ToRGB contribution before the skip sum.
    """

    image: Tensor
    features: Features
    rgb_maps: dict[int, Tensor]


class Half(NamedTuple):
    """Half precision (float16 or bfloat16) from the resolution ``lowest`` on; float32 below.

    The top resolutions take most of the time and show rounding least.
    """

    dtype: torch.dtype
    lowest: int


class SynthesisBlock(nn.Module):
    """One resolution: (up-sampling layer,) plain layer, ToRGB. The 4 px block owns the constant."""

    def __init__(self, resolution: int, c_in: int, c_out: int, w_dim: int, clamp: float | None):
        super().__init__()
        if resolution == 4:
            self.const = nn.Parameter(torch.randn(c_out, 4, 4))
        else:
            self.conv0 = SynthesisLayer(
                c_in, c_out, w_dim=w_dim, resolution=resolution, up=True, conv_clamp=clamp
            )
        self.conv1 = SynthesisLayer(
            c_out, c_out, w_dim=w_dim, resolution=resolution, up=False, conv_clamp=clamp
        )
        self.torgb = ToRGB(c_out, w_dim=w_dim, conv_clamp=clamp)


class SynthesisNetwork(nn.Module):
    """ws -> image and features, skip architecture."""

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        self.resolutions = spec.resolutions
        for resolution in spec.resolutions:
            c_in = spec.channels.get(resolution // 2, 0)
            c_out = spec.channels[resolution]
            block = SynthesisBlock(resolution, c_in, c_out, spec.w_dim, spec.conv_clamp)
            self.add_module(f"b{resolution}", block)

    def layers(self) -> list[SynthesisLayer]:
        """The convolution layers in the order of their noise inputs."""
        blocks = [self.get_submodule(f"b{resolution}") for resolution in self.resolutions]
        names = ("conv0", "conv1")
        return [getattr(block, name) for block in blocks for name in names if hasattr(block, name)]

    def forward(
        self,
        ws: Float[Tensor, "batch num_ws w_dim"],
        noise: Sequence[Tensor | None],
        mute: Mute | None = None,
        *,
        half: Half | None = None,
        mirror_at: int | None = None,
    ) -> Synthesis:
        """Run the trunk.

        Args:
            ws: one w per layer, ``batch num_ws w_dim``.
            noise: one map per layer, ``1 1 h w`` or ``batch 1 h w``, or None for no noise.
            mute: "conv1" zeroes the output of the first 4x4 layer, "const" the constant input
                (the authors' two background rules; Labels4Free, sec. 3).
            half: run the top resolutions in half precision; features come in it too, the image
                is summed in float32.
            mirror_at: mirror left and right after the block of this resolution; the finer layers,
                with mirrored noise, finish a mirrored layout. All that is returned is mirrored.
        """
        noises = iter(noise)
        features: Features = {}
        rgb_maps: dict[int, Tensor] = {}
        image: Tensor | None = None
        start = self.get_submodule("b4")
        assert isinstance(start, SynthesisBlock)
        x = start.const.expand(ws.shape[0], -1, -1, -1)
        x = torch.zeros_like(x) if mute == "const" else x
        row = 0
        for resolution in self.resolutions:
            block = self.get_submodule(f"b{resolution}")
            assert isinstance(block, SynthesisBlock)
            if half is not None and resolution >= half.lowest:
                x = bounded(x.to(half.dtype), None)
            if resolution == 4:
                x = block.conv1(x, ws[:, 0], next(noises))
                x = torch.zeros_like(x) if mute == "conv1" else x
                features[4] = [x]
                row = 1
            else:
                first = block.conv0(x, ws[:, row], next(noises))
                x = block.conv1(first, ws[:, row + 1], next(noises))
                features[resolution] = [first, x]
                row += 2
            # ToRGB shares its w with the first layer of the next resolution.
            rgb = block.torgb(x, ws[:, row])
            rgb_maps[resolution] = rgb
            image = rgb.float() if image is None else upsample_rgb(image) + rgb.float()
            if resolution == mirror_at:
                x, image = x.flip(3), image.flip(3)
                features = {side: [kept.flip(3) for kept in two] for side, two in features.items()}
                rgb_maps = {side: kept.flip(3) for side, kept in rgb_maps.items()}
                noises = (None if left is None else left.flip(3) for left in noises)
        assert image is not None
        return Synthesis(image, features, rgb_maps)


class Generator(nn.Module):
    """Mapping and synthesis, with the stored mean of w that truncation pulls to."""

    w_avg: Tensor

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        self.spec = spec
        self.mapping = MappingNetwork(spec.z_dim, spec.w_dim, spec.mapping_layers)
        self.synthesis = SynthesisNetwork(spec)
        self.register_buffer("w_avg", torch.zeros(spec.w_dim))

    def truncate(
        self,
        w: Float[Tensor, "batch w_dim"] | Float[Tensor, "batch num_ws w_dim"],
        psi: Float[Tensor, "#batch"] | float,
        cutoff: int | None = None,
    ) -> Float[Tensor, "batch num_ws w_dim"]:
        """Return ws = w_avg + psi (w - w_avg) in the first ``cutoff`` rows (None: all).

        ``w`` is one for all rows, or W+ with a row each; ``psi`` one number or one per sample.
        """
        ws = w if w.ndim == 3 else w[:, None].expand(-1, self.spec.num_ws, -1)
        # Not the dtype of w: under autocast that is a half, to which 0.7 is 0.699.
        psi = torch.as_tensor(psi, dtype=self.w_avg.dtype, device=w.device).reshape(-1, 1, 1)
        truncated = self.w_avg + psi * (ws - self.w_avg)
        if cutoff is None:
            return truncated
        return torch.cat([truncated[:, :cutoff], ws[:, cutoff:]], dim=1)

    def noise(
        self, mode: NoiseMode, streams: Sequence[np.random.RandomState] = ()
    ) -> list[Tensor | None]:
        """Return one noise map per layer.

        "const" gives the checkpoint's buffers, "random" draws from ``streams``, one per sample, so
        that a sample's noise never depends on its batch.
        """
        layers = self.synthesis.layers()
        if mode == "none":
            return [None] * len(layers)
        if mode == "const":
            return [layer.noise_const[None, None] for layer in layers]
        maps: list[Tensor | None] = []
        for layer in layers:
            shape = (1, *layer.noise_const.shape)
            draws = np.stack([stream.standard_normal(shape) for stream in streams])
            # float32 before it travels: not every device knows float64.
            maps.append(torch.from_numpy(draws.astype(np.float32)).to(layer.noise_const))
        return maps

    def forward(
        self,
        z: Float[Tensor, "batch z_dim"],
        psi: Float[Tensor, "#batch"] | float = 1.0,
        *,
        noise: Sequence[Tensor | None] | None = None,
        mute: Mute | None = None,
    ) -> Synthesis:
        """Return image and features for z at truncation psi; noise defaults to "const"."""
        ws = self.truncate(self.mapping(z), psi)
        noise = self.noise("const") if noise is None else noise
        synthesis: Synthesis = self.synthesis(ws, noise, mute)
        return synthesis
