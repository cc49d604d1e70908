"""Domains by name: the recipes that ship, and the weights that ship with them."""

import difflib
from pathlib import Path
from typing import Any

from l4f_datagen.errors import RecipeError
from l4f_datagen.recipe import Recipe, check_recipe, override, read_recipe_file

PACKAGE = Path(__file__).parent
BUILTIN = {
    "toy-cars": PACKAGE / "toycars" / "weights",
}
"""Folders that hold ``generator``, ``discriminator`` and ``alpha`` as safetensors."""


def recipes_folder() -> Path:
    """Where the shipped recipes lie: inside the wheel, or beside the package in a checkout."""
    packaged = PACKAGE / "_recipes"
    return packaged if packaged.is_dir() else PACKAGE.parent / "recipes"


def shipped_recipes() -> dict[str, Path]:
    """Domain name -> recipe file."""
    return {path.stem: path for path in sorted(recipes_folder().glob("*.yaml"))}


def find_recipe(domain: str) -> Path:
    """Return the recipe file of a domain.

    Raises:
        RecipeError: no such domain; the nearest name is offered.
    """
    known = shipped_recipes()
    if domain in known:
        return known[domain]
    near = difflib.get_close_matches(domain, known, n=1, cutoff=0.3)
    remedy = f"did you mean {near[0]}?" if near else "`l4f-datagen recipes list` names them"
    raise RecipeError(f"--domain {domain}", "no such domain", remedy)


def load_recipe(source: Path, overrides: list[str], defaults: dict[str, Any]) -> Recipe:
    """Read, override and check a recipe.

    Args:
        source: the YAML file.
        overrides: ``a.b=c`` assignments, later ones win.
        defaults: values for keys the file does not name (top level only).
    """
    return check_recipe(override(defaults | read_recipe_file(source), overrides), str(source))


def weights_path(weights: str, part: str) -> Path:
    """Turn ``builtin:NAME`` or a file name into a path.

    Args:
        weights: the recipe's value.
        part: "generator", "discriminator" or "alpha".

    Raises:
        RecipeError: no such built-in.
    """
    kind, colon, name = weights.partition(":")
    if not (colon and kind == "builtin"):
        return Path(weights).expanduser()
    if name not in BUILTIN:
        known = ", ".join(f"builtin:{known}" for known in BUILTIN)
        raise RecipeError(f"{part}.weights", f"no built-in {name!r}", f"known: {known}")
    return BUILTIN[name] / f"{part}.safetensors"


def describe_domains() -> list[dict[str, str]]:
    """One row a shipped domain, for people and machines: weights, licence, cached or not."""
    rows = []
    for name, path in shipped_recipes().items():
        recipe = load_recipe(path, [], {})
        weights = recipe.generator.weights or "yours"
        rows.append(
            {
                "domain": name,
                "weights": weights,
                "licence": recipe.generator.licence.name,
                "cached": "yes" if weights_path(weights, "generator").exists() else "no",
                "description": recipe.description,
            }
        )
    return rows
