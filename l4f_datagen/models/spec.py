"""What fixes a generator's shape."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class GeneratorSpec:
    """Everything that fixes the generator's shape.

    Attributes:
        resolution: side of the square image, a power of two from 16 to 1024.
        channels: resolution -> channels of that block, for 4, 8, ... resolution.
        z_dim: width of z.
        w_dim: width of w.
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
