"""Filters: each a function of a Sample that returns why it is rejected, or None.

Scores are measured for every sample, accepted or not, so that a filter can be chosen later. Those
that cost renders, and the distance to other samples, are measured where their filter is on.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from l4f_datagen.core.sample import Sample
from l4f_datagen.recipe import (
    BorderFilter,
    ComponentsFilter,
    CoverageFilter,
    DiscriminatorFilter,
    DuplicatesFilter,
    FiltersPart,
    FlipFilter,
    NoiseFilter,
    UncertaintyFilter,
)
from l4f_datagen.rendering.scores import DIGITS, difference_hash, hash_distance, measured

Filter = Callable[[Sample], str | None]


def coverage_filter(limits: CoverageFilter) -> Filter:
    """Reject a mask whose coverage is outside [min, max]."""

    def reason(sample: Sample) -> str | None:
        if sample.scores["coverage"] < limits.min:
            return "coverage_low"
        return "coverage_high" if sample.scores["coverage"] > limits.max else None

    return reason


def border_filter(limits: BorderFilter) -> Filter:
    """Reject a mask that holds more than ``max`` of the border pixels."""
    return lambda s: "border_contact" if s.scores["border_contact"] > limits.max else None


def components_filter(limits: ComponentsFilter) -> Filter:
    """Reject a mask in more than ``max`` parts, or whose largest part is too small a share.

    An empty mask has no parts; the coverage filter rejects it.
    """

    def reason(sample: Sample) -> str | None:
        number = sample.scores["num_components"]
        if number > limits.max:
            return "too_many_components"
        small = number > 0 and sample.scores["largest_share"] < limits.min_largest_share
        return "largest_share_low" if small else None

    return reason


def uncertainty_filter(limits: UncertaintyFilter) -> Filter:
    """Reject a matte that is undecided."""
    return lambda s: "alpha_uncertain" if s.scores["alpha_uncertainty"] > limits.max else None


def discriminator_filter(limits: DiscriminatorFilter) -> Filter:
    """Reject an image that the discriminator takes for generated."""
    return lambda s: "discriminator_low" if s.scores["discriminator"] < limits.min else None


def noise_filter(limits: NoiseFilter) -> Filter:
    """Reject a mask that changes with the noise inputs."""
    return lambda s: "noise_unstable" if s.scores["noise_iou"] < limits.min_iou else None


def flip_filter(limits: FlipFilter) -> Filter:
    """Reject a mask that changes when the layout is mirrored."""
    return lambda s: "flip_unstable" if s.scores["flip_iou"] < limits.min_iou else None


def duplicates_filter(limits: DuplicatesFilter) -> Filter:
    """Reject an image too similar to an earlier one (see ``FilterChain``)."""
    return lambda s: (
        "near_duplicate" if s.scores["duplicate_distance"] < limits.min_distance else None
    )


FILTERS: dict[str, Callable[[Any], Filter]] = {
    "coverage": coverage_filter,
    "border": border_filter,
    "components": components_filter,
    "uncertainty": uncertainty_filter,
    "discriminator": discriminator_filter,
    "noise": noise_filter,
    "flip": flip_filter,
    "duplicates": duplicates_filter,
}


def open_filters(part: FiltersPart) -> list[Filter]:
    """Return the recipe's filters in its order."""
    chosen = ((name, getattr(part, name)) for name in FILTERS)
    return [FILTERS[name](limits) for name, limits in chosen if limits is not None]


class FilterChain:
    """Scores and filters the samples of one shard, in the order of the plan.

    Near-duplicates are looked for among the accepted samples before in the same shard, whose
    samples are always filtered together and in this order. So the result depends on neither workers
    nor restarts, and a shorter dataset is the head of a longer one. An image that is similar to one
    in another shard stays.
    """

    def __init__(self, part: FiltersPart) -> None:
        self._filters = open_filters(part)
        self._hashes: list[int] | None = None if part.duplicates is None else []

    def __call__(self, samples: Sequence[Sample]) -> list[Sample]:
        """Return the samples with scores and, where a filter rejects one, the first reason."""
        return [self._filter(sample) for sample in measured(samples)]

    def _filter(self, sample: Sample) -> Sample:
        if self._hashes is None:
            return self._first_reason(sample)
        bits = difference_hash(sample.image)
        distance = round(hash_distance(bits, self._hashes), DIGITS)
        scores = sample.scores | {"duplicate_distance": distance}
        filtered = self._first_reason(replace(sample, scores=scores))
        if filtered.reason is None:
            self._hashes.append(bits)
        return filtered

    def _first_reason(self, sample: Sample) -> Sample:
        reasons = (rejects(sample) for rejects in self._filters)
        reason = next(filter(None, reasons), None)
        return sample if reason is None else replace(sample, reason=reason)
