"""Recipe part: which samples are rejected."""

from pydantic import model_validator

from l4f_datagen.recipe.values import Part, Share


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


class FiltersPart(Part):
    """Filters in the order they are asked; null switches one off."""

    coverage: CoverageFilter | None = CoverageFilter()
    border: BorderFilter | None = BorderFilter()
