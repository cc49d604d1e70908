"""The recipe: everything that decides a dataset, as one checked and frozen value.

Values come from defaults < recipe file < ``--set a.b=c`` < flags (a flag may also come from its
``L4F_`` environment variable); all problems of a recipe are reported at once.
"""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from l4f_datagen.errors import RecipeError
from l4f_datagen.plain_yaml import SHOWN_CHARACTERS
from l4f_datagen.sampling.seeds import SEEDS_PATTERN

MAX_PROBLEMS = 50


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


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Licence(_Part):
    """Terms the weights come under; carried into the card."""

    name: str = "unknown"
    link: str | None = None
    commercial: bool | None = None
    """False where the terms forbid commercial use, None where nobody said."""


class GeneratorPart(_Part):
    """Which generator."""

    weights: str | None = None
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


class TrainingPart(_Part):
    """How the alpha network is trained (Labels4Free, sec. 3.3; names of the losses there)."""

    steps: Positive = 300
    batch: Positive = 16
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] = 0
    learning_rate: Annotated[Number, Field(gt=0, le=1)] = 2e-3
    psi: Psi = 1.0
    """Truncation of the foreground; the background is never truncated in training."""
    reals: Literal["generator", "folder", "toy-cars"] = "generator"
    """What the discriminator takes for real."""
    reals_folder: str | None = None
    """Folder of images for ``reals: folder``."""
    reals_psi: Psi = 1.0
    """Truncation of the stand-in reals for ``reals: generator``."""
    mirror: bool = True
    """Show the discriminator mirrored images too; off where left and right differ (digits)."""
    adversarial_weight: Weight = 1.0
    binarization_weight: Weight = 1.2
    """Weight of mean min(alpha, 1 - alpha)."""
    fg_coverage_weight: Weight | None = None
    """Weight of the foreground-coverage hinge; None: the binarisation weight, as the paper."""
    min_fg_coverage: Share = 0.25
    bg_coverage_weight: Weight = 0.0
    min_bg_coverage: Share = 0.25
    r1_gamma: Weight = 10.0
    d_reg_interval: Positive = 16
    real_score_weight: Weight = 0.0
    """The authors' code adds 1.0 x D(real[0]) to every R1 step; 1.0 reproduces it."""
    ema_steps: Weight = 0.0
    """Half-life of an average over alpha weights; 0 keeps the live weights, as the authors."""
    discriminator: Literal["scratch", "pretrained"] = "scratch"
    snapshot_interval: Positive = 50

    @model_validator(mode="after")
    def _folder_named(self) -> "TrainingPart":
        if (self.reals == "folder") != (self.reals_folder is not None):
            raise ValueError("reals: folder and reals_folder go together")
        return self


class AlphaPart(_Part):
    """Which alpha network."""

    weights: str | None = None
    """``builtin:NAME`` or a file; None: trained on the spot and kept in the cache."""
    background: Literal["conv1", "const"] = "conv1"
    """What is muted: the output of the first 4x4 layer, or the constant input."""
    lowest_resolution: Positive | None = None
    """None: size / 32, at least 8. The image size itself gives the last-layer ablation."""
    training: TrainingPart = TrainingPart()


class SamplingPart(_Part):
    """Which samples, and how they are rendered."""

    psi: Annotated[tuple[Psi, ...], Field(min_length=1)] = (0.5, 0.7, 1.0)
    """Truncations, in turn; a value listed twice gets twice the share."""
    seeds: Annotated[str, Field(pattern=SEEDS_PATTERN)] = "0-"
    """Seeds of every psi, as ranges: ``0-99,120``; ``0-`` takes as many as are needed."""
    noise_mode: Literal["const", "random", "none"] = "const"
    block_size: Annotated[Whole, Field(ge=1, le=4096)] = 32
    blocks_per_shard: Annotated[Whole, Field(ge=1, le=4096)] = 16
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"


class CoverageFilter(_Part):
    """Reject masks that cover too little or too much of the picture."""

    min: Share = 0.02
    max: Share = 0.95

    @model_validator(mode="after")
    def _in_order(self) -> "CoverageFilter":
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}, which rejects every sample")
        return self


class BorderFilter(_Part):
    """Reject masks that touch the border: share of border pixels inside the mask."""

    max: Share = 1.0


class FiltersPart(_Part):
    """Filters in the order they are asked; null switches one off."""

    coverage: CoverageFilter | None = CoverageFilter()
    border: BorderFilter | None = BorderFilter()


class OutputPart(_Part):
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


class Recipe(_Part):
    """One domain, resolved."""

    domain: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    description: str = ""
    generator: GeneratorPart = GeneratorPart()
    alpha: AlphaPart = AlphaPart()
    sampling: SamplingPart = SamplingPart()
    filters: FiltersPart = FiltersPart()
    output: OutputPart = OutputPart()

    def dump(self) -> str:
        """Return the resolved recipe as YAML, every value spelled out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def recipe_hash(recipe: Recipe, *, generator: str, alpha: str) -> str:
    """Return the sha256 that names a dataset's bytes (whatever its number of samples).

    Args:
        recipe: the resolved recipe; where its weights lie does not count, what they are does.
        generator: sha256 of the generator's tensors.
        alpha: sha256 of the alpha network's tensors.
    """
    values = recipe.model_dump(mode="json")
    values["generator"]["weights"] = generator
    values["alpha"] = {"weights": alpha, "background": recipe.alpha.background}
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def check_recipe(data: Mapping[str, Any], source: str) -> Recipe:
    """Turn plain data into a Recipe.

    Raises:
        RecipeError: every unknown key (with the nearest name) and every ill-typed value, at once.
    """
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        problems = [_describe(dict(problem)) for problem in error.errors()]
        listed = "; ".join(f"({k}) {text}" for k, text in enumerate(problems[:MAX_PROBLEMS], 1))
        listed += f"; and {len(problems) - MAX_PROBLEMS} more" * (len(problems) > MAX_PROBLEMS)
        count = f"{len(problems)} problem{'s' * (len(problems) > 1)}"
        remedy = "`l4f-datagen recipes check FILE` repeats this check"
        raise RecipeError(source, f"{count}: {listed}", remedy) from None


def _describe(problem: dict[str, Any]) -> str:
    where = [str(step) for step in problem["loc"]]
    name = ".".join(where) or "recipe"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where[-1], _known_keys(where[:-1]), n=1, cutoff=0.4)
        hint = f", did you mean {near[0]}?" if near else ""
        return f"{name}: unknown key{hint}"
    if problem["type"] == "missing":
        return f"{name}: is required"
    message = problem["msg"].removeprefix("Value error, ")
    came = "" if isinstance(problem["input"], dict) else f", got {_shown(problem['input'])}"
    return f"{name}: {message[:1].lower()}{message[1:]}{came}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


def _known_keys(where: Sequence[str]) -> list[str]:
    schema: Any = Recipe
    for step in where:
        annotation = schema.model_fields[step].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        schema = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return list(schema.model_fields)
