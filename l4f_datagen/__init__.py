"""Turn a pretrained StyleGAN2 into a labelled segmentation dataset, without human labels.

The names below are public; everything else may change. They are imported when first asked for, so
``import l4f_datagen`` costs nothing.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from l4f_datagen.annotations import load_annotations as load_annotations
    from l4f_datagen.checkpoints.open import open_alpha as open_alpha
    from l4f_datagen.checkpoints.open import open_generator as open_generator
    from l4f_datagen.core.errors import AnnotationRefused as AnnotationRefused
    from l4f_datagen.core.errors import BelowScore as BelowScore
    from l4f_datagen.core.errors import CheckpointRefused as CheckpointRefused
    from l4f_datagen.core.errors import InputRefused as InputRefused
    from l4f_datagen.core.errors import Interrupted as Interrupted
    from l4f_datagen.core.errors import L4FError as L4FError
    from l4f_datagen.core.errors import NetworkError as NetworkError
    from l4f_datagen.core.errors import RecipeError as RecipeError
    from l4f_datagen.core.errors import UsageError as UsageError
    from l4f_datagen.core.logs import show_logs as show_logs
    from l4f_datagen.core.sample import Sample as Sample
    from l4f_datagen.pipeline.api import make_dataset as make_dataset
    from l4f_datagen.pipeline.api import samples as samples
    from l4f_datagen.pipeline.config import MakeConfig as MakeConfig
    from l4f_datagen.recipe import Recipe as Recipe
    from l4f_datagen.recipe.domains import load_recipe as load_recipe
    from l4f_datagen.scoring.protocol import score as score
    from l4f_datagen.toys.scene import render_scene as render_scene
    from l4f_datagen.training.run import train_alpha as train_alpha

    __version__: str

_HOMES = {
    "annotations": "load_annotations",
    "checkpoints.open": "open_alpha open_generator",
    "core.errors": "AnnotationRefused BelowScore CheckpointRefused InputRefused Interrupted "
    "L4FError NetworkError RecipeError UsageError",
    "core.logs": "show_logs",
    "core.sample": "Sample",
    "pipeline.api": "make_dataset samples",
    "pipeline.config": "MakeConfig",
    "recipe": "Recipe",
    "recipe.domains": "load_recipe",
    "scoring.protocol": "score",
    "toys.scene": "render_scene",
    "training.run": "train_alpha",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    """Import a public name from its home."""
    if name == "__version__":
        return version("l4f-datagen")
    if name in _HOME_OF:
        return getattr(import_module(f"l4f_datagen.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*_HOME_OF, "__version__"])
