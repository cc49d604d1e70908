"""Recipe files and ``--set``: YAML in, plain data for ``check_recipe`` out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from l4f_datagen.core.errors import RecipeError
from l4f_datagen.io.plain_yaml import plain_yaml

MAX_RECIPE_BYTES = 100_000


def read_recipe_file(path: Path) -> dict[str, Any]:
    """Read a recipe file as plain data.

    Raises:
        RecipeError: unreadable, too large, not plain YAML, or not a mapping.
    """
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

    Raises:
        RecipeError: an assignment without ``=`` or through a value that is no mapping.
    """
    result: dict[str, Any] = json.loads(json.dumps(data))
    for assignment in assignments:
        name, sign, text = assignment.partition("=")
        if not sign or not name:
            raise RecipeError(f"--set {assignment}", "expected a.b=value", "write key=value")
        *parents, leaf = name.split(".")
        level = result
        for parent in parents:
            level = level.setdefault(parent, {})
            if not isinstance(level, dict):
                raise RecipeError(f"--set {assignment}", f"{parent} holds no keys", "check name")
        try:
            level[leaf] = plain_yaml(text)
        except ValueError as error:
            problem = f"value is not plain YAML ({error})"
            raise RecipeError(f"--set {assignment}", problem, "quote it") from error
    return result
