"""The whole recipe, and the hash that names a dataset's bytes."""

import hashlib
import json
from typing import Annotated

import yaml
from pydantic import Field

from l4f_datagen.recipe.alpha import AlphaPart
from l4f_datagen.recipe.filters import FiltersPart
from l4f_datagen.recipe.generator import GeneratorPart
from l4f_datagen.recipe.output import OutputPart
from l4f_datagen.recipe.sampling import SamplingPart
from l4f_datagen.recipe.values import Part


class Recipe(Part):
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


def recipe_hash(
    recipe: Recipe,
    *,
    generator: str,
    alpha: str,
    backgrounds: str | None = None,
    latents: str | None = None,
) -> str:
    """Return the sha256 that names a dataset's bytes (whatever its number of samples).

    Args:
        recipe: the resolved recipe; where its files lie does not count, what they are does.
        generator: sha256 of the generator's tensors.
        alpha: sha256 of the alpha network's tensors.
        backgrounds: sha256 of the pictures for ``composites: folder``.
        latents: sha256 of the values in ``sampling.latents``.
    """
    values = recipe.model_dump(mode="json")
    values["generator"]["weights"] = generator
    values["sampling"]["latents"] = latents
    if recipe.sampling.same_seeds:
        del values["sampling"][
            "same_seeds"
        ]  # as in version 0.1, so that its datasets stay the same
    values["alpha"] = {"weights": alpha, "background": recipe.alpha.background}
    values["output"]["composites_folder"] = backgrounds
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
