"""Listing: what names a set of pictures without reading one of them.

Two trainings on the same folder are the same only while it holds the same pictures. Reading all of
them would take hours, so names, sizes and the bytes of a few stand for the content, and checksums
where the container keeps them. No time of a file counts: a copy of a folder is the same set.
"""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from l4f_datagen.io.stores import SUFFIXES, store_kind

MAX_LISTED = 1_000_000
"""Entries that are looked at."""
SAMPLED, SAMPLE_BYTES = 64, 2**16
"""Of files on disk the first bytes of a few, spread over all: pictures may be of one size."""


def listing_sha256(path: str, kind: str | None = None) -> str | None:
    """Return a hash that changes with the pictures of a store.

    Args:
        path: folder, zip file, LMDB or the name of a Hugging Face dataset.
        kind: see ``open_store``.

    Returns:
        None for what cannot be listed here: a dataset of the Hub, which its name stands for, and a
        store that is not there or broken, which is refused when it is opened.
    """
    try:
        kind = kind or store_kind(path)
        entries = sorted(islice(LISTINGS[kind](path), MAX_LISTED))
        digest = hashlib.sha256(repr(entries).encode())
        if kind in ("folder", "hf"):
            for name, *_ in entries[:: max(1, len(entries) // SAMPLED)]:
                with Path(path, str(name)).open("rb") as file:
                    digest.update(file.read(SAMPLE_BYTES))
    except (OSError, ValueError, ImportError, zipfile.BadZipFile):
        return None
    return digest.hexdigest()


def of_folder(path: str) -> Iterator[tuple[str, int]]:
    """Name and size of every picture below a folder."""
    return (entry for entry in _files(Path(path)) if Path(entry[0]).suffix.lower() in SUFFIXES)


def of_zip(path: str) -> Iterator[tuple[str, int, int]]:
    """Name, size and checksum of every member of a zip file."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            yield member.filename, member.file_size, member.CRC


def of_lmdb(path: str) -> Iterator[tuple[str, int]]:
    """Number of entries, and of the last write; pages hide what is in them."""
    import lmdb

    from l4f_datagen.io.lmdb_store import open_environment

    try:
        environment = open_environment(Path(path).resolve())
    except lmdb.Error as error:
        raise ValueError("no LMDB") from error
    yield "entries", int(environment.stat()["entries"])
    yield "last write", int(environment.info()["last_txnid"])


def of_dataset(path: str) -> Iterator[tuple[str, int]]:
    """Name and size of every file of a dataset on disk.

    Raises:
        ValueError: it is on the Hub.
    """
    if not Path(path).is_dir():
        raise ValueError("not on this disk")
    return _files(Path(path))


LISTINGS: dict[str, Callable[[str], Iterator[tuple[str | int, ...]]]] = {
    "folder": of_folder,
    "zip": of_zip,
    "lmdb": of_lmdb,
    "hf": of_dataset,
}


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    for root, folders, names in os.walk(folder):
        folders.sort()  # so that of too large a set the same are looked at on every disk
        for name in sorted(names):
            file = Path(root, name)
            if file.is_file():
                yield file.relative_to(folder).as_posix(), file.stat().st_size
