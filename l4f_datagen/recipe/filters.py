"""Recipe part: which samples are rejected.

A preset names the filters and their limits; what the recipe says of single ones goes before it.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from l4f_datagen.recipe.values import Number, Part, Positive, Share

PRESETS: dict[str, dict[str, dict[str, float]]] = {
    "none": {},
    "default": {"coverage": {}, "border": {}},
    "strict": {
        "coverage": {"min": 0.05, "max": 0.8},
        "border": {"max": 0.25},
        "components": {"max": 8, "min_largest_share": 0.95},
        "uncertainty": {"max": 0.05},
        "noise": {"min_iou": 0.9},
        "duplicates": {},
    },
}
"""Preset -> filters it switches on, and where their limits are not the filter's own."""


class CoverageFilter(Part):
    """Reject masks that cover too little or too much of the picture."""

    min: Share = 0.02
    max: Share = 0.95

    @model_validator(mode="after")
    def _in_order(self) -> "CoverageFilter":
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}, which rejects every sample")
        return self


class BorderFilter(Part):
    """Reject masks that touch the border: share of border pixels inside the mask."""

    max: Share = 1.0


class ComponentsFilter(Part):
    """Reject masks in pieces."""

    max: Positive = 16
    """Connected components, 8-connected."""
    min_largest_share: Share = 0.5
    """Area of the largest one as a share of the mask."""


class UncertaintyFilter(Part):
    """Reject undecided mattes: mean of min(alpha, 1 - alpha), 0 to 0.5."""

    max: Annotated[Number, Field(ge=0, le=0.5)] = 0.1


class DiscriminatorFilter(Part):
    """Reject pictures that the checkpoint's own discriminator scores low."""

    min: Number
    """A logit; no value fits all checkpoints: look at the scores of a small run first."""


class NoiseFilter(Part):
    """Reject masks that change when the noise inputs are drawn again; renders once more."""

    min_iou: Share = 0.8


class FlipFilter(Part):
    """Reject masks that change when the layout is mirrored under the finer layers; renders more."""

    min_iou: Share = 0.8


class DuplicatesFilter(Part):
    """Reject pictures too like an accepted one before them in the same shard."""

    min_distance: Share = 0.04
    """Share of differing bits in a 256-bit difference hash."""


class FiltersPart(Part):
    """Filters in the order they are asked; null switches one off."""

    preset: Literal["none", "default", "strict"] = "default"
    """What holds for the filters the recipe does not name."""
    coverage: CoverageFilter | None = None
    border: BorderFilter | None = None
    components: ComponentsFilter | None = None
    uncertainty: UncertaintyFilter | None = None
    discriminator: DiscriminatorFilter | None = None
    noise: NoiseFilter | None = None
    flip: FlipFilter | None = None
    duplicates: DuplicatesFilter | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        preset = data.get("preset", "default")
        filled = dict(data)
        for name, limits in PRESETS.get(preset if isinstance(preset, str) else "", {}).items():
            own = data.get(name, {})
            filled[name] = limits | own if isinstance(own, dict) else own
        return filled
