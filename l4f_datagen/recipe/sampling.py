"""Recipe part: which samples are drawn, and how they are rendered."""

from typing import Annotated, Literal

from pydantic import Field

from l4f_datagen.recipe.values import Part, Psi, Whole
from l4f_datagen.sampling.seeds import SEEDS_PATTERN


class SamplingPart(Part):
    """Which samples, and how they are rendered."""

    psi: Annotated[tuple[Psi, ...], Field(min_length=1)] = (0.5, 0.7, 1.0)
    """Truncations, in turn; a value listed twice gets twice the share."""
    seeds: Annotated[str, Field(pattern=SEEDS_PATTERN)] = "0-"
    """Seeds of every psi, as ranges: ``0-99,120``; ``0-`` takes as many as are needed."""
    noise_mode: Literal["const", "random", "none"] = "const"
    block_size: Annotated[Whole, Field(ge=1, le=4096)] = 32
    blocks_per_shard: Annotated[Whole, Field(ge=1, le=4096)] = 16
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
