"""Stores: what photographs lie in, be it a folder, a zip, an LMDB or a Hugging Face dataset."""

import hashlib
import logging
import os
import re
import sys
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from l4f_datagen.core.errors import InputRefused, NetworkError, UsageError
from l4f_datagen.io.download import is_offline
from l4f_datagen.io.photo import SUFFIXES
from l4f_datagen.io.photographs import Store, counted_endings
from l4f_datagen.io.zip_reader import ZipReader

EXPECTED = "name a folder, a whole zip file, an LMDB or a Hugging Face dataset (hf://user/name)"
MAX_ENCODED_BYTES = 256_000_000
"""Of one image in a zip, unpacked: 64 megapixels without compression, and some."""
MAX_ENTRIES = 10_000_000
SIZED_KEY = re.compile(rb"(\d{1,5})-\d{5,}")
LMDB_REMEDY = "name an LSUN or rosinality LMDB"
MAX_LISTED = 1_000_000
"""Entries that name a store."""
SAMPLED, SAMPLE_BYTES = 64, 2**16
"""Files whose first bytes name a store too, spread over all: images may be of one size."""


class OpenStore(Protocol):
    """Opens a store; see ``open_store``."""

    def __call__(self, path: str, *, side: int | None, offline: bool) -> Store:
        """Return the store; errors as each one's."""


def open_folder(path: str, *, side: int | None, offline: bool) -> Store:
    """Every image below a folder, in the order of their paths; hidden files are left out."""
    names, ignored = _images(name for name, _ in _files(Path(path)))
    files = [Path(path, name) for name in names]
    return Store(path, len(files), lambda k: str(files[k]), files.__getitem__, ignored)


def open_zip(path: str, *, side: int | None, offline: bool) -> Store:
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


def open_lmdb(path: str, *, side: int | None, offline: bool) -> Store:
    """An LMDB of encoded images.

    rosinality stores every image in one or more sizes under ``256-00017`` beside ``length``: the
    smallest size that fills ``side`` is read. LSUN has one image under every key.

    Raises:
        UsageError: the lmdb package is missing.
        InputRefused: no LMDB, one that is cut off, or one without images.
    """
    try:
        import lmdb
    except ImportError as error:
        raise UsageError(path, "needs the lmdb package", "pip install lmdb") from error
    try:
        environment = lmdb_environment(Path(path).resolve())
        _check_length(environment, Path(path))
        with environment.begin() as transaction:
            length = transaction.get(b"length")
            cursor = transaction.cursor()
            keys = _all_keys(cursor, path) if length is None else _sized(cursor, length, path, side)
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
def lmdb_environment(path: Path) -> Any:
    """Open an LMDB folder or file for reading, once a process: lmdb refuses to do it twice."""
    import lmdb

    return lmdb.open(str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False)


def _check_length(environment: Any, path: Path) -> None:
    """Refuse a file that ends before its last page: reading that kills the process (SIGBUS)."""
    file = path / "data.mdb" if path.is_dir() else path
    size = file.stat().st_size
    written = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if size < written:
        problem = f"is cut off: {size:,} of {written:,} bytes are there"
        raise InputRefused(str(path), problem, "copy or download it again")


def _all_keys(cursor: Any, path: str) -> list[bytes]:
    keys = [bytes(key) for key in islice(cursor.iternext(values=False), MAX_ENTRIES + 1)]
    if len(keys) > MAX_ENTRIES:
        raise InputRefused(path, f"holds over {MAX_ENTRIES:,} entries", "split it")
    return keys


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


def open_hf(path: str, *, side: int | None, offline: bool) -> Store:
    """The first image column of a dataset's ``train`` split, else of its first split.

    Args:
        path: ``user/name`` (``hf://`` before it is allowed), a folder of Parquet files, or what
            ``save_to_disk`` wrote.
        side: not used.
        offline: take a dataset of the Hub from the cache alone, as with ``HF_HUB_OFFLINE``.

    Raises:
        NetworkError: the Hub cannot be reached, must not be or does not have it.
        InputRefused: no dataset, or one without an image column.
    """
    import datasets

    name = path.removeprefix("hf://")
    place = Path(name)
    marks = [place / "dataset_info.json", place / "dataset_dict.json"]
    try:
        with quiet(offline=offline):
            if any(mark.exists() for mark in marks):
                loaded: Any = datasets.load_from_disk(name)
            elif place.exists():
                loaded = datasets.load_dataset(name)
            else:
                loaded = load_from_hub(name)
    except Exception as error:
        problem = f"cannot be opened ({' '.join(str(error).split())[:160]})"
        if isinstance(error, IndexError):  # what the library makes of no rows
            problem = "holds no rows"
        if place.exists():
            raise InputRefused(path, problem, "name a dataset with images") from error
        if offline or is_offline():
            problem = "is not in the cache, and the network is switched off"
            raise NetworkError(path, problem, "open it once with the network on") from error
        raise NetworkError(path, problem, "check the name and the network") from error
    if isinstance(loaded, dict):
        loaded = loaded["train"] if "train" in loaded else next(iter(loaded.values()))
    columns = [k for k, v in loaded.features.items() if isinstance(v, datasets.Image)]
    if not columns:
        named = ", ".join(loaded.features)
        raise InputRefused(path, f"has no image column, only {named}", "name another dataset")
    column = columns[0]
    rows = loaded.cast_column(column, datasets.Image(decode=False))

    def encoded(number: int) -> Path | bytes:
        value = rows[number][column]
        if value is None:
            raise InputRefused(f"{path}[{number}]", "has no image", "drop empty rows")
        data: bytes | None = value["bytes"]
        return Path(value["path"]) if data is None else data

    return Store(path, len(rows), lambda k: f"{path}[{k}]", encoded)


@lru_cache(maxsize=8)
def load_from_hub(name: str) -> Any:
    """Load a dataset by name, once a process: backgrounds are opened again for the previews."""
    import datasets

    return datasets.load_dataset(name)


@contextmanager
def quiet(*, offline: bool) -> Iterator[None]:
    """Keep the libraries' logs and warnings off stderr, and with ``offline`` off the network."""
    import datasets
    import huggingface_hub

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
        huggingface_hub.utils.disable_progress_bars()
    loggers = [logging.getLogger(library) for library in ("datasets", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    # What HF_HUB_OFFLINE=1 sets. Both look here before each request; their arguments for it
    # (``local_files_only``) do not keep ``load_dataset`` from asking the Hub for a dataset's files.
    switches = [datasets.config, huggingface_hub.constants]
    were = [switch.HF_HUB_OFFLINE for switch in switches]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        for switch in switches:
            switch.HF_HUB_OFFLINE = switch.HF_HUB_OFFLINE or offline
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for switch, was in zip(switches, were, strict=True):
            switch.HF_HUB_OFFLINE = was


STORES: dict[str, OpenStore] = {
    "folder": open_folder,
    "zip": open_zip,
    "lmdb": open_lmdb,
    "hf": open_hf,
}


def store_kind(path: str) -> str:
    """Return the kind of store found at ``path``; a name that is no path is a dataset's."""
    place = Path(path)
    if place.is_dir():
        if (place / "data.mdb").exists():
            return "lmdb"
        marks = [place / "dataset_info.json", place / "dataset_dict.json"]
        if any(mark.exists() for mark in marks) or any(place.glob("**/*.parquet")):
            return "hf"
        return "folder"
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

    Args:
        path: folder, zip file, LMDB folder or file, or the name of a Hugging Face dataset.
        kind: a key of ``STORES``; None: what is found there.
        side: of the canvas, px: an LMDB with several sizes gives the smallest that fills it.
        offline: fetch nothing.

    Raises:
        InputRefused: nothing there, or no image in it.
        NetworkError: a dataset that cannot be fetched.
    """
    kind = kind or store_kind(path)
    if kind != "hf" and not Path(path).exists():
        raise InputRefused(path, "is not there", EXPECTED)
    store = STORES[kind](path, side=side, offline=offline)
    if not len(store):
        ignored = f"; ignored are {counted_endings(store.ignored)}" if store.ignored else ""
        problem = f"holds no image ({' '.join(SUFFIXES)}{ignored})"
        raise InputRefused(path, problem, "name photographs of the domain")
    return store


def listing_sha256(path: str, kind: str | None = None) -> str | None:
    """Return a hash that changes with the images of a store; none of them is decoded.

    Two trainings on one folder are the same only while it holds the same images. Reading all would
    take hours: names, sizes and the first bytes of a few stand for the content, and checksums where
    the container keeps them. No time of a file counts: a copy of a folder is the same set.

    Args:
        path: see ``open_store``.
        kind: see ``open_store``.

    Returns:
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
            environment = lmdb_environment(Path(path).resolve())
        except lmdb.Error as error:
            raise ValueError("no LMDB") from error
        yield "entries", int(environment.stat()["entries"])
        yield "last write", int(environment.info()["last_txnid"])
    elif not Path(path).is_dir():
        raise ValueError("not on this disk")
    else:
        files = _files(Path(path))
        yield from (entry for entry in files if kind == "hf" or _is_image(entry[0]))


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
        if _is_image(name):
            images.append(name)
        else:
            ignored[PurePosixPath(name).suffix.lower() or "without ending"] += 1
    return sorted(images), dict(ignored)


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES
