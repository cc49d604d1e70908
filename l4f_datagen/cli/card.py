"""``l4f-datagen card``: write a dataset's card again."""

from pathlib import Path

import click

from l4f_datagen.cli.source import FILE


@click.command()
@click.argument("folder", type=FILE, metavar="DATASET")
def card(folder: Path) -> None:
    """Write README.md again from manifest and recorded scores; keep your text below its marker."""
    from l4f_datagen.report.card import rewrite_card

    click.echo(str(rewrite_card(folder)))
