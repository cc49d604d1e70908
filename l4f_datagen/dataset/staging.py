"""Staging: the files of one shard, written as ``.part`` and renamed together.

A *place* is what one shard has in one format: a folder of many files (``images/00003``) or one
file (``data/train-00003.parquet``), relative to the dataset. A place gets its name by one rename,
so nothing half-written ever stands under a final name.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from l4f_datagen.io.disk import PART

FileFact = tuple[str, int, str]
"""A written file: path relative to the dataset, size in bytes, SHA-256."""


class Staging:
    """Collects the files of one shard until they are all there.

    Args:
        folder: the dataset.
        shard: number of the shard.
    """

    def __init__(self, folder: Path, shard: int) -> None:
        self.folder, self.shard = folder, shard
        self._files: list[FileFact] = []
        self._folders: dict[str, str] = {}
        self._streams: dict[str, BinaryIO] = {}

    def put(self, place: str, name: str, data: bytes) -> None:
        """Write a whole file into a folder place, or into a folder inside it.

        Raises:
            FileExistsError: the name is taken: two samples of one key.
        """
        staged = self._folders.get(place)
        if staged is None:
            staged = self._folders[place] = os.fspath(self.folder / (place + PART))
            Path(staged).mkdir(parents=True)
        if "/" in name:
            Path(f"{staged}/{name}").parent.mkdir(exist_ok=True)
        with open(f"{staged}/{name}", "xb", buffering=0) as file:  # noqa: PTH123  a path object costs as much as the write
            _write_all(file, data)
        self._files.append((f"{place}/{name}", len(data), hashlib.sha256(data).hexdigest()))

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
            with (self.folder / (place + PART)).open("rb") as written:
                digest = hashlib.file_digest(written, "sha256").hexdigest()
                self._files.append((place, written.tell(), digest))
        for place in [*self._folders, *self._streams]:
            (self.folder / (place + PART)).rename(self.folder / place)
        return sorted(self._files)

    def close(self) -> None:
        """Let go of open files; what was staged and not published stays as ``.part``."""
        for stream in self._streams.values():
            with suppress(OSError):  # what is left in the buffer may not fit on the disk
                stream.close()


def _write_all(file: BinaryIO, data: bytes) -> None:
    # A raw file may take less than it is given, as the last bytes before a full disk do.
    written = file.write(data)
    while written < len(data):
        written += file.write(data[written:])
