"""``l4f-datagen report`` and ``card``: write the pages of a finished dataset anew."""

from pathlib import Path

import click

from l4f_datagen.cli.source import FILE


@click.command()
@click.argument("dataset", type=FILE)
@click.option("--out", type=FILE, help="File to write. Default: in the dataset's folder.")
@click.option("--contact-sheet", is_flag=True, help="Write contact_sheet.png instead of the page.")
def report(dataset: Path, out: Path | None, contact_sheet: bool) -> None:
    r"""Write DATASET/report.html: numbers, charts and a gallery, worst samples first.

    The page is one file that opens from disk and needs no network. `make` writes it too; this
    command is for a dataset of an older version, or one that was fetched from the Hub.

    \b
    l4f-datagen report cars
    l4f-datagen report cars --contact-sheet --out cars.png
    """
    from l4f_datagen.report.pages import write_contact_sheet, write_page

    write = write_contact_sheet if contact_sheet else write_page
    click.echo(str(write(dataset, out)))


@click.command()
@click.argument("folder", type=FILE, metavar="DATASET")
def card(folder: Path) -> None:
    r"""Write DATASET/README.md anew from its manifest and recorded scores.

    What you wrote below the card's marker stays.

    \b
    l4f-datagen card cars
    l4f-datagen validate --pred cars --truth labels --record && l4f-datagen card cars
    """
    from l4f_datagen.report.card import rewrite_card

    click.echo(str(rewrite_card(folder)))
