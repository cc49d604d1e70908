"""``l4f-datagen report``: a finished dataset as one page, or as one image."""

from pathlib import Path

import click

from l4f_datagen.cli.source import FILE


@click.command()
@click.argument("dataset", type=FILE)
@click.option("--out", type=FILE, help="File to write; default: in the dataset folder.")
@click.option("--contact-sheet", is_flag=True, help="Write contact_sheet.png instead of the page.")
def report(dataset: Path, out: Path | None, contact_sheet: bool) -> None:
    """Write DATASET/report.html: numbers, charts and a gallery, worst samples first.

    The page is one file and works offline. `make` writes one too; this command writes it again, for
    example for a dataset of an older version or from the Hub.
    """
    from l4f_datagen.report.pages import write_contact_sheet, write_page

    write = write_contact_sheet if contact_sheet else write_page
    click.echo(str(write(dataset, out)))
