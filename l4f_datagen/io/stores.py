"""Stores: what photographs lie in, be it a folder, a zip, an LMDB or a Hugging Face dataset."""

import hashlib
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from l4f_datagen.core.errors import InputRefused, UsageError
from l4f_datagen.io.hf_store import is_saved_dataset, open_hf
from l4f_datagen.io.photo import SUFFIXES
from l4f_datagen.io.photographs import Store, counted_endings
from l4f_datagen.io.untrusted import ZipReader

STORES = ("folder", "zip", "lmdb", "hf")
EXPECTED = "name a folder, a whole zip file, an LMDB or a Hugging Face dataset (hf://user/name)"
MAX_ENCODED_BYTES = 256_000_000  # of an image in a zip, unpacked: 64 MP uncompressed, and some
MAX_ENTRIES = 10_000_000  # of an LMDB: LSUN's largest class, cars, has 5.5 million
SIZED_KEY = re.compile(rb"(\d{1,5})-\d{5,}")
LMDB_REMEDY = "name an LSUN or rosinality LMDB"
MAX_LISTED = 1_000_000  # entries that name a store
SAMPLED, SAMPLE_BYTES = 64, 2**16  # files whose starts name a store too: images may be of one size


def store_kind(path: str) -> str:
    """Return the kind of store found at ``path``; a name that is no path is a dataset's."""
    place = Path(path)
    if place.is_dir():
        if (place / "data.mdb").exists():
            return "lmdb"
        return "hf" if is_saved_dataset(place) or any(place.glob("**/*.parquet")) else "folder"
    if place.suffix == ".mdb":
        return "lmdb"
    if place.is_file():
        return "zip"
    name = path.removeprefix("hf://")
    is_name = name.count("/") == 1 and path[:1] not in "./~"
    # Below a folder that exists, a mistyped path is likelier than a user of that name.
    is_mistyped = name == path and Path(name).parent.is_dir()
    return "hf" if is_name and not is_mistyped else "folder"


def open_store(
    path: str, kind: str | None = None, *, side: int | None = None, offline: bool = False
) -> Store:
    """Open photographs; no image is decoded yet, see ``check_photographs``.

    ``path`` is a folder, zip file, LMDB folder or file, or the name of a Hugging Face dataset;
    ``kind`` is one of ``STORES``, None: what is found there. Of an LMDB with several sizes the
    smallest that fills a canvas of ``side`` px is read. ``offline`` fetches nothing.

    InputRefused where nothing is there, or no image in it, or for a broken or cut off container;
    NetworkError where the Hub cannot be reached, must not be or does not have the dataset;
    UsageError without the lmdb package.
    """
    kind = kind or store_kind(path)
    if kind != "hf" and not Path(path).exists():
        raise InputRefused(path, "is not there", EXPECTED)
    if kind == "lmdb":
        store = _open_lmdb(path, side)
    elif kind == "hf":
        store = open_hf(path, offline)
    elif kind == "zip":
        store = _open_zip(path)
    else:
        names, ignored = _images(name for name, _ in _files(Path(path)))
        files = [Path(path, name) for name in names]
        store = Store(path, len(files), lambda k: str(files[k]), files.__getitem__, ignored)
    if not len(store):
        others = f"; ignored are {counted_endings(store.ignored)}" if store.ignored else ""
        problem = f"holds no image ({' '.join(SUFFIXES)}{others})"
        raise InputRefused(path, problem, "name photographs of the domain")
    return store


def _open_zip(path: str) -> Store:
    """Every image in a zip file, in the order of their names."""
    if not zipfile.is_zipfile(path):
        raise InputRefused(path, "is no zip file", EXPECTED)
    archive = ZipReader(Path(path))
    names, ignored = _images(archive.names)

    def encoded(number: int) -> bytes:
        if archive.size(names[number]) > MAX_ENCODED_BYTES:
            subject = f"{path}/{names[number]}"
            raise InputRefused(subject, "is larger than 256 MB unpacked", "remove it")
        return archive.read(names[number])

    return Store(path, len(names), lambda k: f"{path}/{names[k]}", encoded, ignored)


def _open_lmdb(path: str, side: int | None) -> Store:
    """An LMDB of encoded images.

    rosinality stores every image in one or more sizes under ``256-00017`` beside ``length``: the
    smallest size that fills ``side`` is read. LSUN has one image under every key.
    """
    try:
        import lmdb
    except ImportError as error:
        raise UsageError(path, "needs the lmdb package", "pip install lmdb") from error
    place = Path(path)
    try:
        environment = _lmdb_environment(place.resolve())
        # To read a file that ends before its last page kills the process (SIGBUS).
        size = (place / "data.mdb" if place.is_dir() else place).stat().st_size
        written = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        if size < written:
            problem = f"is cut off: {size:,} of {written:,} bytes are there"
            raise InputRefused(path, problem, "copy or download it again")
        with environment.begin() as transaction:
            length = transaction.get(b"length")
            cursor = transaction.cursor()
            if length is not None:
                keys = _sized(cursor, length, path, side)
            else:
                found = islice(cursor.iternext(values=False), MAX_ENTRIES + 1)
                keys = [bytes(key) for key in found]
                if len(keys) > MAX_ENTRIES:
                    raise InputRefused(path, f"holds over {MAX_ENTRIES:,} entries", "split it")
    except lmdb.Error as error:
        problem = f"is no LMDB ({' '.join(str(error).split())[:120]})"
        raise InputRefused(path, problem, LMDB_REMEDY) from error

    def subject(number: int) -> str:
        return f"{path}:{keys[number].decode(errors='replace')}"

    def encoded(number: int) -> bytes:
        with environment.begin() as transaction:
            value: bytes | None = transaction.get(keys[number])
        if value is None:
            raise InputRefused(subject(number), "is missing", "make the LMDB again")
        return value

    return Store(path, len(keys), subject, encoded)


@lru_cache(maxsize=8)
def _lmdb_environment(path: Path) -> Any:
    """Open an LMDB folder or file for reading, once a process: lmdb refuses to do it twice."""
    import lmdb

    return lmdb.open(str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False)


def _sized(cursor: Any, length: bytes, path: str, side: int | None) -> list[bytes]:
    if not length.isdigit() or int(length[:12]) > MAX_ENTRIES:
        problem = f"has an impossible length {bytes(length[:20])!r}"
        raise InputRefused(path, problem, LMDB_REMEDY)
    count, sizes = int(length), set[int]()
    more = cursor.first()
    while more and (match := SIZED_KEY.fullmatch(bytes(cursor.key()))):
        sizes.add(int(match[1]))
        # Beyond the last image of this size: ";" sorts after every digit.
        more = cursor.set_range(match[1] + b"-;")
    if count and not sizes:
        problem = f"promises {count} images and holds none"
        raise InputRefused(path, problem, LMDB_REMEDY)
    filling = [size for size in sizes if side is not None and size >= side]
    best = min(filling) if filling else max(sizes, default=0)
    return [f"{best}-{number:05d}".encode() for number in range(count)]


def listing_sha256(path: str, kind: str | None = None) -> str | None:
    """Return a hash that changes with the images of a store; none of them is decoded.

    Two trainings on one folder are the same only while it holds the same images. Reading all would
    take hours: names, sizes and the first bytes of a few stand for the content, and checksums where
    the container keeps them. No time of a file counts: a copy of a folder is the same set.

    None for what cannot be listed here: a dataset of the Hub, which its name stands for, and a
    store that is absent or broken, which is refused when it is opened.
    """
    try:
        kind = kind or store_kind(path)
        entries = sorted(islice(_entries(path, kind), MAX_LISTED))
        digest = hashlib.sha256(repr(entries).encode())
        if kind in ("folder", "hf"):
            for name, *_ in entries[:: max(1, len(entries) // SAMPLED)]:
                with Path(path, str(name)).open("rb") as file:
                    digest.update(file.read(SAMPLE_BYTES))
    except (OSError, ValueError, ImportError, zipfile.BadZipFile):
        return None
    return digest.hexdigest()


def _entries(path: str, kind: str) -> Iterator[tuple[str | int, ...]]:
    if kind == "zip":
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                yield member.filename, member.file_size, member.CRC
    elif kind == "lmdb":  # pages hide what is in them
        import lmdb

        try:
            environment = _lmdb_environment(Path(path).resolve())
        except lmdb.Error as error:
            raise ValueError("no LMDB") from error
        yield "entries", int(environment.stat()["entries"])
        yield "last write", int(environment.info()["last_txnid"])
    elif not Path(path).is_dir():
        raise ValueError("not on this disk")
    else:
        files = _files(Path(path))
        yield from (entry for entry in files if kind == "hf" or entry[0].lower().endswith(SUFFIXES))


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield posix path and bytes of the files below a folder; hidden ones are left out."""
    for root, folders, names in os.walk(folder):
        # Sorted, so that of too large a set the same are looked at on every disk.
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in sorted(names):
            file = Path(root, name)
            if not name.startswith(".") and file.is_file():
                yield file.relative_to(folder).as_posix(), file.stat().st_size


def _images(names: Iterable[str]) -> tuple[list[str], dict[str, int]]:
    """Return the names of images, sorted, and ending -> number of the other files."""
    images, ignored = [], Counter[str]()
    for name in names:
        if name.lower().endswith(SUFFIXES):
            images.append(name)
        else:
            ignored[PurePosixPath(name).suffix.lower() or "without ending"] += 1
    return sorted(images), dict(ignored)
