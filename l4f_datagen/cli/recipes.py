"""``l4f-datagen recipes``: list, show, copy, check."""

from pathlib import Path

import click

from l4f_datagen.cli.options import FILE, JSON, option


@click.group()
def recipes() -> None:
    """List, show, copy and check recipes."""


@recipes.command("list")
@JSON
def list_recipes(as_json: bool) -> None:
    r"""List the shipped domains.

    \b
    l4f-datagen recipes list
    l4f-datagen recipes list --json
    """
    import json

    from l4f_datagen.recipe.domains import describe_domains

    rows = describe_domains()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    names = list(rows[0])
    widths = {name: max(len(name), *(len(str(row[name])) for row in rows)) for name in names}
    click.echo("  ".join(name.ljust(widths[name]) for name in names).rstrip())
    for row in rows:
        click.echo("  ".join(str(row[name]).ljust(widths[name]) for name in names).rstrip())


@recipes.command("show")
@click.argument("domain")
def show_recipe(domain: str) -> None:
    r"""Print a shipped recipe.

    \b
    l4f-datagen recipes show toy-cars
    l4f-datagen recipes show ffhq > my.yaml
    """
    from l4f_datagen.recipe.domains import find_recipe

    click.echo(find_recipe(domain).read_text(encoding="utf-8"), nl=False)


@recipes.command("copy")
@click.argument("domain")
@click.argument("target", type=FILE)
@option("--force", bool, "Replace an existing file.")
def copy_recipe(domain: str, target: Path, force: bool) -> None:
    r"""Copy a shipped recipe to TARGET for editing.

    \b
    l4f-datagen recipes copy toy-cars my.yaml
    l4f-datagen make --recipe my.yaml --n 100 --out mine
    """
    from l4f_datagen.core.errors import UsageError
    from l4f_datagen.recipe.domains import find_recipe

    text = find_recipe(domain).read_text(encoding="utf-8")
    if target.exists() and not force:
        raise UsageError(str(target), "exists", "name another file or use --force")
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise UsageError(str(target), problem, "name another") from error
    click.echo(str(target))


@recipes.command("check")
@click.argument("files", nargs=-1, required=True, type=FILE)
def check_recipes(files: tuple[Path, ...]) -> None:
    r"""Check recipe files and report all problems at once.

    \b
    l4f-datagen recipes check my.yaml
    l4f-datagen recipes check recipes/*.yaml
    """
    from l4f_datagen.recipe.domains import load_recipe

    for file in files:
        recipe = load_recipe(file)
        click.echo(f"{file}: ok, domain {recipe.domain}")
