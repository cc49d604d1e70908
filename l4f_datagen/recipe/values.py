"""What the parts of a recipe have in common: frozen, no unknown keys, numbers that are numbers."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _no_switch(value: Any) -> Any:
    if isinstance(value, bool):  # Python counts True as 1, so `steps: yes` would train one step
        raise ValueError("input should be a number")
    return value


Whole = Annotated[int, BeforeValidator(_no_switch)]
Number = Annotated[float, BeforeValidator(_no_switch)]
Psi = Annotated[Number, Field(ge=0, le=2)]
Share = Annotated[Number, Field(ge=0, le=1)]
Positive = Annotated[Whole, Field(ge=1)]
Weight = Annotated[Number, Field(ge=0)]
Named = Annotated[str, Field(min_length=1)]
"""A name or path; the empty one would stand for the folder one happens to be in."""


class Part(BaseModel):
    """One group of recipe keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
