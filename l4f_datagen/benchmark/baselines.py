"""Other methods that find the object, each small, run on the same images.

They group pixels; nobody labels the groups. A group that is more frequent at the border than in the
image is background.
"""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from l4f_datagen.benchmark import redo
from l4f_datagen.benchmark.bench import Bench, Block, Masks, Method, Prepared, blocks_of
from l4f_datagen.rendering.plan import Draw
from l4f_datagen.segmenter.model import Segmenter, open_segmenter, resize, save_segmenter

CLUSTERS = 6
CLUSTERED_RESOLUTION = 64  # of the features, or the nearest one that the generator has
CLUSTERED_VALUES = 1 << 28  # feature values that are clustered at most: 1 GB of float32
FITTED_SAMPLES = 200
ITERATIONS = 30
REDO = redo.RedoPlan()
REDO_IMAGES = 4_000
REDO_SIDE = 128
"""Longer side of the images that ReDO sees, as in its paper; its masks are enlarged again."""


def border(size: tuple[int, ...], width_px: int = 2) -> NDArray[np.bool_]:
    """Mark the outermost pixels of an image ``h w``."""
    edge = np.ones(size, bool)
    edge[width_px:-width_px, width_px:-width_px] = False
    return edge


def background_groups(labels: NDArray[np.integer], groups: int) -> NDArray[np.bool_]:
    """Say for each group whether it is background; ``labels`` ``n h w`` are the pixels' groups."""
    edge = border(labels.shape[1:])
    everywhere = np.bincount(labels.ravel(), minlength=groups) / labels.size
    at_border = np.bincount(labels[:, edge].ravel(), minlength=groups) / labels[:, edge].size
    found: NDArray[np.bool_] = at_border > everywhere
    return found


def otsu_masks(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Threshold (Otsu 1979) each pixel's distance to the median colour of the border."""
    from skimage.filters import threshold_otsu

    masks = np.zeros(images.shape[:3], bool)
    for mask, image in zip(masks, images.astype(np.float32), strict=True):
        ground = np.median(image[border(image.shape[:2])], axis=0)  # 3
        distance = np.linalg.norm(image - ground, axis=2)  # h w
        if distance.min() < distance.max():
            mask[:] = distance > threshold_otsu(distance)
    return masks


def gmm_masks(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Fit two Gaussians to the colours of each image; the one rarer at the border is the object."""
    from sklearn.mixture import GaussianMixture

    masks = np.zeros(images.shape[:3], bool)
    edge = border(images.shape[1:3])
    for mask, image in zip(masks, images, strict=True):
        colours = image.reshape(-1, 3) / 255
        if len(np.unique(colours, axis=0)) < 2:
            continue
        mixture = GaussianMixture(2, random_state=0, reg_covar=1e-4, max_iter=50)
        groups = mixture.fit_predict(colours).reshape(mask.shape)
        mask[:] = groups != (groups[edge].mean() > 0.5)
    return masks


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


def prepare_editing(bench: Bench, seed: int) -> Prepared:
    """Cluster features (Editing in Style: Collins, Bala, Price, Suesstrunk, CVPR 2020).

    Spherical k-means over the generator's activations at one resolution groups pixels by what they
    show; fitted on samples that are not scored, other ones for every training seed.
    """
    spec = bench.generator.spec
    # The nearest to 64 px, the larger of two.
    side = min(spec.resolutions, key=lambda side: (abs(side - CLUSTERED_RESOLUTION), -side))
    values = 2 * spec.channels[side] * side**2  # two layers a resolution
    number = max(1, min(bench.sized(FITTED_SAMPLES), CLUSTERED_VALUES // values))

    def features(draws: Sequence[Draw]) -> Float[Tensor, "batch c h w"]:
        both = torch.cat(bench.synthesis(draws).features[side], dim=1)
        return F.normalize(both.float(), dim=1).cpu()

    blocks = blocks_of(bench.training_draws(number, seed * number))
    pieces = (piece for block in blocks for piece in bench.renderer.pieces(block))
    maps = torch.cat([features(piece).permute(0, 2, 3, 1) for piece in pieces])
    centres = spherical_kmeans(maps.flatten(0, 2), CLUSTERS, np.random.RandomState(seed))
    ground = background_groups((maps @ centres.T).argmax(3).numpy(), CLUSTERS)

    def label(block: Block) -> Masks:
        left, top, right, bottom = bench.recipe.generator.crop or (0, 0, bench.side, bench.side)
        parts = []
        for piece in bench.renderer.pieces(block.draws):
            near = torch.einsum("bchw,kc->bkhw", features(piece), centres).argmax(1)
            object_ = torch.from_numpy(~ground)[near].float()[:, None]
            masks = F.interpolate(object_, (bench.side, bench.side), mode="nearest")[:, 0] > 0.5
            parts.append(masks[:, top:bottom, left:right].numpy())
        return np.concatenate(parts)

    return Prepared(label)


def editing_settings(bench: Bench) -> str:
    """Name what decides the masks."""
    psi = bench.recipe.alpha.training.psi
    return f"{CLUSTERS} {bench.sized(FITTED_SAMPLES)} {CLUSTERED_VALUES} psi {psi}"


def redo_image(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink an image ``h w 3`` to ReDO's side and to multiples of 8; smaller ones stay."""
    height, width = image.shape[:2]
    scale = min(1.0, REDO_SIDE / max(height, width))
    rows, columns = (max(8, round(side * scale / 8) * 8) for side in (height, width))
    return resize(image, (rows, columns))


def prepare_redo(bench: Bench, seed: int) -> Prepared:
    """Train ReDO on samples that are not scored, or open its mask network."""
    claimed = bench.claim_network("redo", seed, f"{redo_settings(bench)} seed {seed}")
    path = claimed / "masker.safetensors"
    if not path.exists():
        plan = replace(REDO, seed=seed, steps=bench.config.steps or REDO.steps)
        draws = bench.training_draws(bench.sized(REDO_IMAGES))
        samples = (one for block in blocks_of(draws) for one in bench.renderer.render(block))
        images = np.stack([redo_image(sample.image) for sample in samples])
        masker = redo.train_redo(images, plan).masker
        # Training treats both regions alike; the one that is rarer at the border is the object.
        regions = redo.redo_masks(masker, images[:500]).astype(np.int64)
        inverted = bool(background_groups(regions, redo.REGIONS)[1])
        facts = {"inverted": inverted, "plan": asdict(plan)}
        category, licence = bench.recipe.output.category, bench.checkpoint.licence
        segmenter = Segmenter(masker, max(images.shape[1:3]), 0.5, category, licence, facts)
        save_segmenter(path, segmenter)
    opened = open_segmenter(path)
    inverted = opened.training["inverted"] is True

    def label(block: Block) -> Masks:
        small = np.stack([redo_image(image) for image in block.images])
        masks = redo.redo_masks(opened.network, small, inverted=inverted)
        size_hw = block.images.shape[1], block.images.shape[2]
        return np.stack([resize(mask * np.uint8(255), size_hw) > 127 for mask in masks])

    return Prepared(label)


def redo_settings(bench: Bench) -> str:
    """Name what decides the masks."""
    images = f"{bench.sized(REDO_IMAGES)} of psi {bench.recipe.alpha.training.psi}, {REDO_SIDE} px"
    return f"{asdict(REDO)} {images}, steps {bench.config.steps}"


def colour_method(masks_of: Callable[[NDArray[np.uint8]], Masks], package: str) -> Method:
    """Build the table's entry of a method that only looks at each image's colours."""
    return Method(
        lambda *_: Prepared(lambda block: masks_of(block.images)),
        lambda _: "",
        needs=f"{package}: pip install scikit-image scikit-learn",
        has=lambda _: importlib.util.find_spec(package),
        seeded=False,
        takes_renders=True,
    )


BASELINES = {
    "editing-in-style": Method(prepare_editing, editing_settings),
    "redo": Method(prepare_redo, redo_settings, takes_renders=True),
    "otsu": colour_method(lambda images: otsu_masks(images), "skimage"),
    "colour-gmm": colour_method(lambda images: gmm_masks(images), "sklearn"),
}
