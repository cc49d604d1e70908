"""Options that several commands share: which recipe, which weights, which device."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from l4f_datagen.core.errors import UsageError

if TYPE_CHECKING:
    from l4f_datagen.recipe import Recipe

Command = Callable[..., Any]
FILE = click.Path(path_type=Path)


def source_options(command: Command) -> Command:
    """Add the options that name recipe, weights and device to a command."""
    options = [
        click.option("--domain", metavar="NAME", help="A shipped recipe (`recipes list`)."),
        click.option("--recipe", "recipe_file", type=FILE, help="A recipe file of your own."),
        click.option("--generator", metavar="FILE|URL", help="StyleGAN2 checkpoint, any format."),
        click.option("--alpha", metavar="FILE|URL", help="Alpha network; without, one is trained."),
        click.option(
            "--set", "assignments", multiple=True, metavar="A.B=C", help="Override a recipe key."
        ),
        click.option(
            "--class", "class_index", type=click.IntRange(0), help="Conditional networks."
        ),
        click.option("--offline", is_flag=True, help="Fetch nothing; HF_HUB_OFFLINE=1 does too."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, mps."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def resolve_recipe(
    domain: str | None,
    recipe_file: Path | None,
    generator: str | None,
    alpha: str | None,
    assignments: tuple[str, ...],
    class_index: int | None = None,
    flags: tuple[str, ...] = (),
) -> "Recipe":
    """Return the recipe after ``--set`` and flags.

    Raises:
        UsageError: no recipe and no generator named, or two recipes.
        RecipeError: see ``check_recipe``.
    """
    from l4f_datagen.recipe import check_recipe
    from l4f_datagen.recipe.domains import find_recipe, load_recipe
    from l4f_datagen.recipe.file import override

    if domain and recipe_file:
        raise UsageError("--domain", "given together with --recipe", "name one of them")
    given = [f"generator.weights={quoted(generator)}"] if generator else []
    if alpha:
        given.append(f"alpha.weights={quoted(alpha)}")
    elif generator:
        # Another generator makes the recipe's own alpha weights meaningless.
        given.append("alpha.weights=null")
    if class_index is not None:
        given.append(f"generator.class_index={class_index}")
    overrides = [*assignments, *given, *flags]
    if recipe_file:
        return load_recipe(recipe_file, overrides, {})
    if domain:
        return load_recipe(find_recipe(domain), overrides, {})
    if generator is None:
        remedy = "name --domain (see `l4f-datagen recipes list`), --recipe or --generator"
        raise UsageError("recipe", "nothing says what to generate", remedy)
    return check_recipe(override({"domain": "custom"}, overrides), "--generator")


def quoted(text: object) -> str:
    """Write a path or other text as YAML that no YAML rule can turn into something else."""
    return yaml.safe_dump(str(text), default_style='"', width=math.inf).rstrip()
