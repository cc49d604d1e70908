"""The StyleGAN2 generator: z -> w -> image, and the features the alpha network reads."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from l4f_datagen.models.layers import EPS, EqualLinear, SynthesisLayer, ToRGB, bounded, upsample_rgb

NoiseMode = Literal["const", "random", "none"]
Mute = Literal["conv1", "const"]
Features = dict[int, list[Tensor]]
Ws = Float[Tensor, "batch num_ws w_dim"]
Psi = Float[Tensor, "#batch"] | float

# rosinality's tools average 4,096 w that they draw anew each time; 10,000 of a fixed seed keep the
# mean within 1 % of a deviation and are always the same.
W_AVG_DRAWS = 10_000
W_AVG_SEED = 1000


@dataclass(frozen=True)
class GeneratorSpec:
    """Everything that fixes the generator's shape; ValueError for what no StyleGAN2 can have."""

    resolution: int  # side of the square image, a power of two from 16 to 1024
    channels: Mapping[int, int]  # of the blocks of 4, 8, ... resolution
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8  # depth of the mapping network (8 in the paper, 2 in many ADA nets)
    conv_clamp: float | None = None  # bound that the layers clip at, None for none

    def __post_init__(self) -> None:
        sides = [2**k for k in range(4, 11)]
        if self.resolution not in sides:
            raise ValueError(f"resolution must be one of {sides}, got {self.resolution}")
        if (named := sorted(self.channels)) != self.resolutions:
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

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        widths = [spec.z_dim, *[spec.w_dim] * (spec.mapping_layers - 1)]
        self.fc = nn.ModuleList(
            EqualLinear(width, spec.w_dim, rate=0.01, activate=True) for width in widths
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
    """What one synthesis pass gives."""

    image: Tensor  # batch 3 h w, nominal range [-1, 1], not clipped, float32
    features: Features  # resolution -> activations batch c h w, one at 4 px, two elsewhere
    rgb_maps: dict[int, Tensor]  # resolution -> its ToRGB contribution before the skip sum


class Half(NamedTuple):
    """Half precision (float16 or bfloat16) from the resolution ``lowest`` on; float32 below.

    The top resolutions take most of the time and show rounding least.
    """

    dtype: torch.dtype
    lowest: int


class SynthesisBlock(nn.Module):
    """One resolution: (up-sampling layer,) plain layer, ToRGB. The 4 px block owns the constant."""

    def __init__(self, resolution: int, spec: GeneratorSpec) -> None:
        super().__init__()
        width, w_dim, clamp = spec.channels[resolution], spec.w_dim, spec.conv_clamp
        if resolution == 4:
            self.const = nn.Parameter(torch.randn(width, 4, 4))
        else:
            below = spec.channels[resolution // 2]
            self.conv0 = SynthesisLayer(below, width, w_dim, resolution, up=True, clamp=clamp)
        self.conv1 = SynthesisLayer(width, width, w_dim, resolution, up=False, clamp=clamp)
        self.torgb = ToRGB(width, w_dim, clamp=clamp)


class SynthesisNetwork(nn.Module):
    """ws -> image and features, skip architecture."""

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        for side in spec.resolutions:
            self.add_module(f"b{side}", SynthesisBlock(side, spec))

    def _blocks(self) -> dict[int, SynthesisBlock]:
        return {int(name[1:]): cast(SynthesisBlock, block) for name, block in self.named_children()}

    def layers(self) -> list[SynthesisLayer]:
        """The convolution layers in the order of their noise inputs."""
        return [layer for layer in self.modules() if isinstance(layer, SynthesisLayer)]

    def forward(
        self,
        ws: Ws,
        noise: Sequence[Tensor | None],
        mute: Mute | None = None,
        *,
        half: Half | None = None,
        mirror_at: int | None = None,
    ) -> Synthesis:
        """Run the trunk on one w and one noise map (``1 1 h w`` or ``batch 1 h w``) a layer.

        ``mute``: "conv1" zeroes the output of the first 4x4 layer, "const" the constant input (the
        authors' two background rules; Labels4Free, sec. 3). ``half``: features come in it too, the
        image is summed in float32. ``mirror_at`` mirrors left and right after the block of this
        resolution; the finer layers, with mirrored noise, finish a mirrored layout. All that is
        returned is mirrored.
        """
        blocks, noises = self._blocks(), iter(noise)
        features: Features = {}
        rgb_maps: dict[int, Tensor] = {}
        x = blocks[4].const.expand(ws.shape[0], -1, -1, -1)
        x = torch.zeros_like(x) if mute == "const" else x
        image = x  # from 4 px on, the sum of the ToRGB contributions
        row = 0  # ToRGB shares its w with the first layer of the next resolution
        for resolution, block in blocks.items():
            if half is not None and resolution >= half.lowest:
                x = bounded(x.to(half.dtype), None)
            features[resolution] = []
            if resolution > 4:
                x = block.conv0(x, ws[:, row], next(noises))
                features[resolution].append(x)
                row += 1
            x = block.conv1(x, ws[:, row], next(noises))
            x = torch.zeros_like(x) if resolution == 4 and mute == "conv1" else x
            features[resolution].append(x)
            row += 1
            rgb = rgb_maps[resolution] = block.torgb(x, ws[:, row])
            image = rgb.float() if resolution == 4 else upsample_rgb(image) + rgb.float()
            if resolution == mirror_at:
                x, image = x.flip(3), image.flip(3)
                features = {side: [kept.flip(3) for kept in two] for side, two in features.items()}
                rgb_maps = {side: kept.flip(3) for side, kept in rgb_maps.items()}
                noises = (None if left is None else left.flip(3) for left in noises)
        return Synthesis(image, features, rgb_maps)


class Generator(nn.Module):
    """Mapping and synthesis, with the stored mean of w that truncation pulls to."""

    w_avg: Tensor

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        self.spec = spec
        self.mapping = MappingNetwork(spec)
        self.synthesis = SynthesisNetwork(spec)
        self.register_buffer("w_avg", torch.zeros(spec.w_dim))

    def truncate(
        self, w: Float[Tensor, "batch w_dim"] | Ws, psi: Psi, cutoff: int | None = None
    ) -> Ws:
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
        maps: list[Tensor | None] = []
        for stored in (layer.noise_const[None] for layer in self.synthesis.layers()):
            if mode == "random":
                draws = np.stack([stream.standard_normal(stored.shape) for stream in streams])
                # float32 before it travels: not every device knows float64.
                maps.append(torch.from_numpy(draws.astype(np.float32)).to(stored))
            else:
                maps.append(stored[None] if mode == "const" else None)
        return maps

    def forward(
        self,
        z: Float[Tensor, "batch z_dim"],
        psi: Psi = 1.0,
        *,
        noise: Sequence[Tensor | None] | None = None,
        mute: Mute | None = None,
    ) -> Synthesis:
        """Return image and features for z at truncation psi; noise defaults to "const"."""
        ws = self.truncate(self.mapping(z), psi)
        noise = self.noise("const") if noise is None else noise
        synthesis: Synthesis = self.synthesis(ws, noise, mute)
        return synthesis
