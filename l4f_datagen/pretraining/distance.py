"""Fréchet distance on fixed random features: the gauge that says when the toy generator is done.

Not an FID: the features come from seeded random convolutions, because no pretrained network can be
assumed. Random features of several scales still rank generators of one domain.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import linalg
from torch import Tensor

FEATURE_SEED = 2026
WIDTH = 48


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
