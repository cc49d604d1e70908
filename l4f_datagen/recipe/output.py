"""Recipe part: what is written."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from l4f_datagen.recipe.values import Number, Part


class OutputPart(Part):
    """What is written."""

    formats: Annotated[tuple[Literal["png", "coco", "hf"], ...], Field(min_length=1)] = (
        "png",
        "coco",
        "hf",
    )
    category: Annotated[str, Field(min_length=1)] = "object"
    mask_threshold: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    """mask = alpha > threshold, strictly."""
    alpha_bits: Literal[8, 16] = 8

    @field_validator("formats")
    @classmethod
    def _each_once(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        # Neither order nor repetition changes a byte, so they must not change the hash.
        return tuple(name for name in cls.model_fields["formats"].default if name in formats)
