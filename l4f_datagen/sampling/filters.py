"""Filters: each a function of a Sample that returns why it is rejected, or None.

Scores are measured for every sample, accepted or not, so that a filter can be chosen later.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from l4f_datagen.masks import border_contact, coverage
from l4f_datagen.recipe import BorderFilter, CoverageFilter, FiltersPart
from l4f_datagen.sample import Sample

Filter = Callable[[Sample], str | None]


def measure(sample: Sample) -> Sample:
    """Return the sample with its scores.

    coverage: mean of the mask. border_contact: share of border pixels inside the mask.
    alpha_uncertainty: mean min(alpha, 1 - alpha), 0 for a hard matte, 0.5 at most.
    """
    uncertainty = float(np.minimum(sample.alpha, 1 - sample.alpha).mean())
    scores = {
        "coverage": coverage(sample.mask),
        "border_contact": border_contact(sample.mask),
        "alpha_uncertainty": uncertainty,
    }
    return replace(sample, scores={name: round(value, 6) for name, value in scores.items()})


def coverage_filter(limits: CoverageFilter) -> Filter:
    """Reject a mask whose coverage is outside [min, max]."""

    def judge(sample: Sample) -> str | None:
        if sample.scores["coverage"] < limits.min:
            return "coverage_low"
        return "coverage_high" if sample.scores["coverage"] > limits.max else None

    return judge


def border_filter(limits: BorderFilter) -> Filter:
    """Reject a mask that holds more than ``max`` of the border pixels."""
    return lambda s: "border_contact" if s.scores["border_contact"] > limits.max else None


FILTERS: dict[str, Callable[[Any], Filter]] = {
    "coverage": coverage_filter,
    "border": border_filter,
}


def open_filters(part: FiltersPart) -> list[Filter]:
    """Return the recipe's filters in its order."""
    chosen = ((name, getattr(part, name)) for name in FILTERS)
    return [FILTERS[name](limits) for name, limits in chosen if limits is not None]


def judge(sample: Sample, filters: Sequence[Filter]) -> Sample:
    """Return the sample with scores and, where a filter rejects it, the first reason."""
    measured = measure(sample)
    reasons = (judgement(measured) for judgement in filters)
    return replace(measured, reason=next(filter(None, reasons), None))
