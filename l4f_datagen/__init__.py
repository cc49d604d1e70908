"""Turn a pretrained StyleGAN2 into a labelled segmentation dataset, with no human label.

The names below are public; everything else may change. They are imported when first asked for, so
that ``import l4f_datagen`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from l4f_datagen.annotations import load_annotations as load_annotations
    from l4f_datagen.checkpoints.open import open_alpha as open_alpha
    from l4f_datagen.checkpoints.open import open_generator as open_generator
    from l4f_datagen.core.errors import L4FError as L4FError
    from l4f_datagen.pipeline.config import MakeConfig as MakeConfig
    from l4f_datagen.pipeline.make import make_dataset as make_dataset
    from l4f_datagen.recipe import Recipe as Recipe
    from l4f_datagen.scoring.protocol import score as score
    from l4f_datagen.toys.scene import render_scene as render_scene

_HOMES = {
    "MakeConfig": "l4f_datagen.pipeline.config",
    "L4FError": "l4f_datagen.core.errors",
    "Recipe": "l4f_datagen.recipe",
    "load_annotations": "l4f_datagen.annotations",
    "make_dataset": "l4f_datagen.pipeline.make",
    "open_alpha": "l4f_datagen.checkpoints.open",
    "open_generator": "l4f_datagen.checkpoints.open",
    "render_scene": "l4f_datagen.toys.scene",
    "score": "l4f_datagen.scoring.protocol",
}


def __getattr__(name: str) -> object:
    """Import a public name from its home."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(_HOMES)
