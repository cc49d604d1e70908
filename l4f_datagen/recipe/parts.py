"""The parts of a recipe but for the alpha network: generator, sampling, filters, output."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from l4f_datagen.core.sample import order_formats
from l4f_datagen.recipe.catalogue import Licence
from l4f_datagen.recipe.seeds import SEEDS_PATTERN


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
"""A name or path; an empty path would mean the current folder."""


class Part(BaseModel):
    """One group of recipe keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class GeneratorPart(Part):
    """Which generator."""

    weights: Named | None = None
    """``builtin:NAME``, ``catalogue:NAME`` or a file; None: given by ``--generator``."""
    class_index: Annotated[Whole, Field(ge=0)] | None = None
    """The class to draw, for class-conditional networks alone."""
    crop: tuple[Whole, Whole, Whole, Whole] | None = None
    """left, top, right, bottom in pixels: the part of the canvas that holds the image."""
    licence: Licence = Licence()

    @field_validator("crop")
    @classmethod
    def _crop_holds_pixels(cls, crop: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if crop is not None and not (0 <= crop[0] < crop[2] and 0 <= crop[1] < crop[3]):
            raise ValueError("expected 0 <= left < right and 0 <= top < bottom")
        return crop


MAX_SHARD = 65_536
"""Samples; runs resume, or stop where filters reject nearly all, only between shards."""


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
    """What the rows of ``latents`` are; W+ is recognised by its shape."""
    style_mixing: Share = 0.0
    """Share of samples whose finer layers take the w of a second z."""
    noise_mode: Literal["const", "random", "none"] = "const"
    refine: Literal["none", "guided", "matting"] = "guided"
    """How alpha is corrected by the image, before mask and filters; the paper has no such step."""
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
            raise ValueError("latent_space describes latents, and none are given")
        return self


PRESETS: dict[str, dict[str, dict[str, float]]] = {
    "none": {},
    "default": {"coverage": {}, "border": {}},
    "strict": {
        "coverage": {"min": 0.05, "max": 0.8},
        "border": {"max": 0.25},
        "components": {"max": 8, "min_largest_share": 0.95},
        "uncertainty": {"max": 0.05},
        "duplicates": {},
    },
}
"""Preset -> filters it switches on, and where their limits are not the filter's own.

Not `noise`: its score does not follow the true IoU (Spearman -.08 on toy-cars, +.07 on toy-fish:
docs/refine.md) and costs a second rendering."""


class CoverageFilter(Part):
    """Reject masks that cover too little or too much of the image."""

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
    """Reject images that the discriminator in the generator's file, or beside it, scores low."""

    min: Number
    """A logit; no value fits all checkpoints: look at the scores of a small run first."""


class NoiseFilter(Part):
    """Reject masks that change when the noise inputs are drawn again; renders once more."""

    min_iou: Share = 0.8


class FlipFilter(Part):
    """Reject masks that change when the layout is mirrored under the finer layers; renders more."""

    min_iou: Share = 0.8


class DuplicatesFilter(Part):
    """Reject images too like an accepted one before them in the same shard."""

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


class SplitPart(Part):
    """Shares of the seeds; ``train`` left out takes what val and test leave."""

    train: Share = 1.0
    val: Share = 0.0
    test: Share = 0.0

    @model_validator(mode="before")
    @classmethod
    def _train_takes_the_rest(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "train" in data:
            return data
        others = [data.get(name, 0) for name in ("val", "test")]
        if not all(type(share) in (int, float) for share in others):
            return data  # the checks of the fields report it
        return data | {"train": max(0.0, round(1 - sum(others), 9))}

    @model_validator(mode="after")
    def _whole(self) -> "SplitPart":
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train, val and test add up to {total:g}, expected 1")
        return self


class OutputPart(Part):
    """What is written."""

    formats: tuple[str, ...] = ("png", "coco", "hf")
    """png, coco, hf (Parquet), imagefolder, webdataset, yolo; coco lists the files of png."""
    category: Named = "object"
    mask_threshold: Annotated[Number, Field(ge=0, lt=1)] = 0.5
    """mask = alpha > threshold, strictly: where the refined matte crosses its middle. The authors
    cut the matte of the network at 0.9."""
    alpha_bits: Literal[8, 16] = 8
    image_format: Literal["png", "webp", "jpeg"] = "png"
    """png and webp are lossless, webp about a third smaller; jpeg is quality 95, 4:4:4."""
    cutouts: bool = False
    """Beside the images of png: RGBA images in rgba/, colours straight, not premultiplied."""
    composites: Literal["none", "generated", "folder"] = "none"
    """Beside the images of png: the object over the generator's own background, or over yours."""
    composites_folder: Named | None = None
    """Folder of images for ``composites: folder``."""
    instances: Literal["image", "components"] = "image"
    """coco, yolo: one object an image, or one a connected component of its mask."""
    coco_segmentation: Literal["rle", "polygon"] = "rle"
    """Run lengths are exact; polygons fill holes."""
    keep_rejected: bool = False
    """Write rejected samples apart, in rejected/; no index lists them."""

    split: SplitPart = SplitPart(train=0.9, val=0.1)
    """Shares of train, val and test; the seed alone decides where a sample belongs. A tenth is
    what trainers usually hold out to choose a snapshot by."""

    @field_validator("formats")
    @classmethod
    def _known_formats(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        # Neither order nor repetition changes a byte, so they must not change the hash.
        return order_formats(formats)

    @model_validator(mode="after")
    def _images_go_with_png(self) -> "OutputPart":
        if (self.composites == "folder") != (self.composites_folder is not None):
            raise ValueError("composites: folder and composites_folder go together")
        for wanted, name in ((self.cutouts, "cutouts"), (self.composites != "none", "composites")):
            if wanted and "png" not in self.formats:
                raise ValueError(f"{name} are written by png, add png to formats")
        return self
