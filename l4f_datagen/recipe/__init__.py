"""The recipe: everything that decides a dataset, as one checked and frozen value.

Values come from defaults < recipe file < ``--set a.b=c`` < flags (a flag may also come from its
``L4F_`` environment variable); all problems of a recipe are reported at once.
"""

from l4f_datagen.recipe.alpha import AlphaPart as AlphaPart
from l4f_datagen.recipe.alpha import TrainingPart as TrainingPart
from l4f_datagen.recipe.catalogue import Licence as Licence
from l4f_datagen.recipe.parts import PRESETS as PRESETS
from l4f_datagen.recipe.parts import BorderFilter as BorderFilter
from l4f_datagen.recipe.parts import ComponentsFilter as ComponentsFilter
from l4f_datagen.recipe.parts import CoverageFilter as CoverageFilter
from l4f_datagen.recipe.parts import DiscriminatorFilter as DiscriminatorFilter
from l4f_datagen.recipe.parts import DuplicatesFilter as DuplicatesFilter
from l4f_datagen.recipe.parts import FiltersPart as FiltersPart
from l4f_datagen.recipe.parts import FlipFilter as FlipFilter
from l4f_datagen.recipe.parts import GeneratorPart as GeneratorPart
from l4f_datagen.recipe.parts import NoiseFilter as NoiseFilter
from l4f_datagen.recipe.parts import OutputPart as OutputPart
from l4f_datagen.recipe.parts import SamplingPart as SamplingPart
from l4f_datagen.recipe.parts import SplitPart as SplitPart
from l4f_datagen.recipe.parts import UncertaintyFilter as UncertaintyFilter
from l4f_datagen.recipe.recipe import Recipe as Recipe
from l4f_datagen.recipe.recipe import check_recipe as check_recipe
from l4f_datagen.recipe.recipe import recipe_hash as recipe_hash
