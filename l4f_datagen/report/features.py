"""What a generator knows, as images: its ToRGB maps and its features, resolution by resolution.

One row a seed: the image first, then every resolution from 4 px up.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from l4f_datagen.core.sample import image_to_uint8
from l4f_datagen.io.figures import explained, sheet
from l4f_datagen.models.generator import Generator, Synthesis, draw_z

Rows = Sequence[Sequence[NDArray[np.uint8]]]
MAX_SEEDS = 64  # a choice: rows of one sheet
TILE_PX = (128, 256)  # least and most, a choice
TRGB_NOTES = (
    "What each resolution adds to the image, stretched to the full range. Good: the image is "
    "sharp, and the object shows by itself in the maps of some resolution."
)
FEATURE_NOTES = (
    "The first three principal components as red, green and blue; a colour means the same in every "
    "row. Good: the object has another colour than the ground in some resolution."
)


@torch.inference_mode()
def trgb_sheet(generator: Generator, seeds: Sequence[int], psi: float) -> Image.Image:
    """Show what each resolution adds to the image: ToRGB maps before the skip sum.

    Every map is stretched by (x - min) / (max - min) over its pixels and channels, zeros where all
    is equal (Labels4Free, appendix 2.1, figures 3 to 5).
    """
    rows = []
    for seed in seeds:
        synthesis = _synthesis(generator, seed, psi)
        rows.append([_pixels(image_to_uint8(synthesis.image[0]))])
        for rgb in synthesis.rgb_maps.values():
            plane = rgb[0].float()
            low, high = plane.min(), plane.max()
            shares = (plane - low) / (high - low).clamp(min=torch.finfo(torch.float32).tiny)
            rows[-1].append(_pixels((shares.cpu() * 255).round().byte()))
    return _headed(rows, generator, seeds, (f"ToRGB maps at psi {psi:g}", TRGB_NOTES))


@torch.inference_mode()
def feature_sheet(generator: Generator, seeds: Sequence[int], psi: float) -> Image.Image:
    """Show the trunk's features: their first three principal components as red, green and blue.

    The components of a resolution are those of the pixels of all seeds together, and each is
    stretched over all of them, so that one colour means the same in every row.
    """
    passes = [_synthesis(generator, seed, psi) for seed in seeds]
    rows = [[_pixels(image_to_uint8(synthesis.image[0]))] for synthesis in passes]
    for resolution in generator.spec.resolutions:
        last = torch.cat([synthesis.features[resolution][-1] for synthesis in passes])
        for row, drawn in zip(rows, principal_colours(last.float().cpu()), strict=True):
            row.append(drawn)
    return _headed(rows, generator, seeds, (f"Features at psi {psi:g}", FEATURE_NOTES))


def principal_colours(features: Float[Tensor, "batch c h w"]) -> NDArray[np.uint8]:
    """Project features on their first three principal components, uint8 ``batch h w 3``.

    A component's largest loading is positive. Colours without a channel stay black.
    """
    batch, channels, height, width = features.shape
    # Float64: the covariance of 512 channels decides the signs and the order.
    pixels = features.permute(0, 2, 3, 1).reshape(-1, channels).double().numpy()
    centred = pixels - pixels.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    chosen = vectors[:, ::-1][:, :3]
    strongest = np.abs(chosen).argmax(axis=0)
    projected = centred @ (chosen * np.sign(chosen[strongest, np.arange(chosen.shape[1])]))
    low, high = projected.min(axis=0), projected.max(axis=0)
    shares = (projected - low) / np.maximum(high - low, np.finfo(np.float64).tiny)
    colours = np.zeros((batch * height * width, 3), np.uint8)
    colours[:, : chosen.shape[1]] = np.rint(shares * 255)
    return colours.reshape(batch, height, width, 3)


def _synthesis(generator: Generator, seed: int, psi: float) -> Synthesis:
    z = torch.from_numpy(draw_z([seed], generator.spec.z_dim)).to(generator.w_avg.device)
    synthesis: Synthesis = generator(z, psi)
    return synthesis


def _pixels(levels: Tensor) -> NDArray[np.uint8]:
    return np.ascontiguousarray(levels.cpu().permute(1, 2, 0).numpy())


def _headed(
    rows: Rows, generator: Generator, seeds: Sequence[int], said: tuple[str, str]
) -> Image.Image:
    """Lay rows out under the names of their columns, with title and notes."""
    side = generator.spec.resolution
    tile_px = min(max(side, TILE_PX[0]), TILE_PX[1])  # all sides are powers of two: tiles align
    columns = ["image", *(f"{r} px" for r in generator.spec.resolutions)]
    names = [f"seed {seed}" for seed in seeds]
    return explained(sheet(rows, tile_px=tile_px), *said, columns=columns, rows=names)
