"""Recipe part: which generator, and the terms it comes under."""

from typing import Annotated

from pydantic import Field, field_validator

from l4f_datagen.recipe.values import Named, Part, Whole


class Licence(Part):
    """Terms the weights come under; carried into the card."""

    name: str = "unknown"
    link: str | None = None
    commercial: bool | None = None
    """False where the terms forbid commercial use, None where nobody said."""


class GeneratorPart(Part):
    """Which generator."""

    weights: Named | None = None
    """``builtin:NAME``, ``catalogue:NAME`` or a file; None: given by ``--generator``."""
    class_index: Annotated[Whole, Field(ge=0)] | None = None
    """The class to draw, for class-conditional networks alone."""
    crop: tuple[Whole, Whole, Whole, Whole] | None = None
    """left, top, right, bottom in pixels: the part of the canvas that holds the picture."""
    licence: Licence = Licence()

    @field_validator("crop")
    @classmethod
    def _crop_holds_pixels(cls, crop: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if crop is not None and not (0 <= crop[0] < crop[2] and 0 <= crop[1] < crop[3]):
            raise ValueError("expected 0 <= left < right and 0 <= top < bottom")
        return crop
