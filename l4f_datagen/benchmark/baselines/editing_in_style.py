"""Editing in Style (Collins, Bala, Price, Suesstrunk, CVPR 2020): clusters of generator features.

Spherical k-means over the generator's activations at one resolution groups pixels by what they
show. Nobody labels the clusters here: a cluster is background if it is more frequent at the border
than in the image.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from l4f_datagen.benchmark.baselines.colours import background_groups
from l4f_datagen.models.generator import Generator, Synthesis

CLUSTERS = 6
CLUSTERED_RESOLUTION = 64
"""Resolution of the features, or the nearest one that the generator has."""
FITTED_SAMPLES = 200
ITERATIONS = 30


def feature_resolution(generator: Generator) -> int:
    """Return the resolution nearest to 64 px, the larger of two."""
    return min(
        generator.spec.resolutions, key=lambda side: (abs(side - CLUSTERED_RESOLUTION), -side)
    )


def unit_features(synthesis: Synthesis, resolution: int) -> Float[Tensor, "batch c h w"]:
    """Concatenate both layers' features of one resolution, normalised to length 1 per pixel."""
    return F.normalize(torch.cat(synthesis.features[resolution], dim=1).float(), dim=1)


def spherical_kmeans(
    points: Float[Tensor, "n c"], clusters: int, stream: np.random.RandomState
) -> Float[Tensor, "clusters c"]:
    """Return unit centres of points of length 1; an empty cluster keeps its centre.

    ``stream`` draws the first centres (k-means++ by angle).
    """
    centres = [points[stream.randint(len(points))]]
    for _ in range(clusters - 1):
        nearest = torch.stack([points @ centre for centre in centres]).amax(0)
        weight = (1 - nearest).clamp(min=0).double().numpy() + 1e-12
        centres.append(points[stream.choice(len(points), p=weight / weight.sum())])
    found = torch.stack(centres)
    for _ in range(ITERATIONS):
        nearest = (points @ found.T).argmax(1)
        sums = torch.zeros_like(found).index_add_(0, nearest, points)
        moved = torch.where(sums.norm(dim=1, keepdim=True) > 0, F.normalize(sums, dim=1), found)
        if torch.equal(moved, found):
            break
        found = moved
    return found


class Clusters(NamedTuple):
    """Clusters of features.

    Attributes:
        centres: unit vectors ``clusters c``.
        is_background: bool ``clusters``.
        resolution: of the features, px.
    """

    centres: Tensor
    is_background: Tensor
    resolution: int


@torch.inference_mode()
def fit_clusters(generator: Generator, fitted: Iterable[Synthesis], seed: int) -> Clusters:
    """Cluster the features of batches of samples."""
    side = feature_resolution(generator)
    stream = np.random.RandomState(seed)
    parts = [unit_features(batch, side).permute(0, 2, 3, 1).cpu() for batch in fitted]
    maps = torch.cat(parts)  # n side side c
    centres = spherical_kmeans(maps.flatten(0, 2), CLUSTERS, stream)
    labels = (maps @ centres.T).argmax(3).numpy()
    return Clusters(centres, torch.from_numpy(background_groups(labels, CLUSTERS)), side)


@torch.inference_mode()
def cluster_masks(clusters: Clusters, tested: Synthesis) -> NDArray[np.bool_]:
    """Mask samples, bool ``n h w`` at the image's size."""
    features = unit_features(tested, clusters.resolution).cpu()
    near = torch.einsum("bchw,kc->bkhw", features, clusters.centres)
    object_ = (~clusters.is_background)[near.argmax(1)].float()[:, None]
    size = tested.image.shape[2:]
    masks: NDArray[np.bool_] = (F.interpolate(object_, size, mode="nearest")[:, 0] > 0.5).numpy()
    return masks
