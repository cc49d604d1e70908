"""The recipe: everything that decides a dataset, as one checked and frozen value.

Values come from defaults < recipe file < ``--set a.b=c`` < flags (a flag may also come from its
``L4F_`` environment variable); all problems of a recipe are reported at once.
"""

from l4f_datagen.recipe.alpha import AlphaPart, TrainingPart
from l4f_datagen.recipe.catalogue import Licence
from l4f_datagen.recipe.parts import (
    PRESETS,
    BorderFilter,
    ComponentsFilter,
    CoverageFilter,
    DiscriminatorFilter,
    DuplicatesFilter,
    FiltersPart,
    FlipFilter,
    GeneratorPart,
    NoiseFilter,
    OutputPart,
    SamplingPart,
    SplitPart,
    UncertaintyFilter,
)
from l4f_datagen.recipe.recipe import MAX_PROBLEMS, Recipe, check_recipe, recipe_hash

__all__ = [
    "MAX_PROBLEMS",
    "PRESETS",
    "AlphaPart",
    "BorderFilter",
    "ComponentsFilter",
    "CoverageFilter",
    "DiscriminatorFilter",
    "DuplicatesFilter",
    "FiltersPart",
    "FlipFilter",
    "GeneratorPart",
    "Licence",
    "NoiseFilter",
    "OutputPart",
    "Recipe",
    "SamplingPart",
    "SplitPart",
    "TrainingPart",
    "UncertaintyFilter",
    "check_recipe",
    "recipe_hash",
]
