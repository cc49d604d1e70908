"""Recipe part: what is written."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from l4f_datagen.core.formats import order_formats
from l4f_datagen.recipe.split import SplitPart
from l4f_datagen.recipe.values import Named, Number, Part


class OutputPart(Part):
    """What is written."""

    formats: tuple[str, ...] = ("png", "coco", "hf")
    """png, coco, hf (Parquet), imagefolder, webdataset, yolo; coco lists the files of png."""
    category: Named = "object"
    mask_threshold: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    """mask = alpha > threshold, strictly."""
    alpha_bits: Literal[8, 16] = 8
    image_format: Literal["png", "webp", "jpeg"] = "png"
    """png and webp are lossless, webp about a third smaller; jpeg is quality 95, 4:4:4."""
    cutouts: bool = False
    """Beside the images of png: RGBA pictures in rgba/, colours straight, not premultiplied."""
    composites: Literal["none", "generated", "folder"] = "none"
    """Beside the images of png: the object over the generator's own background, or over yours."""
    composites_folder: Named | None = None
    """Folder of pictures for ``composites: folder``."""
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
    def _pictures_go_with_png(self) -> "OutputPart":
        if (self.composites == "folder") != (self.composites_folder is not None):
            raise ValueError("composites: folder and composites_folder go together")
        for wanted, name in ((self.cutouts, "cutouts"), (self.composites != "none", "composites")):
            if wanted and "png" not in self.formats:
                raise ValueError(f"{name} are written by png, add png to formats")
        return self
