"""Plain data in, Recipe out; every problem said at once."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from l4f_datagen.core.errors import RecipeError
from l4f_datagen.io.plain_yaml import SHOWN_CHARACTERS
from l4f_datagen.recipe.whole import Recipe

MAX_PROBLEMS = 50


def check_recipe(data: Mapping[str, Any], source: str) -> Recipe:
    """Turn plain data into a Recipe.

    Raises:
        RecipeError: every unknown key (with the nearest name) and every ill-typed value, at once.
    """
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        problems = [_describe(dict(problem)) for problem in error.errors()]
        listed = "; ".join(f"({k}) {text}" for k, text in enumerate(problems[:MAX_PROBLEMS], 1))
        listed += f"; and {len(problems) - MAX_PROBLEMS} more" * (len(problems) > MAX_PROBLEMS)
        count = f"{len(problems)} problem{'s' * (len(problems) > 1)}"
        remedy = "`l4f-datagen recipes check FILE` repeats this check"
        raise RecipeError(source, f"{count}: {listed}", remedy) from None


def _describe(problem: dict[str, Any]) -> str:
    where = [str(step) for step in problem["loc"]]
    name = ".".join(where) or "recipe"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where[-1], _known_keys(where[:-1]), n=1, cutoff=0.4)
        hint = f", did you mean {near[0]}?" if near else ""
        return f"{name}: unknown key{hint}"
    if problem["type"] == "missing":
        return f"{name}: is required"
    message = problem["msg"].removeprefix("Value error, ")
    came = "" if isinstance(problem["input"], dict) else f", got {_shown(problem['input'])}"
    return f"{name}: {message[:1].lower()}{message[1:]}{came}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


def _known_keys(where: Sequence[str]) -> list[str]:
    schema: Any = Recipe
    for step in where:
        annotation = schema.model_fields[step].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        schema = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return list(schema.model_fields)
