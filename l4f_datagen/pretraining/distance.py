"""Fréchet distance on fixed random features: the gauge that says when a generator is done.

Not an FID: the features come from seeded random convolutions, because no pretrained network can be
assumed. Random features of several scales still rank generators of one domain.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import linalg
from torch import Tensor

from l4f_datagen.models.generator import Generator, Mute, draw_z
from l4f_datagen.models.unet import to_tensor

FEATURE_SEED = 2026
WIDTH = 48
BATCH = 32


class Features:
    """Seeded random filters at three scales, rectified, pooled on a 4 by 4 grid, projected.

    A picture becomes 256 numbers: enough to see shape and place, few enough for the covariance of
    5,000 pictures.
    """

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(FEATURE_SEED)
        self.filters = torch.randn(WIDTH, 3, 5, 5, generator=draw)
        self.filters -= self.filters.mean(dim=(2, 3), keepdim=True) * 0.5
        self.filters /= self.filters.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
        wide = 3 * WIDTH * 16
        self.projection = torch.randn(wide, 256, generator=draw) / wide**0.5

    @torch.no_grad()
    def of(self, images: Tensor, batch: int = 100) -> NDArray[np.float64]:
        """Return ``n 256`` for images ``n 3 h w`` in [-1, 1]."""
        rows = []
        for part in images.split(batch):
            pooled = []
            for scale in (1, 2, 4):
                shrunk = F.avg_pool2d(part, scale)
                pooled.append(F.adaptive_avg_pool2d(F.conv2d(shrunk, self.filters).relu(), 4))
            rows.append(torch.cat(pooled, dim=1).flatten(1) @ self.projection)
        return torch.cat(rows).double().numpy()


def frechet_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Squared Fréchet distance of two feature sets ``n d`` seen as normal distributions."""
    gap = first.mean(axis=0) - second.mean(axis=0)
    covariances = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    product = linalg.sqrtm(covariances[0] @ covariances[1])
    trace = np.trace(covariances[0] + covariances[1] - 2 * np.real(product))
    return float(gap @ gap + trace)


@torch.no_grad()
def sample_images(generator: Generator, count: int, mute: Mute | None = None) -> Tensor:
    """Return ``count 3 h w`` in [-1, 1] at psi 1 with the constant noise, on the CPU."""
    parts = []
    for start in range(0, count, BATCH):
        z = torch.from_numpy(draw_z(range(start, min(start + BATCH, count)), generator.spec.z_dim))
        image = generator(z.to(generator.w_avg.device), mute=mute).image
        parts.append(image.clamp(-1, 1).cpu())
    return torch.cat(parts)


class Gauge:
    """The distance of a generator's samples to as many photographs ``n h w 3``, where there are."""

    def __init__(self, pixels: NDArray[np.uint8], samples: int, seed: int) -> None:
        self.features, self.samples = Features(), samples
        picked = np.random.RandomState(seed).permutation(len(pixels))[:samples]
        self.real = self.features.of(to_tensor(pixels[np.sort(picked)]))

    def measure(self, generator: Generator) -> float:
        """Return the Fréchet distance."""
        fake = self.features.of(sample_images(generator, self.samples))
        return frechet_distance(fake, self.real)
