"""How much of an image the object may cover: the recipe's limits, or an estimate of its share.

The estimate needs the generator alone. An image and its muted twin (same w, same noise) differ
where the trunk has drawn an object and are much alike elsewhere. Otsu's threshold separates the two
kinds of pixel; gaps are closed and holes filled, since a car's window may have the colour of the
road. It is 0.87 (toy cars), 1.09 (toy fish) and 1.23 to 1.43 (digits, drawn in blurred strokes)
times the true share.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage

from l4f_datagen.models.generator import Generator, Mute
from l4f_datagen.recipe import AlphaPart

PAPER_COVERAGE = 0.25
"""Least coverage of either side in the paper's training (Labels4Free, sec. 3.3)."""
TWO_SIDED_FG, TWO_SIDED_BG = 0.05, 0.2
"""Least coverage of either side, of every image. Mean alpha rises to the upper limit whatever the
object's size, so that lies above the largest objects' (faces cover .69, Labels4Free sec. 4). Where
the object turns out smaller, the training starts again with .5 (``collapse.SMALLER``)."""
SEED = 5
IMAGES, BATCH = 64, 8
SIDE = 64
"""Differences are averaged to 64 x 64 at most: an area needs no more."""
LEVELS = 256
GAP = 1 / 32
"""Gaps up to twice this share of the side are closed."""
LOWER, UPPER, MOST_UPPER = 0.4, 2.0, 0.95
MIN_SHARE, MAX_SHARE = 0.02, 0.75
"""Real faces cover .687 and cats .566 of the image in the authors' custom set."""


@dataclass(frozen=True)
class CoverageRange:
    """How large an object is, as shares of the image."""

    lower: float  # least mean alpha of an image
    upper: float  # largest mean alpha of an image
    share: float  # mean over images, above which the area penalty rises


def coverage_range(part: AlphaPart, generator: Generator) -> CoverageRange:
    """Return the limits of a training: the recipe's, and others where it names none.

    They lie around the estimated share with ``balance: auto``, else they are the paper's or those
    of two-sided.
    """
    config = part.training
    least, outer = config.min_fg_coverage, config.min_bg_coverage
    if config.balance != "auto":
        two_sided = config.balance == "two-sided"
        fg, bg = (TWO_SIDED_FG, TWO_SIDED_BG) if two_sided else (PAPER_COVERAGE, PAPER_COVERAGE)
        upper = 1 - (bg if outer is None else outer)
        return CoverageRange(fg if least is None else least, upper, share=upper)
    share = min(max(estimate_coverage(part, generator), MIN_SHARE), MAX_SHARE)
    upper = max(min(UPPER * share, MOST_UPPER), least or 0.0) if outer is None else 1 - outer
    lower = min(LOWER * share, upper) if least is None else least
    return CoverageRange(lower, upper, max(min(max(share, lower), upper), MIN_SHARE))


@torch.no_grad()
def estimate_coverage(part: AlphaPart, generator: Generator) -> float:
    """Return the share of pixels where images differ from their muted twins, in [0, 1]."""
    mute: Mute = "const" if part.background == "const" else "conv1"
    gaps = []
    for start in range(0, IMAGES, BATCH):
        streams = [np.random.RandomState([SEED, start + k]) for k in range(BATCH)]
        z = np.stack([stream.randn(generator.spec.z_dim) for stream in streams])
        w = generator.mapping(torch.from_numpy(z.astype(np.float32)).to(generator.w_avg.device))
        ws, noise = generator.truncate(w, part.training.psi), generator.noise("random", streams)
        twins = generator.synthesis(ws, noise, mute).image
        gap = (generator.synthesis(ws, noise).image - twins).abs().mean(dim=1, keepdim=True)
        side = min(SIDE, gap.shape[-1])
        gaps.append(F.adaptive_avg_pool2d(gap, side).float().cpu().numpy())
    found = np.concatenate(gaps)[:, 0]
    return float(np.mean([close_and_fill(mask) for mask in found > otsu_threshold(found)]))


def close_and_fill(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask ``h w`` with its gaps closed and its holes filled."""
    reach = max(1, round(GAP * len(mask)))
    wide = np.pad(mask, 2 * reach)  # closing would otherwise eat at the border
    closed = ndimage.binary_closing(wide, iterations=reach)
    inner = slice(2 * reach, -2 * reach)
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(closed)[inner, inner]
    return filled


def otsu_threshold(values: NDArray[np.floating]) -> float:
    """Return the threshold that leaves the largest variance between two classes (Otsu 1979)."""
    counts, edges = np.histogram(values, LEVELS)
    centres = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)[:-1].astype(np.float64)
    above = counts.sum() - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
    between = np.nan_to_num(below * above * gap**2)
    return float(edges[1:-1][int(np.argmax(between))])
