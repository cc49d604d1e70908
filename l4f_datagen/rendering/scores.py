"""Scores: what every sample is measured by, a block at a time."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.core.masks import border_contacts, count_components
from l4f_datagen.core.sample import Sample

HASH_SIDE = 16
HASH_BITS = HASH_SIDE**2
DIGITS = 6


def measure_block(samples: Sequence[Sample]) -> list[dict[str, float]]:
    """Measure samples of one size; scores that the renderer measured are kept.

    coverage: mean of the mask. border_contact: share of border pixels inside the mask.
    num_components, largest_share: connected parts of the mask (before any clean-up), and the
    largest one's share of it. alpha_uncertainty: mean min(alpha, 1 - alpha), 0 for a hard matte,
    0.5 at most.
    """
    if not samples:
        return []
    masks = np.stack([sample.mask for sample in samples])
    alphas = np.stack([sample.alpha for sample in samples])
    num_components, largest_share = count_components(masks)
    # Summed in float64, so that six digits do not depend on the order of addition.
    uncertainty = np.minimum(alphas, 1 - alphas).mean(axis=(1, 2), dtype=np.float64)
    columns = {
        "coverage": np.count_nonzero(masks, axis=(1, 2)) / masks[0].size,
        "border_contact": border_contacts(masks),
        "num_components": num_components,
        "largest_share": largest_share,
        "alpha_uncertainty": uncertainty,
    }
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    measured = [dict(zip(columns, map(_rounded, row), strict=True)) for row in rows]
    return [scores | sample.scores for scores, sample in zip(measured, samples, strict=True)]


def measured(samples: Sequence[Sample]) -> list[Sample]:
    """Return samples of one size with their scores; those that have them stay as they are."""
    if samples and "alpha_uncertainty" in samples[0].scores:
        return list(samples)
    pairs = zip(samples, measure_block(samples), strict=True)
    return [replace(sample, scores=scores) for sample, scores in pairs]


def difference_hash(image: NDArray[np.uint8]) -> int:
    """Return the 256 bits of an image's difference hash (dHash): where it brightens to the right.

    Of the image shrunk to 17 x 16 grey levels, so that small shifts, noise and size hardly count.
    """
    size = HASH_SIDE + 1, HASH_SIDE
    grey = Image.fromarray(image).convert("L").resize(size, Image.Resampling.BOX)
    levels = np.asarray(grey)
    return int.from_bytes(np.packbits(levels[:, 1:] > levels[:, :-1]).tobytes())


def hash_distance(bits: int, others: Iterable[int]) -> float:
    """Share of bits in which a hash differs from the nearest of ``others``; 1 where none is."""
    return min(((bits ^ other).bit_count() for other in others), default=HASH_BITS) / HASH_BITS


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)
