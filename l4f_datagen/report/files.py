"""Files: report and contact sheet of a finished dataset, written anew."""

import os
from pathlib import Path

from l4f_datagen.core.errors import UsageError
from l4f_datagen.dataset.layout import PREVIEW
from l4f_datagen.dataset.manifest import read_manifest
from l4f_datagen.report.html import write_report
from l4f_datagen.report.named_file import write_named
from l4f_datagen.report.records import read_records
from l4f_datagen.report.sheet import sheet_choice, sheet_pictures, sheet_png

MAX_PREVIEW_BYTES = 16 * 2**20


def write_page(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a dataset and return its path.

    Args:
        folder: the dataset.
        out: the file; None is ``report.html`` in the folder.

    Raises:
        UsageError: no finished dataset, or a file that cannot be written.
        InputRefused: a damaged manifest or ledger.
    """
    origin = read_manifest(folder)["provenance"]
    sheet = folder / PREVIEW
    small = sheet.is_file() and sheet.stat().st_size <= MAX_PREVIEW_BYTES
    preview = sheet.read_bytes() if small else None
    page = write_report(folder, origin, read_records(folder), beside=out is None, preview=preview)
    return write_named(out or folder / "report.html", page)


def write_contact_sheet(folder: Path, out: Path | None = None) -> Path:
    """Write the contact sheet of a dataset and return its path.

    Args:
        folder: the dataset.
        out: the file; None is ``contact_sheet.png`` in the folder.

    Raises:
        UsageError: no finished dataset, one without pictures, or a file that cannot be written.
        InputRefused: a damaged manifest or ledger.
    """
    read_manifest(folder)
    records = read_records(folder)
    stored = sheet_pictures(folder, records, sheet_choice(records))
    if not stored:
        problem = "holds no image, mask and alpha of an accepted sample"
        remedy = "make it with format png, hf, imagefolder or webdataset"
        raise UsageError(os.fspath(folder), problem, remedy)
    return write_named(out or folder / "contact_sheet.png", sheet_png(stored))
