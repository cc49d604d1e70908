"""Options that several commands share: which recipe, which weights, which device."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l4f_datagen.core.errors import UsageError

if TYPE_CHECKING:
    from l4f_datagen.recipe import Recipe

Command = Callable[..., Any]
FILE = click.Path(path_type=Path)


class SectionedCommand(click.Command):
    """Command whose help lists options in sections; those in no section come first."""

    sections: Mapping[str, Sequence[str | None]] = {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections."""
        named = {name for names in self.sections.values() for name in names}
        first = [param.name for param in self.get_params(ctx) if param.name not in named]
        for title, names in {"Options": first, **self.sections}.items():
            records = [param.get_help_record(ctx) for param in self.get_params(ctx)
                       if param.name in names]  # fmt: skip
            with formatter.section(title):
                formatter.write_dl([record for record in records if record is not None])


def names_of(options: Sequence[Callable[[Command], Command]]) -> list[str | None]:
    """Return the parameter names of ``click.option`` decorators."""

    def bearer() -> None: ...

    for option in options:
        option(bearer)
    return [param.name for param in vars(bearer)["__click_params__"]]


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
            "--class",
            "class_index",
            type=click.IntRange(0),
            help="Class of a class-conditional generator.",
        ),
        click.option("--offline", is_flag=True, help="Use no network, like HF_HUB_OFFLINE=1."),
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
    flags: Mapping[str, object] | None = None,
    uses_alpha: bool = True,
) -> "Recipe":
    """Return the recipe after ``--set`` and flags.

    Args:
        domain: of a shipped recipe.
        recipe_file: a file instead.
        generator: weights instead of the recipe's.
        alpha: weights instead of the recipe's, or of those that would be trained.
        assignments: of ``--set``.
        class_index: class of a conditional generator.
        flags: recipe key to value, for the flags that are given; they win over ``--set``.
        uses_alpha: whether the command needs an alpha network.

    Raises:
        UsageError: no recipe and no generator named, or two recipes.
        RecipeError: see ``check_recipe``.
    """
    from l4f_datagen.recipe.domains import load_recipe

    if domain and recipe_file:
        raise UsageError("--domain", "given together with --recipe", "name one of them")
    source = recipe_file or domain
    if source is None and generator is None:
        remedy = "name --domain (see `l4f-datagen recipes list`), --recipe or --generator"
        raise UsageError("recipe", "is not given", remedy)
    values: dict[str, Any] = given({"generator.class_index": class_index}) | dict(flags or {})
    recipe = load_recipe(
        source, assignments=assignments, generator=generator, alpha=alpha, **values
    )
    if uses_alpha and generator and source and not alpha:
        own = load_recipe(source, assignments=assignments).alpha.weights
        if own is not None:
            from l4f_datagen.pipeline.networks import keep_fitting_alpha

            return keep_fitting_alpha(recipe, own)
    return recipe


def given(values: Mapping[str, object]) -> dict[str, object]:
    """Return the recipe keys whose flag was given: no flag means None."""
    return {name: value for name, value in values.items() if value is not None}
