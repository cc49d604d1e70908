"""Pictures in an LMDB: LSUN's (any key -> encoded picture) or rosinality's (size-number)."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.core.errors import InputRefused, UsageError
from l4f_datagen.io.photo import fit_square

MAX_PICTURES = 10_000_000
SIZED_KEY = re.compile(rb"(\d{1,5})-\d{5,}")
REMEDY = "name an LSUN or rosinality LMDB"


@lru_cache(maxsize=8)
def open_environment(path: Path) -> Any:
    """Open an LMDB folder or file for reading."""
    # Once a process: lmdb refuses to open a file twice, as reals and again as backgrounds.
    import lmdb

    subdir = path.is_dir()
    return lmdb.open(str(path), subdir=subdir, readonly=True, lock=False, readahead=False)


def check_whole(environment: Any, path: Path) -> None:
    """Refuse a file that ends before its last page: to read that would kill the process (SIGBUS).

    Raises:
        InputRefused: it is shorter than what has been written to it.
    """
    file = path / "data.mdb" if path.is_dir() else path
    size, pages = file.stat().st_size, environment.info()["last_pgno"] + 1
    if size < pages * environment.stat()["psize"]:
        written = pages * environment.stat()["psize"]
        problem = f"is cut off: {size:,} of {written:,} bytes are there"
        raise InputRefused(str(path), problem, "copy or download it again")


class Lmdb:
    """An LMDB of encoded pictures, opened for reading.

    rosinality stores every picture in one or more sizes under ``256-00017`` beside ``length``;
    the smallest size that fills the canvas is read. LSUN has one picture under every key.

    Raises:
        UsageError: the lmdb package is missing.
        InputRefused: no LMDB, one that is cut off, or one without pictures.
    """

    def __init__(self, path: Path, side: int) -> None:
        try:
            import lmdb
        except ImportError as error:
            remedy = "pip install lmdb"
            raise UsageError(str(path), "needs the lmdb package", remedy) from error
        self.path, self.side = path, side
        try:
            self.environment = open_environment(path.resolve())
            check_whole(self.environment, path)
            with self.environment.begin() as transaction:
                length = transaction.get(b"length")
                found = transaction.cursor()
                keys = self._sized(found, length) if length is not None else self._all(found)
        except lmdb.Error as error:
            problem = f"is no LMDB ({' '.join(str(error).split())[:120]})"
            raise InputRefused(str(path), problem, REMEDY) from error
        self.keys: list[bytes] = keys

    def _all(self, cursor: Any) -> list[bytes]:
        keys: list[bytes] = []
        for key in cursor.iternext(keys=True, values=False):
            if len(keys) >= MAX_PICTURES:
                raise InputRefused(str(self.path), "holds over 10 million entries", "split it")
            keys.append(bytes(key))
        return keys

    def _sized(self, cursor: Any, length: bytes) -> list[bytes]:
        if not length.isdigit() or int(length[:12]) > MAX_PICTURES:
            shown = repr(bytes(length[:20]))
            raise InputRefused(str(self.path), f"has an impossible length {shown}", REMEDY)
        count = int(length)
        sides = set()
        more = cursor.first()
        while more and (match := SIZED_KEY.fullmatch(bytes(cursor.key()))):
            sides.add(int(match[1]))
            # Behind the last picture of this size: ";" sorts after every digit.
            more = cursor.set_range(match[1] + b"-;")
        if count and not sides:
            problem = f"promises {count} pictures and holds none"
            raise InputRefused(str(self.path), problem, REMEDY)
        filling = [size for size in sides if size >= self.side]
        best = min(filling) if filling else max(sides, default=0)
        return [f"{best}-{number:05d}".encode() for number in range(count)]

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, number: int) -> NDArray[np.uint8]:
        """Return one picture, ``side side 3``."""
        key = self.keys[number]
        with self.environment.begin() as transaction:
            encoded = transaction.get(key)
        subject = f"{self.path}:{key.decode(errors='replace')}"
        if encoded is None:
            raise InputRefused(subject, "is missing", "make the LMDB again")
        return fit_square(encoded, self.side, subject)
