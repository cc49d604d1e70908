"""The recipe: everything that decides a dataset, as one checked and frozen value.

Values come from defaults < recipe file < ``--set a.b=c`` < flags (a flag may also come from its
``L4F_`` environment variable); all problems of a recipe are reported at once.
"""

from l4f_datagen.recipe.alpha import AlphaPart, TrainingPart
from l4f_datagen.recipe.check import MAX_PROBLEMS, check_recipe
from l4f_datagen.recipe.filters import BorderFilter, CoverageFilter, FiltersPart
from l4f_datagen.recipe.generator import GeneratorPart, Licence
from l4f_datagen.recipe.output import OutputPart
from l4f_datagen.recipe.sampling import SamplingPart
from l4f_datagen.recipe.whole import Recipe, recipe_hash

__all__ = [
    "MAX_PROBLEMS",
    "AlphaPart",
    "BorderFilter",
    "CoverageFilter",
    "FiltersPart",
    "GeneratorPart",
    "Licence",
    "OutputPart",
    "Recipe",
    "SamplingPart",
    "TrainingPart",
    "check_recipe",
    "recipe_hash",
]
