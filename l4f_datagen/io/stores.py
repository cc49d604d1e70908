"""Pictures of any kind of store, one by one: folder, zip, LMDB, Hugging Face dataset."""

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.io.hf_store import HfDataset
from l4f_datagen.io.lmdb_store import Lmdb
from l4f_datagen.io.photo import fit_square, read_square

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
MAX_ENCODED_BYTES = 256_000_000
LOOKED_AT = 4
"""Pictures read when a store is opened: a wrong set is refused before hours of work."""
UNPACKING_FAILS = (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)
"""What zipfile raises on a bad member; RuntimeError for a password or an unknown compression."""
EXPECTED = "name a folder, a whole zip file, an LMDB or a Hugging Face dataset (hf://user/name)"


@runtime_checkable  # the tests check annotations
class Store(Protocol):
    """Pictures that can be counted and read by number."""

    def __len__(self) -> int:
        """Return the number of pictures."""

    def read(self, number: int) -> NDArray[np.uint8]:
        """Return picture ``number`` as ``side side 3``, whole and centred on black."""


class Folder:
    """Every picture below a folder, in the order of their paths."""

    def __init__(self, path: Path, side: int) -> None:
        self.path, self.side = path, side
        named = (p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        self.files = sorted(p for p in named if not p.is_dir())

    def __len__(self) -> int:
        return len(self.files)

    def read(self, number: int) -> NDArray[np.uint8]:
        """Return one picture, ``side side 3``."""
        return read_square(self.files[number], self.side)


class Zip:
    """Every picture in a zip file, in the order of their names; nothing is unpacked to disk."""

    def __init__(self, path: Path, side: int) -> None:
        self.path, self.side = path, side
        try:
            self.archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise InputRefused(str(path), f"is no zip file ({error})", EXPECTED) from error
        files = (member.filename for member in self.archive.infolist() if not member.is_dir())
        names = (name for name in files if not name.startswith("__MACOSX/"))
        self.names = sorted(name for name in names if Path(name).suffix.lower() in SUFFIXES)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, number: int) -> NDArray[np.uint8]:
        """Return one picture, ``side side 3``."""
        name = self.names[number]
        subject = f"{self.path}:{name}"
        if self.archive.getinfo(name).file_size > MAX_ENCODED_BYTES:
            raise InputRefused(subject, "is larger than 256 MB unpacked", "remove it")
        try:
            encoded = self.archive.read(name)
        except UNPACKING_FAILS as error:
            problem = f"cannot be unpacked ({error})"
            raise InputRefused(subject, problem, "pack it again, without a password") from error
        return fit_square(encoded, self.side, subject)


def lmdb_store(path: Path, side: int) -> Store:
    """An LSUN or rosinality LMDB."""
    return Lmdb(path, side)


def hf_store(path: str, side: int, offline: bool) -> Store:
    """A Hugging Face dataset, by name or folder."""
    return HfDataset(path, side, offline=offline)


STORES: dict[str, Callable[[str, int, bool], Store]] = {
    "folder": lambda path, side, offline: Folder(Path(path), side),
    "zip": lambda path, side, offline: Zip(Path(path), side),
    "lmdb": lambda path, side, offline: lmdb_store(Path(path), side),
    "hf": hf_store,
}


def store_kind(path: str) -> str:
    """Tell the kind of store by what lies at ``path``; a name that is no path is a dataset's."""
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
    # Below a folder that is here, a slip of the pen is likelier than a user of that name.
    is_slip = name == path and Path(name).parent.is_dir()
    return "hf" if is_name and not is_slip else "folder"


def open_store(path: str, side: int, kind: str | None = None, *, offline: bool = False) -> Store:
    """Open pictures for a generator's canvas of ``side`` px.

    Args:
        path: folder, zip file, LMDB folder or file, or the name of a Hugging Face dataset.
        side: of the canvas.
        kind: one of ``STORES``; None: told by what is there.
        offline: fetch nothing.

    Raises:
        InputRefused: nothing there, no picture in it, or some (a few are looked at here) that
            cannot be read or are far smaller than the canvas.
        NetworkError: a dataset that cannot be fetched.
    """
    kind = kind or store_kind(path)
    if kind != "hf" and not Path(path).exists():
        raise InputRefused(path, "is not there", EXPECTED)
    store = STORES[kind](path, side, offline)
    if not len(store):
        endings = " ".join(sorted(SUFFIXES))
        raise InputRefused(path, f"holds no image ({endings})", "name pictures of the domain")
    for number in sorted({len(store) * k // LOOKED_AT for k in range(LOOKED_AT)}):
        store.read(number)
    return store


def draw_pictures_of(
    store: Store, stream: np.random.RandomState, batch: int
) -> Float[Tensor, "batch 3 side side"]:
    """Return ``batch 3 side side`` in [-1, 1], drawn with replacement."""
    picked = stream.randint(0, len(store), batch)
    images = np.stack([store.read(int(number)) for number in picked])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
