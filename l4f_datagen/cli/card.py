"""``l4f-datagen card``: write a dataset's card anew."""

from pathlib import Path

import click

from l4f_datagen.cli.source import FILE


@click.command()
@click.argument("folder", type=FILE, metavar="DATASET")
def card(folder: Path) -> None:
    """Write README.md anew from manifest and recorded scores; your words below its marker stay."""
    from l4f_datagen.report.card import rewrite_card

    click.echo(str(rewrite_card(folder)))
