"""The whole recipe: read from a file, overridden, checked; and the hash of a dataset's bytes."""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, Field, ValidationError

from l4f_datagen.core.errors import RecipeError
from l4f_datagen.io.untrusted import SHOWN_CHARACTERS, plain_yaml
from l4f_datagen.recipe.alpha import AlphaPart
from l4f_datagen.recipe.catalogue import Licence
from l4f_datagen.recipe.parts import FiltersPart, GeneratorPart, OutputPart, Part, SamplingPart

MAX_RECIPE_BYTES = 100_000
"""The largest shipped recipe has 4 kB; YAML's time grows faster than its length."""
MAX_PROBLEMS = 50
"""Named in one error; a file of another kind would fill the screen."""


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


def read_recipe_file(path: Path) -> dict[str, Any]:
    """Read a recipe file as plain data; RecipeError for what is no mapping in plain YAML."""
    remedy = "compare with `l4f-datagen recipes show toy-cars`"
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_RECIPE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RecipeError(str(path), f"cannot be read ({reason})", "check the path") from error
    if len(raw) > MAX_RECIPE_BYTES:
        raise RecipeError(str(path), "is larger than 100 kB, which no recipe is", remedy)
    try:
        data = plain_yaml(raw.decode("utf-8"))
    except ValueError as error:
        problem = f"is not plain YAML ({error})"
        raise RecipeError(str(path), problem, remedy) from error
    if not isinstance(data, dict):
        kind = type(data).__name__
        raise RecipeError(str(path), f"must be a mapping of keys, got {kind}", remedy)
    return data


def override(data: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Apply ``a.b=c`` assignments (values are YAML) to plain recipe data.

    >>> override({"alpha": {"background": "conv1"}}, ["alpha.training.steps=10"])
    {'alpha': {'background': 'conv1', 'training': {'steps': 10}}}
    """
    result: dict[str, Any] = json.loads(json.dumps(data))
    for assignment in assignments:
        name, sign, text = assignment.partition("=")
        if not sign or not name:
            raise RecipeError(f"--set {assignment}", "expected a.b=value", "write key=value")
        try:
            value = plain_yaml(text)
        except ValueError as error:
            problem = f"value is not plain YAML ({error})"
            raise RecipeError(f"--set {assignment}", problem, "quote it") from error
        assign(result, name, value, f"--set {assignment}")
    return result


def assign(data: dict[str, Any], name: str, value: Any, subject: str) -> None:
    """Set the key ``a.b`` of plain recipe data, in place; RecipeError where ``a`` is no mapping."""
    *parents, leaf = name.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise RecipeError(subject, f"{parent} holds no keys", "check the key's name")
    data[leaf] = value


def check_recipe(data: Mapping[str, Any], source: str, given: Sequence[str] = ()) -> Recipe:
    """Turn plain data into a Recipe; ``source`` names the file.

    RecipeError names every unknown key (with the nearest name) and every ill-typed value at once.
    Where all problems are of keys in ``given``, which overrides set, ``--set`` is the subject.
    """
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        places = [".".join(map(str, problem["loc"])) for problem in error.errors()]
        if given and all(_within(place, given) for place in places):
            source = "--set"
        problems = [_describe(dict(problem)) for problem in error.errors()]
        listed = "; ".join(f"({k}) {text}" for k, text in enumerate(problems[:MAX_PROBLEMS], 1))
        listed += f"; and {len(problems) - MAX_PROBLEMS} more" * (len(problems) > MAX_PROBLEMS)
        count = f"{len(problems)} problem{'s' * (len(problems) > 1)}"
        remedy = "`l4f-datagen recipes check FILE` repeats this check"
        if source == "--set":
            remedy = "`l4f-datagen recipes show toy-cars` lists keys and values"
        raise RecipeError(source, f"{count}: {listed}", remedy) from None


def _within(place: str, names: Sequence[str]) -> bool:
    """Whether a key or one beside it in the same mapping was set: sections check pairs of keys."""
    return any(
        f"{name}.".startswith(f"{place}.") or f"{place}.".startswith(f"{name}.") for name in names
    )


def _describe(problem: dict[str, Any]) -> str:
    where = [str(step) for step in problem["loc"]]
    name = ".".join(where) or "recipe"
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        near = difflib.get_close_matches(where[-1], _known_keys(where[:-1]), n=1, cutoff=0.4)
        hint = f", did you mean {near[0]}?" if near else ""
        return f"{name}: unknown key{hint}"
    if problem["type"] == "missing":
        return f"{name}: is required"
    message = problem["msg"].removeprefix("Value error, ")
    message = message.replace("a valid tuple", "a list in [brackets]")
    came = "" if isinstance(problem["input"], dict) else f", got {_shown(problem['input'])}"
    return f"{name}: {message[:1].lower()}{message[1:]}{came}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


def _known_keys(where: Sequence[str]) -> list[str]:
    schema: Any = Recipe
    for step in where:
        annotation = schema.model_fields[step].annotation
        if annotation is Licence:
            return [field.name for field in fields(Licence)]
        options = [annotation, *getattr(annotation, "__args__", ())]
        schema = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return list(schema.model_fields)
