"""Recipes by name of a domain, read and overridden; and where the weights of a recipe lie."""

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from l4f_datagen.core.errors import RecipeError, UsageError
from l4f_datagen.io.download import fetch, name_of_url, target_path
from l4f_datagen.io.untrusted import plain_yaml
from l4f_datagen.recipe import OutputPart, Recipe, SamplingPart, check_recipe
from l4f_datagen.recipe.catalogue import WEIGHTS

Entry = TypeVar("Entry")

PACKAGE = Path(__file__).parents[1]
MAX_RECIPE_BYTES = 100_000  # shipped ones have 4 kB; YAML's time grows faster than its length
OTHER_WORDS = dict.fromkeys(("face", "portrait", "person", "people"), "ffhq") | {"fish": "toy-fish"}
"""What people call a domain, where its name gives no hint."""
_SHIPPED = ("toy-cars", "toy-fish", "toy-portraits", "skin-lesions", "blood-cells")
BUILTIN, BUILTIN_PX = {name: PACKAGE / "weights" / name for name in _SHIPPED}, 64
"""Weights that ship: domain -> folder with safetensors of generator, discriminator and alpha."""


def shipped_recipes() -> dict[str, Path]:
    """Domain name -> recipe file, inside the wheel, or beside the package in a checkout."""
    packaged = PACKAGE / "_recipes"
    folder = packaged if packaged.is_dir() else PACKAGE.parent / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


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
    offered = " or ".join(list(dict.fromkeys(near))[:3])
    remedy = f"did you mean {offered}? " if offered else ""
    remedy += "`l4f-datagen recipes list` names them all"
    raise RecipeError(f"--domain {domain}", "no such domain", remedy)


def read_recipe_file(path: Path) -> dict[str, Any]:
    """Read a recipe file as plain data; RecipeError for what is no mapping in plain YAML."""
    remedy = "compare with `l4f-datagen recipes show toy-cars`"
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_RECIPE_BYTES + 1)
        if len(raw) > MAX_RECIPE_BYTES:
            raise RecipeError(str(path), "is larger than 100 kB, which no recipe is", remedy)
        data = plain_yaml(raw.decode("utf-8"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise RecipeError(str(path), f"cannot be read ({reason})", "check the path") from error
    except ValueError as error:
        raise RecipeError(str(path), f"is not plain YAML ({error})", remedy) from error
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
        subject, (name, sign, text) = f"--set {assignment}", assignment.partition("=")
        if not sign or not name:
            raise RecipeError(subject, "expected a.b=value", "write key=value")
        try:
            assign(result, name, plain_yaml(text), subject)
        except ValueError as error:
            raise RecipeError(subject, f"value is not plain YAML ({error})", "quote it") from error
    return result


def assign(data: dict[str, Any], name: str, value: Any, subject: str) -> None:
    """Set the key ``a.b`` of plain recipe data, in place; RecipeError where ``a`` is no mapping."""
    *parents, leaf = name.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise RecipeError(subject, f"{parent} holds no keys", "check the key's name")
    data[leaf] = value


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

    RecipeError for no such domain, an unreadable file, or wrong values, all named at once.
    """
    path = None if source is None else Path(source).expanduser()
    # A domain has neither a folder nor a suffix in its name.
    named = isinstance(source, str) and source == Path(source).name
    if named and not str(source).endswith((".yaml", ".yml")):
        path = find_recipe(str(source))
    data = override({"domain": "custom"} if path is None else read_recipe_file(path), assignments)
    values = {_full_name(name): value for name, value in overrides.items()}
    if psi is not None:
        values["sampling.psi"] = [psi] if isinstance(psi, (int, float)) else list(psi)
    if generator is not None:
        values |= {"generator.weights": str(generator), "alpha.weights": None}
    if alpha is not None:
        values["alpha.weights"] = str(alpha)
    for name, value in values.items():
        assign(data, name, value, name)
    given = [assignment.partition("=")[0] for assignment in assignments]
    return check_recipe(data, "recipe" if path is None else str(path), [*given, *values])


def _full_name(keyword: str) -> str:
    """Turn a keyword of ``load_recipe`` into a recipe key."""
    for name, part in (("sampling", SamplingPart), ("output", OutputPart)):
        if keyword in part.model_fields:
            return f"{name}.{keyword}"
    return keyword.replace("__", ".")


WEB = ("http", "https")


def local_weights(weights: str, part: str, *, key: str | None = None) -> Path:
    """Where the weights of a recipe lie, or will lie once fetched.

    ``weights`` is ``builtin:NAME``, ``catalogue:NAME``, an http(s) address or a file name; ``part``
    is "generator", "discriminator" or "alpha"; errors name ``key`` (None: ``part.weights``).
    """
    kind, _, name = weights.partition(":")
    key = key or f"{part}.weights"
    if kind == "builtin":
        return _known(BUILTIN, kind, name, key) / f"{part}.safetensors"
    if kind == "catalogue":
        return target_path(_known(WEIGHTS, kind, name, key).filename)
    if kind.lower() in WEB:
        try:
            return target_path(name_of_url(weights))
        except ValueError as error:
            problem = f"{weights[:80]} is no address ({error})"
            raise RecipeError(key, problem, "copy it from the browser") from error
    if "://" in weights and not Path(weights).exists():
        problem = f"{kind[:20]}:// is no address that weights are fetched from"
        remedy = "give an https:// address, or download the file and name its path"
        raise RecipeError(key, problem, remedy)
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
    entry = WEIGHTS[name]
    expected: Any = {"size": entry.size, "sha256": entry.sha256, "pinned": entry.pinned}
    return fetch(entry.url, path.name, **expected, offline=offline)


def network_path(
    source: Path | str, part: Literal["generator", "alpha"], *, offline: bool = False
) -> Path:
    """Return the file of a network that a path, a domain, an address or the catalogue names."""
    if isinstance(source, Path) or Path(source).expanduser().is_file():
        return Path(source).expanduser()
    if source in shipped_recipes():
        weights: str | None = getattr(load_recipe(source), part).weights
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
        px = WEIGHTS[entry].resolution if kind == "catalogue" else BUILTIN_PX
        row = {"domain": name, "px": str(px), "weights": weights}
        row |= {"licence": recipe.generator.licence.name, "cached": "yes" if here else "no"}
        rows.append(row | {"description": recipe.description})
    return rows
