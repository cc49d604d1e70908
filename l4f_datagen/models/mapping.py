"""z -> w: seeded draws of z, the mapping network, and the mean of w."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from l4f_datagen.models.layers import EPS, EqualLinear

W_AVG_DRAWS = 10_000
W_AVG_SEED = 1000


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
