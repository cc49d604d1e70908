"""Staging: the files of one shard, written as ``.part`` and renamed together.

A *place* is what one shard has in one format: a folder of many files (``images/00003``) or one
file (``data/train-00003.parquet``), relative to the dataset. A place gets its name by one rename,
so no half-written file has a final name.

A *flat* folder (``yolo/images/train``) holds the files of all shards, for readers that look in no
subfolder. They are staged in a place of the shard, ``.l4f/flat/00003``, beside a list of their
final names; once that place has its name, they are moved one by one. So after a crash the list
tells which files of the flat folder belong to a shard that was not finished.
"""

import hashlib
import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from l4f_datagen.io.disk import PART
from l4f_datagen.io.download import file_hash

FLAT, FLAT_NAMES = ".l4f/flat/{shard:05d}", "names.txt"
FileFact = tuple[str, int, str]
"""A written file: path relative to the dataset, size in bytes, SHA-256."""


class Staging:
    """Collects the files of one shard of a dataset until they are all there."""

    def __init__(self, folder: Path, shard: int) -> None:
        self.folder, self.shard = folder, shard
        self._files: list[FileFact] = []
        self._folders: dict[str, str] = {}  # folder of staged files to their place
        self._streams: dict[str, BinaryIO] = {}
        self._flat_names: list[str] = []

    def put(self, place: str, name: str, data: bytes, *, flat: bool = False) -> None:
        """Write a whole file into a folder place, or into a folder inside it.

        ``flat``: the place is a flat folder, to which ``publish`` moves it. FileExistsError where
        the name is taken: two samples have one key.
        """
        path = f"{place}/{name}"
        self._files.append((path, len(data), hashlib.sha256(data).hexdigest()))
        if flat:
            self._flat_names.append(path)
            place, name = FLAT.format(shard=self.shard), path
        staged = f"{self.folder}/{place}{PART}/{name}"
        parent = staged.rpartition("/")[0]
        if parent not in self._folders:
            self._folders[parent] = place
            Path(parent).mkdir(parents=True, exist_ok=True)
        with open(staged, "xb", buffering=0) as file:  # noqa: PTH123  a path object costs as much as the write
            written = file.write(data)
            while written < len(
                data
            ):  # raw: it may take less, as the last bytes before a full disk
                written += file.write(data[written:])

    def open(self, place: str) -> BinaryIO:
        """Open a file place for writing from start to end; ``publish`` closes it."""
        path = self.folder / (place + PART)
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = self._streams[place] = path.open("xb")
        return stream

    def publish(self) -> list[FileFact]:
        """Give every place its final name and say what was written, sorted by path."""
        for place, stream in self._streams.items():
            stream.close()
            written = self.folder / (place + PART)
            self._files.append((place, written.stat().st_size, file_hash(written)))
        flat = FLAT.format(shard=self.shard)
        if self._flat_names:
            self.put(flat, FLAT_NAMES, "".join(f"{name}\n" for name in self._flat_names).encode())
        for place in dict.fromkeys([*self._folders.values(), *self._streams]):
            (self.folder / (place + PART)).rename(self.folder / place)
        for name in self._flat_names:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / flat / name).rename(self.folder / name)
        for top in {name.split("/")[0] for name in self._flat_names}:
            shutil.rmtree(self.folder / flat / top)  # empty folders
        return sorted(self._files)

    def close(self) -> None:
        """Close open files; what was staged and not published stays as ``.part``."""
        for stream in self._streams.values():
            with suppress(OSError):  # what is left in the buffer may not fit on the disk
                stream.close()


def flat_names(folder: Path, shard: int) -> list[str]:
    """Names of the files that a shard has, or is about to have, in flat folders."""
    with suppress(FileNotFoundError, NotADirectoryError):
        path = folder / FLAT.format(shard=shard) / FLAT_NAMES
        return path.read_text(encoding="utf-8").splitlines()
    return []
