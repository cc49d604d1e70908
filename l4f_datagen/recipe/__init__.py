"""The recipe: everything that decides a dataset, as one checked and frozen value.

Values come from defaults < recipe file < ``--set a.b=c`` < flags (a flag may also come from its
``L4F_`` environment variable); all problems of a recipe are reported at once.
"""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, Field, ValidationError

from l4f_datagen.core.errors import RecipeError
from l4f_datagen.io.untrusted import SHOWN_CHARACTERS
from l4f_datagen.recipe.alpha import AlphaPart as AlphaPart
from l4f_datagen.recipe.alpha import TrainingPart as TrainingPart
from l4f_datagen.recipe.catalogue import Licence as Licence
from l4f_datagen.recipe.parts import FiltersPart as FiltersPart
from l4f_datagen.recipe.parts import GeneratorPart as GeneratorPart
from l4f_datagen.recipe.parts import OutputPart as OutputPart
from l4f_datagen.recipe.parts import Part
from l4f_datagen.recipe.parts import SamplingPart as SamplingPart
from l4f_datagen.recipe.parts import SplitPart as SplitPart

MAX_PROBLEMS = 50  # named in one error; a file of another kind would fill the screen


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
    discriminator: str | None = None,
) -> str:
    """Return the sha256 that names a dataset's bytes (whatever its number of samples).

    Where files lie does not count, what they are does: the sha256 of the tensors of generator and
    alpha network, of the images for ``composites: folder``, of the values in ``sampling.latents``,
    and of the discriminator's file where a filter asks one that lies beside the generator's.
    """
    values = recipe.model_dump(mode="json")
    values["generator"]["weights"] = generator
    values["generator"]["licence"] = recipe.generator.licence.facts
    values["sampling"]["latents"] = latents
    if recipe.sampling.same_seeds:  # as in version 0.1, so that its datasets keep their hash
        del values["sampling"]["same_seeds"]
    if recipe.sampling.refine == "none":
        del values["sampling"]["refine"]
    values["alpha"] = {"weights": alpha, "background": recipe.alpha.background}
    values["output"]["composites_folder"] = backgrounds
    if discriminator is not None:
        values["filters"]["discriminator"]["weights"] = discriminator
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def check_recipe(data: Mapping[str, Any], source: str, given: Sequence[str] = ()) -> Recipe:
    """Turn plain data into a Recipe; ``source`` names the file.

    RecipeError names every unknown key (with the nearest name) and every ill-typed value at once.
    Where all problems are of keys in ``given``, which overrides set, ``--set`` is the subject.
    """
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        problems = error.errors()
    # A key beside a given one in the same mapping counts too: sections check pairs of keys.
    places = [".".join([*map(str, problem["loc"]), ""]) for problem in problems]
    names = [f"{name}." for name in given]
    if all(any(n.startswith(p) or p.startswith(n) for n in names) for p in places):
        source, remedy = "--set", "`l4f-datagen recipes show toy-cars` lists keys and values"
    else:
        remedy = "`l4f-datagen recipes check FILE` repeats this check"
    listed = [f"({k}) {_describe(dict(p))}" for k, p in enumerate(problems[:MAX_PROBLEMS], 1)]
    listed += [f"and {len(problems) - MAX_PROBLEMS} more"] * (len(problems) > MAX_PROBLEMS)
    count = f"{len(problems)} problem{'s' * (len(problems) > 1)}"
    raise RecipeError(source, f"{count}: {'; '.join(listed)}", remedy)


def _describe(problem: Mapping[str, Any]) -> str:
    where = [str(step) for step in problem["loc"]]
    name = ".".join(where) or "recipe"
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        near = difflib.get_close_matches(where[-1], _known_keys(where[:-1]), n=1, cutoff=0.4)
        return f"{name}: unknown key" + (f", did you mean {near[0]}?" if near else "")
    if problem["type"] == "missing":
        return f"{name}: is required"
    message = problem["msg"].removeprefix("Value error, ")
    message = message.replace("a valid tuple", "a list in [brackets]")
    text = f"{name}: {message[:1].lower()}{message[1:]}"
    if isinstance(problem["input"], dict):
        return text
    value = repr(problem["input"])
    cut = value if len(value) <= SHOWN_CHARACTERS else f"{value[: SHOWN_CHARACTERS - 3]}..."
    return f"{text}, got {cut}"


def _known_keys(where: Sequence[str]) -> list[str]:
    schema: Any = Recipe
    for step in where:
        annotation = schema.model_fields[step].annotation
        if annotation is Licence:
            return [field.name for field in fields(Licence)]
        options = [annotation, *getattr(annotation, "__args__", ())]
        schema = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return list(schema.model_fields)
