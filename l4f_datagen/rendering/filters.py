"""Scores and filters: what every sample is measured by, and why one is rejected.

Scores are measured for every sample, accepted or not, so that a filter can be chosen later. Those
that cost renders (``probes``), and the distance to other samples, are measured where their filter
is on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.core.masks import border_contacts, count_components
from l4f_datagen.core.sample import Sample
from l4f_datagen.recipe import FiltersPart

HASH_SIDE, HASH_BITS = 16, 256
DIGITS = 6

FILTERS = {
    "coverage": (
        ("coverage_low", "coverage", "below", "min"),
        ("coverage_high", "coverage", "above", "max"),
    ),
    "border": (("border_contact", "border_contact", "above", "max"),),
    "components": (
        ("too_many_components", "num_components", "above", "max"),
        ("largest_share_low", "largest_share", "below", "min_largest_share"),
    ),
    "uncertainty": (("alpha_uncertain", "alpha_uncertainty", "above", "max"),),
    "discriminator": (("discriminator_low", "discriminator", "below", "min"),),
    "noise": (("noise_unstable", "noise_iou", "below", "min_iou"),),
    "flip": (("flip_unstable", "flip_iou", "below", "min_iou"),),
    "duplicates": (("near_duplicate", "duplicate_distance", "below", "min_distance"),),
}
"""Filter of the recipe, in the order they are asked: reason, score, and where it is beyond which
limit."""


class FilterChain:
    """Scores and filters the samples of one shard, in the order of the plan.

    Near-duplicates are looked for among the accepted samples before in the same shard, whose
    samples are always filtered together and in this order. So the result depends on neither workers
    nor restarts, and a shorter dataset is the head of a longer one. An image that is similar to one
    in another shard stays.
    """

    def __init__(self, part: FiltersPart) -> None:
        self._rules = [
            (reason, score, 1 if side == "above" else -1, getattr(getattr(part, name), limit))
            for name, rules in FILTERS.items()
            for reason, score, side, limit in rules
            if getattr(part, name) is not None
        ]
        self._hashes: list[int] | None = None if part.duplicates is None else []

    def __call__(self, samples: Sequence[Sample]) -> list[Sample]:
        """Return the samples with scores and, where a filter rejects one, the first reason."""
        return [self._filter(sample) for sample in measured(samples)]

    def _filter(self, sample: Sample) -> Sample:
        bits = 0
        if self._hashes is not None:
            bits = difference_hash(sample.image)
            distance = round(hash_distance(bits, self._hashes), DIGITS)
            sample = replace(sample, scores=sample.scores | {"duplicate_distance": distance})
        for reason, score, sign, limit in self._rules:
            # An empty mask has no largest part; the coverage filter rejects it.
            empty = score == "largest_share" and sample.scores["num_components"] == 0
            if sign * sample.scores[score] > sign * limit and not empty:
                return replace(sample, reason=reason)
        if self._hashes is not None:
            self._hashes.append(bits)
        return sample


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
    columns = {
        "coverage": np.count_nonzero(masks, axis=(1, 2)) / masks[0].size,
        "border_contact": border_contacts(masks),
        "num_components": num_components,
        "largest_share": largest_share,
        # Summed in float64, so that six digits do not depend on the order of addition.
        "alpha_uncertainty": np.minimum(alphas, 1 - alphas).mean(axis=(1, 2), dtype=np.float64),
    }
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [
        {name: round(float(v), DIGITS) for name, v in zip(columns, row, strict=True)}
        | sample.scores
        for row, sample in zip(rows, samples, strict=True)
    ]


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
    levels = np.asarray(Image.fromarray(image).convert("L").resize(size, Image.Resampling.BOX))
    return int.from_bytes(np.packbits(levels[:, 1:] > levels[:, :-1]).tobytes())


def hash_distance(bits: int, others: Iterable[int]) -> float:
    """Share of bits in which a hash differs from the nearest of ``others``; 1 where none is."""
    return min(((bits ^ other).bit_count() for other in others), default=HASH_BITS) / HASH_BITS
