"""Domains by name: the recipes that ship, and the weights that ship with them."""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from l4f_datagen.core.errors import RecipeError, UsageError
from l4f_datagen.io.download import fetch, name_of_url, target_path
from l4f_datagen.recipe import OutputPart, Recipe, SamplingPart, check_recipe
from l4f_datagen.recipe.catalogue import WEIGHTS, fetch_weights
from l4f_datagen.recipe.parts import Part
from l4f_datagen.recipe.recipe import assign, override, read_recipe_file

Entry = TypeVar("Entry")

PACKAGE = Path(__file__).parents[1]


class Builtin(NamedTuple):
    """Weights that ship: a folder with safetensors of generator, discriminator and alpha."""

    folder: Path
    resolution: int


OTHER_WORDS = {
    "face": "ffhq",
    "portrait": "ffhq",
    "person": "ffhq",
    "people": "ffhq",
    "fish": "toy-fish",
}
"""What people call a domain, where its name gives no hint."""

BUILTIN = {
    name: Builtin(PACKAGE / "weights" / name, 64)
    for name in ("toy-cars", "toy-fish", "toy-portraits", "skin-lesions", "blood-cells")
}


def recipes_folder() -> Path:
    """Where the shipped recipes lie: inside the wheel, or beside the package in a checkout."""
    packaged = PACKAGE / "_recipes"
    return packaged if packaged.is_dir() else PACKAGE.parent / "recipes"


def shipped_recipes() -> dict[str, Path]:
    """Domain name -> recipe file."""
    return {path.stem: path for path in sorted(recipes_folder().glob("*.yaml"))}


def find_recipe(domain: str) -> Path:
    """Return the recipe file of a domain; RecipeError offers names that look or sound alike."""
    known = shipped_recipes()
    if domain in known:
        return known[domain]
    near = difflib.get_close_matches(domain.lower(), known, n=2, cutoff=0.8)  # a misspelling
    if not near:
        wanted = domain.lower().rstrip("s")
        near = [OTHER_WORDS[wanted]] if wanted in OTHER_WORDS else []
        near += sorted((name for name in known if len(wanted) > 2 and wanted in name), key=len)
        near += difflib.get_close_matches(domain.lower(), known, n=2, cutoff=0.5)
    offered = list(dict.fromkeys(near))[:3]
    remedy = "`l4f-datagen recipes list` names them all"
    if offered:
        remedy = f"did you mean {' or '.join(offered)}? {remedy}"
    raise RecipeError(f"--domain {domain}", "no such domain", remedy)


def load_recipe(
    source: str | Path | None = None,
    *,
    assignments: Sequence[str] = (),
    psi: float | Sequence[float] | None = None,
    generator: str | Path | None = None,
    alpha: str | Path | None = None,
    **overrides: Any,
) -> Recipe:
    """Read, override and check a recipe.

    Args:
        source: name of a shipped domain, or a YAML file; None starts from the defaults, for a
            generator of your own.
        assignments: ``a.b=c`` with YAML values, as ``--set`` takes them; applied first.
        psi: one truncation psi or several.
        generator: weights to use instead of the recipe's; its alpha network is then trained.
        alpha: weights of the alpha network.
        overrides: values by key; ``seeds="0-9"`` for a key of ``sampling`` or ``output``, and
            ``alpha__training__steps=100`` for any key.

    Raises:
        RecipeError: no such domain, an unreadable file, or wrong values, all named at once.
    """
    path = _file_of(source) if isinstance(source, str) else source
    data = override({"domain": "custom"} if path is None else read_recipe_file(path), assignments)
    values = {_full_name(name): value for name, value in overrides.items()}
    if psi is not None:
        values["sampling.psi"] = [psi] if isinstance(psi, (int, float)) else list(psi)
    if generator is not None:
        values["generator.weights"] = str(generator)
        values["alpha.weights"] = None
    if alpha is not None:
        values["alpha.weights"] = str(alpha)
    for name, value in values.items():
        assign(data, name, value, name)
    given = [assignment.partition("=")[0] for assignment in assignments]
    return check_recipe(data, "recipe" if path is None else str(path), [*given, *values])


def _file_of(source: str) -> Path:
    """Tell a file from a domain: a domain has neither a folder nor a suffix in its name."""
    is_file = source.endswith((".yaml", ".yml")) or "/" in source or os.sep in source
    return Path(source).expanduser() if is_file else find_recipe(source)


def _full_name(keyword: str) -> str:
    """Turn a keyword of ``load_recipe`` into a recipe key."""
    if "__" in keyword:
        return keyword.replace("__", ".")
    parts: dict[str, type[Part]] = {"sampling": SamplingPart, "output": OutputPart}
    return next(
        (f"{part}.{keyword}" for part in parts if keyword in parts[part].model_fields), keyword
    )


WEB = ("http", "https")


def local_weights(weights: str, part: str, *, key: str | None = None) -> Path:
    """Where the weights of a recipe lie, or will lie once fetched.

    ``weights`` is ``builtin:NAME``, ``catalogue:NAME``, an http(s) address or a file name; ``part``
    is "generator", "discriminator" or "alpha"; errors name ``key`` (None: ``part.weights``).
    """
    kind, _, name = weights.partition(":")
    key = key or f"{part}.weights"
    if kind == "builtin":
        return _known(BUILTIN, kind, name, key).folder / f"{part}.safetensors"
    if kind == "catalogue":
        return target_path(_known(WEIGHTS, kind, name, key).filename)
    if kind.lower() in WEB:
        try:
            return target_path(name_of_url(weights))
        except ValueError as error:
            raise RecipeError(
                key, f"{weights[:80]} is no address ({error})", "copy it from the browser"
            ) from error
    if "://" in weights and not Path(weights).exists():
        remedy = "give an https:// address, or download the file and name its path"
        raise RecipeError(
            key, f"{kind[:20]}:// is no address that weights are fetched from", remedy
        )
    return Path(weights).expanduser()


def weights_path(weights: str, part: str, *, offline: bool = False, key: str | None = None) -> Path:
    """Return the weights' file, fetched into the cache where it names the catalogue or the web.

    Arguments as in ``local_weights``; ``offline`` fetches nothing.
    """
    kind, _, name = weights.partition(":")
    path = local_weights(weights, part, key=key)
    if kind.lower() in WEB:
        return fetch(weights, path.name, offline=offline)
    if kind != "catalogue":
        return path
    return fetch_weights(WEIGHTS[name], offline=offline)


def network_path(
    source: Path | str, part: Literal["generator", "alpha"], *, offline: bool = False
) -> Path:
    """Return the file of a network that a path, a domain, an address or the catalogue names."""
    if isinstance(source, Path) or Path(source).expanduser().is_file():
        return Path(source).expanduser()
    if source in shipped_recipes():
        recipe = load_recipe(source)
        weights = recipe.generator.weights if part == "generator" else recipe.alpha.weights
        if weights is None:
            problem = "comes without an alpha network"
            raise UsageError(source, problem, f"train one: l4f-datagen train --domain {source}")
        source = weights
    return weights_path(source, part, offline=offline)


def _known(table: Mapping[str, Entry], kind: str, name: str, key: str) -> Entry:
    if name in table:
        return table[name]
    known = ", ".join(f"{kind}:{entry}" for entry in table)
    raise RecipeError(key, f"{kind} holds no {name!r}", f"known: {known}")


def describe_domains() -> list[dict[str, str]]:
    """One row a shipped domain, for people and machines."""
    rows = []
    for name, path in shipped_recipes().items():
        recipe = load_recipe(path)
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
