"""Domains by name: the recipes that ship, and the weights that ship with them."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from l4f_datagen.core.errors import RecipeError
from l4f_datagen.io.cache import target_path
from l4f_datagen.io.download import fetch, name_of_url
from l4f_datagen.recipe import Recipe, check_recipe
from l4f_datagen.recipe.catalogue import WEIGHTS, fetch_weights
from l4f_datagen.recipe.file import override, read_recipe_file

Entry = TypeVar("Entry")

PACKAGE = Path(__file__).parents[1]


class Builtin(NamedTuple):
    """Weights that ship with the package.

    Attributes:
        folder: holds ``generator``, ``discriminator`` and ``alpha`` as safetensors.
        resolution: side of the square image.
    """

    folder: Path
    resolution: int


BUILTIN = {name: Builtin(PACKAGE / "weights" / name, 64) for name in ("toy-cars", "toy-fish")}


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


def local_weights(weights: str, part: str, *, key: str | None = None) -> Path:
    """Where the weights of a recipe lie, or will lie once fetched.

    Args:
        weights: ``builtin:NAME``, ``catalogue:NAME``, an http(s) address or a file name.
        part: "generator", "discriminator" or "alpha".
        key: of the recipe that names them; None: ``part.weights``.

    Raises:
        RecipeError: no such built-in or catalogue entry.
    """
    kind, _, name = weights.partition(":")
    key = key or f"{part}.weights"
    if kind == "builtin":
        return _known(BUILTIN, kind, name, key).folder / f"{part}.safetensors"
    if kind == "catalogue":
        return target_path(_known(WEIGHTS, kind, name, key).filename)
    if kind in ("http", "https"):
        return target_path(name_of_url(weights))
    return Path(weights).expanduser()


def weights_path(weights: str, part: str, *, offline: bool = False, key: str | None = None) -> Path:
    """Return the weights' file, fetched into the cache where it names the catalogue or the web.

    Arguments as in ``local_weights``; ``offline`` fetches nothing.

    Raises:
        RecipeError: no such built-in or catalogue entry.
        NetworkError: it cannot be fetched, or is not what it must be.
    """
    kind, _, name = weights.partition(":")
    path = local_weights(weights, part, key=key)
    if kind in ("http", "https"):
        return fetch(weights, path.name, offline=offline)
    if kind != "catalogue":
        return path
    return fetch_weights(WEIGHTS[name], offline=offline)


def _known(table: Mapping[str, Entry], kind: str, name: str, key: str) -> Entry:
    if name in table:
        return table[name]
    known = ", ".join(f"{kind}:{entry}" for entry in table)
    raise RecipeError(key, f"{kind} holds no {name!r}", f"known: {known}")


def describe_domains() -> list[dict[str, str]]:
    """One row a shipped domain, for people and machines."""
    rows = []
    for name, path in shipped_recipes().items():
        recipe = load_recipe(path, [], {})
        weights = recipe.generator.weights or ""
        kind, _, entry = weights.partition(":")
        here = local_weights(weights, "generator").is_file()
        rows.append(
            {
                "domain": name,
                "px": str((WEIGHTS if kind == "catalogue" else BUILTIN)[entry].resolution),
                "weights": weights,
                "licence": recipe.generator.licence.name,
                "cached": "yes" if here else "no",
                "description": recipe.description,
            }
        )
    return rows
