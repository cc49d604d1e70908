"""``l4f-datagen report``: a finished dataset as one page, or as one picture."""

from pathlib import Path

import click

from l4f_datagen.cli.source import FILE


@click.command()
@click.argument("dataset", type=FILE)
@click.option("--out", type=FILE, help="File to write; default: in the dataset's folder.")
@click.option("--contact-sheet", is_flag=True, help="Write contact_sheet.png instead of the page.")
def report(dataset: Path, out: Path | None, contact_sheet: bool) -> None:
    """Write DATASET/report.html: numbers, charts and a gallery, worst samples first.

    One file that opens from disk and asks the network for nothing. `make` leaves one by itself;
    this writes it anew, for a dataset of an older version or fetched from the Hub.
    """
    from l4f_datagen.report.files import write_contact_sheet, write_page

    write = write_contact_sheet if contact_sheet else write_page
    click.echo(str(write(dataset, out)))
