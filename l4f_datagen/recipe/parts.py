"""The parts of a recipe but for the alpha network: generator, sampling, filters, output."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

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
Named = Annotated[str, Field(min_length=1)]  # an empty path would mean the current folder


class Part(BaseModel):
    """One group of recipe keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for problem, is_there in self._problems().items():
            if is_there:
                raise ValueError(problem)
        return self

    def _problems(self) -> dict[str, bool]:
        return {}  # what can be wrong between keys, and whether it is


def _holds_pixels(crop: tuple[int, ...]) -> tuple[int, ...]:
    if not (0 <= crop[0] < crop[2] and 0 <= crop[1] < crop[3]):
        raise ValueError("expected 0 <= left < right and 0 <= top < bottom")
    return crop


class GeneratorPart(Part):
    """Which generator."""

    weights: Named | None = None
    """``builtin:NAME``, ``catalogue:NAME`` or a file; None: given by ``--generator``."""
    class_index: Annotated[Whole, Field(ge=0)] | None = None  # of class-conditional networks
    crop: Annotated[tuple[Whole, Whole, Whole, Whole], AfterValidator(_holds_pixels)] | None = None
    """left, top, right, bottom in pixels: the part of the canvas that holds the image."""
    licence: Licence = Licence()


MAX_SHARD = 65_536  # samples; runs resume, or stop where filters reject all, between shards
Cleanup = Literal["largest_component", "fill_holes"]


def _in_order(steps: tuple[str, ...]) -> tuple[str, ...]:
    """Sort clean-ups: holes in what is dropped do not matter."""
    return tuple(step for step in get_args(Cleanup) if step in steps)


class SamplingPart(Part):
    """Which samples, and how they are rendered."""

    psi: Annotated[tuple[Psi, ...], Field(min_length=1)] = (0.5, 0.7, 1.0)  # in turn
    truncation_cutoff: Positive | None = None  # truncate the first so many rows of ws alone
    seeds: Annotated[str, Field(pattern=SEEDS_PATTERN)] = "0-"  # as many as are needed
    same_seeds: bool = False
    """Every psi takes the same seeds, else each sample has its own and shows another object. Left
    out: true where seeds or latents are given, for they are then given for every psi."""
    latents: Named | None = None  # .npy or .pt with a latent a row; a seed is then a row
    latent_space: Literal["w", "z"] = "w"  # of the latents; W+ is recognised by its shape
    style_mixing: Share = 0.0  # share of samples whose finer layers take the w of a second z
    noise_mode: Literal["const", "random", "none"] = "const"
    refine: Literal["none", "guided", "matting"] = "guided"  # alpha by the image; not the paper's
    mask_cleanup: Annotated[tuple[Cleanup, ...], AfterValidator(_in_order)] = ()
    """What is done to the mask behind the threshold; it is then not alpha > threshold alone."""
    block_size: Annotated[Whole, Field(ge=1, le=4096)] = 32
    blocks_per_shard: Annotated[Whole, Field(ge=1, le=4096)] = 16
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # fp16: of the top resolutions alone

    def _problems(self) -> dict[str, bool]:
        size = self.block_size * self.blocks_per_shard
        sizes = f"block_size {self.block_size} x blocks_per_shard {self.blocks_per_shard}"
        shards = f"{sizes} makes shards of {size} samples, at most {MAX_SHARD} are taken"
        latents = "latent_space describes latents, and none are given"
        undescribed = self.latents is None and self.latent_space != "w"
        return {shards: size > MAX_SHARD, latents: undescribed}

    @model_validator(mode="before")
    @classmethod
    def _given_seeds_are_for_every_psi(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("same_seeds") is not None:
            return data
        given = data.get("seeds", "0-") != "0-" or data.get("latents") is not None
        return data | {"same_seeds": given}


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

    def _problems(self) -> dict[str, bool]:
        crossed = f"min {self.min} is above max {self.max}, which rejects every sample"
        return {crossed: self.min > self.max}


class BorderFilter(Part):
    """Reject masks that touch the border: share of border pixels inside the mask."""

    max: Share = 1.0


class ComponentsFilter(Part):
    """Reject masks in pieces."""

    max: Positive = 16  # connected components, 8-connected
    min_largest_share: Share = 0.5  # area of the largest one as a share of the mask


class UncertaintyFilter(Part):
    """Reject undecided mattes: mean of min(alpha, 1 - alpha), 0 to 0.5."""

    max: Annotated[Number, Field(ge=0, le=0.5)] = 0.1


class DiscriminatorFilter(Part):
    """Reject images that the discriminator in the generator's file, or beside it, scores low."""

    min: Number  # a logit; no value fits all checkpoints: look at the scores of a small run first


class NoiseFilter(Part):
    """Reject masks that change when the noise inputs are drawn again; renders once more."""

    min_iou: Share = 0.8


class FlipFilter(Part):
    """Reject masks that change when the layout is mirrored under the finer layers; renders more."""

    min_iou: Share = 0.8


class DuplicatesFilter(Part):
    """Reject images too like an accepted one before them in the same shard."""

    min_distance: Share = 0.04  # share of differing bits in a 256-bit difference hash


class FiltersPart(Part):
    """Filters in the order they are asked; null switches one off."""

    preset: Literal["none", "default", "strict"] = "default"  # of filters that are not named
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
        filled, preset = dict(data), data.get("preset", "default")
        for name, limits in PRESETS.get(preset if isinstance(preset, str) else "", {}).items():
            own = data.get(name, {})
            filled[name] = limits | own if isinstance(own, dict) else own
        return filled


class SplitPart(Part):
    """Shares of the seeds; ``train`` left out takes what val and test leave."""

    train: Share = 1.0
    val: Share = 0.0
    test: Share = 0.0

    def _problems(self) -> dict[str, bool]:
        total = self.train + self.val + self.test
        return {f"train, val and test add up to {total:g}, expected 1": abs(total - 1) > 1e-6}

    @model_validator(mode="before")
    @classmethod
    def _train_takes_the_rest(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "train" in data:
            return data
        others = [data.get(name, 0) for name in ("val", "test")]
        if not all(type(share) in (int, float) for share in others):
            return data  # the checks of the fields report it
        return data | {"train": max(0.0, round(1 - sum(others), 9))}


class OutputPart(Part):
    """What is written."""

    # Neither order nor repetition changes a byte, so they must not change the hash.
    formats: Annotated[tuple[str, ...], AfterValidator(order_formats)] = ("png", "coco", "hf")
    """Of ``core.sample.FORMATS``; coco lists the files of png."""
    category: Named = "object"
    mask_threshold: Annotated[Number, Field(ge=0, lt=1)] = 0.5
    """mask = alpha > threshold: the middle of the refined matte; the authors: 0.9, unrefined."""
    alpha_bits: Literal[8, 16] = 8
    image_format: Literal["png", "webp", "jpeg"] = "png"  # jpeg: quality 95, 4:4:4
    cutouts: bool = False  # beside the images of png: RGBA images in rgba/, not premultiplied
    composites: Literal["none", "generated", "folder"] = "none"  # objects over the generator's own
    composites_folder: Named | None = None  # background, or over the images of this folder
    instances: Literal["image", "components"] = "image"  # coco, yolo: what one object is
    coco_segmentation: Literal["rle", "polygon"] = "rle"  # rle is exact; polygons fill holes
    keep_rejected: bool = False  # write rejected samples apart, in rejected/; no index lists them
    split: SplitPart = SplitPart(train=0.9, val=0.1)
    """Shares of train, val and test; the seed alone decides where a sample belongs. A tenth is
    what trainers usually hold out to choose a snapshot by."""

    def _problems(self) -> dict[str, bool]:
        no_png, composed = "png" not in self.formats, self.composites != "none"
        halves = (self.composites == "folder") == (self.composites_folder is None)
        return {
            "composites: folder and composites_folder go together": halves,
            "cutouts are written by png, add png to formats": no_png and self.cutouts,
            "composites are written by png, add png to formats": no_png and composed,
        }
