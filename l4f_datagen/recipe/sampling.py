"""Recipe part: which samples are drawn, and how they are rendered."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from l4f_datagen.recipe.seeds import SEEDS_PATTERN
from l4f_datagen.recipe.values import Named, Part, Positive, Psi, Share, Whole

MAX_SHARD = 65_536
"""Samples; a run resumes at the ends of shards, and is found hopeless there, nowhere else."""


class SamplingPart(Part):
    """Which samples, and how they are rendered."""

    psi: Annotated[tuple[Psi, ...], Field(min_length=1)] = (0.5, 0.7, 1.0)
    """Truncations, in turn; a value listed twice gets twice the share."""
    truncation_cutoff: Positive | None = None
    """Truncate the first so many rows of ws alone; None: all of them."""
    seeds: Annotated[str, Field(pattern=SEEDS_PATTERN)] = "0-"
    """Ranges such as ``0-99,120``; ``0-`` takes as many as are needed."""
    same_seeds: bool = False
    """Every psi takes the same seeds, else each sample has a seed of its own and so shows another
    object. Left out: true where seeds or latents are given, for they are then given for every psi.
    """
    latents: Named | None = None
    """A .npy or .pt file with a latent a row, in place of drawn z; a seed is then a row."""
    latent_space: Literal["w", "z"] = "w"
    """What the rows of ``latents`` are; W+ is told from w by its shape."""
    style_mixing: Share = 0.0
    """Share of samples whose finer layers take the w of a second z."""
    noise_mode: Literal["const", "random", "none"] = "const"
    mask_cleanup: tuple[Literal["largest_component", "fill_holes"], ...] = ()
    """What is done to the mask behind the threshold; it is then not alpha > threshold alone."""
    block_size: Annotated[Whole, Field(ge=1, le=4096)] = 32
    blocks_per_shard: Annotated[Whole, Field(ge=1, le=4096)] = 16
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """fp16 runs the top resolutions alone in half precision; bf16 lets autocast choose."""

    @model_validator(mode="before")
    @classmethod
    def _given_seeds_are_for_every_psi(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("same_seeds") is not None:
            return data
        given = data.get("seeds", "0-") != "0-" or data.get("latents") is not None
        return data | {"same_seeds": given}

    @field_validator("mask_cleanup")
    @classmethod
    def _steps_in_order(cls, steps: tuple[str, ...]) -> tuple[str, ...]:
        # The largest component is taken first; holes in what is dropped do not matter.
        return tuple(step for step in ("largest_component", "fill_holes") if step in steps)

    @model_validator(mode="after")
    def _shards_of_a_size(self) -> "SamplingPart":
        size = self.block_size * self.blocks_per_shard
        if size > MAX_SHARD:
            sizes = f"block_size {self.block_size} x blocks_per_shard {self.blocks_per_shard}"
            raise ValueError(
                f"{sizes} makes shards of {size} samples, at most {MAX_SHARD} are taken"
            )
        return self

    @model_validator(mode="after")
    def _space_of_something(self) -> "SamplingPart":
        if self.latents is None and self.latent_space != "w":
            raise ValueError("latent_space says what the rows of latents are, and none are given")
        return self
