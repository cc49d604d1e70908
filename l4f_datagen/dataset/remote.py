"""Remote: a dataset at any fsspec URL, such as ``s3://bucket/cars``.

Shards are made in a local folder and moved to the URL once they are finished: their files first,
the marker last, the manifest last of all, so that what holds for a folder after a crash holds
there too. Markers and what indexes are merged from stay in the local folder as well.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

import fsspec

from l4f_datagen.core.errors import L4FError, NetworkError, UsageError
from l4f_datagen.dataset import layout
from l4f_datagen.dataset.manifest import MANIFEST, RUN, Marker
from l4f_datagen.dataset.staging import FLAT, FLAT_NAMES, flat_names
from l4f_datagen.io.disk import PART, has_size, remove
from l4f_datagen.io.download import default_cache

LOCAL = ("file://", "local://")
PLACES = (layout.MARKER, *layout.PLACES)


class Remote:
    """A place at a URL; UsageError for a broken one, or one whose package is not installed."""

    def __init__(self, url: str) -> None:
        protocol, _, place = url.partition("://")
        # fsspec takes a protocol of one letter for a drive, and no place for a local folder.
        if len(protocol) < 2 or not place.strip("/"):
            problem = "expected a protocol and a place, such as s3://bucket/cars"
            raise UsageError(url, problem, "write both, or name a folder")
        self.url = url.rstrip("/")
        options = {"auto_mkdir": True} if url.startswith(LOCAL) else {}
        try:
            self._fs, root = fsspec.core.url_to_fs(self.url, skip_instance_cache=True, **options)
        except (ImportError, ValueError) as error:
            remedy = "pip install its package (s3fs, gcsfs, adlfs ...), or name a folder"
            raise UsageError(url, f"cannot be opened ({error})", remedy) from error
        self._root = str(root).rstrip("/")
        self._left: set[str] | None = None  # what ``begin`` found and is there still

    def scratch(self, name: str = "") -> Path:
        """The local folder where the shards for this URL are made."""
        digest = hashlib.sha256(f"{self.url} {name}".encode()).hexdigest()[:16]
        return default_cache() / "remote" / digest

    def begin(self, folder: Path, *more: str) -> None:
        """Copy the state of the dataset, and ``more`` indexes, to the local folder, emptied first.

        UsageError where the place holds files that this tool did not make.
        """
        self.forget(folder)
        with self._failures("reading"):
            there = self._list("").keys()
            if there and layout.STATE not in there:
                problem = "is not empty, and was not made by this tool"
                raise UsageError(self.url, problem, "choose another URL")
            wanted = [name for name in (layout.CARD, *more) if name in there]
            self._fetch(folder, [*self._find(layout.STATE), *wanted])
        self._left = {name for name in layout.INDEXES if name.split("/")[0] in there}
        for place in PLACES:
            if place.split("/")[0] in there:
                self._left.update(name for _, name in self._numbered(place))

    def forget(self, folder: Path) -> None:
        """Empty the local folder, but for its lock."""
        for path in [*folder.glob("*"), *(folder / layout.STATE).glob("*")]:
            if path not in (folder / layout.STATE, folder / layout.LOCK):
                remove(path)

    def fetch_shard(self, folder: Path, shard: int) -> None:
        """Copy the state of a shard that another machine made."""
        with self._failures("reading"):
            self._fs.invalidate_cache()
            for place in PLACES:
                if place[0] == ".":
                    self._fetch(folder, self._find(place.format(shard=shard)))

    def fetch_images(self, folder: Path, marker: Marker, keys: set[str]) -> None:
        """Copy the files of single samples, or the shard's where they have none."""
        outside = [name for name, _, _ in marker.files if not name.startswith(layout.STATE)]
        loose = [name for name in outside if not name.endswith((".parquet", ".tar"))]
        wanted = [name for name in loose if PurePath(name).stem.split("_")[0] in keys]
        with self._failures("reading"):
            self._fetch(folder, wanted or outside)

    def lost(self, folder: Path, marker: Marker) -> int:
        """Count the files of a shard that are not there, or of another size."""
        lost, sizes = 0, dict[str, int | None]()
        with self._failures("reading"):
            for parent in {name.rpartition("/")[0] for name, _, _ in marker.files}:
                sizes |= self._list(parent)
        for name, size, _ in marker.files:
            here = name.startswith(layout.STATE) and not has_size(folder / name, size)
            lost += here or sizes.get(name) != size
        return lost

    def send_shard(self, folder: Path, marker: Marker) -> None:
        """Move a finished shard: files, then marker; only what an index needs stays local."""
        flat = flat_names(folder, marker.shard)
        if flat:  # the list of them first, so that a stopped run's files can be taken away
            self.send(folder, [f"{FLAT.format(shard=marker.shard)}/{FLAT_NAMES}"])
        self.send(folder, [name for name, _, _ in marker.files])
        self.send(folder, [layout.MARKER.format(shard=marker.shard)])
        for name in (*flat, *(place.format(shard=marker.shard) for place in layout.PLACES)):
            if not name.startswith(layout.STATE):
                remove(folder / name)

    def send(self, folder: Path, names: Sequence[str]) -> None:
        """Copy files of the local folder to the place."""
        with self._failures("writing"):
            if names:
                self._fs.put([os.fspath(folder / name) for name in names], self._paths(names))

    def retract(self, names: Iterable[str]) -> None:
        """Delete, in order, what ``begin`` found of files and folders; without it, look first."""
        for name in names:
            if self._left is None or name in self._left:
                self.delete(name)
                (self._left or set()).discard(name)

    def clear(self) -> None:
        """Delete all that a run of this tool wrote; other files stay."""
        self.retract([*layout.INDEXES, *sorted(self._left or ())])
        self.delete(f"{layout.STATE}/jobs")
        self.delete(RUN)

    def send_indexes(self, folder: Path, shards: Iterable[int]) -> None:
        """Send the indexes, the manifest last, and delete shards they do not name."""
        self.retract(layout.INDEXES)
        kept = set(shards)
        for place in PLACES:
            for number, name in self._numbered(place):
                if number not in kept:
                    self.delete(name)
        names = [name for name in layout.INDEXES if (folder / name).exists()]
        self.send(folder, [RUN, *(name for name in names if name != MANIFEST)])
        self.send(folder, [MANIFEST])

    def delete(self, name: str) -> None:
        """Delete a file or folder, if it is there, with the flat files that it lists."""
        with self._failures("writing"), suppress(FileNotFoundError):
            self._fs.invalidate_cache()
            path = f"{self._root}/{name}"
            if name.startswith(FLAT.partition("{")[0]):
                with suppress(FileNotFoundError):
                    for listed in self._fs.cat_file(f"{path}/{FLAT_NAMES}").decode().splitlines():
                        self.delete(listed)
            if self._fs.exists(path):
                self._fs.rm(path, recursive=True)

    def _numbered(self, place: str) -> list[tuple[int, str]]:
        """List a place for all shards."""
        pattern = re.compile(layout.place_pattern(place))
        with self._failures("reading"):
            names = self._list(place.rpartition("/")[0])
        return [(int(match[1]), name) for name in names if (match := pattern.fullmatch(name))]

    def _list(self, name: str) -> dict[str, int | None]:
        """Name to size of what lies in a folder now; empty where there is none."""
        with suppress(FileNotFoundError, NotADirectoryError):
            self._fs.invalidate_cache()
            found = self._fs.ls(f"{self._root}/{name}".rstrip("/"), detail=True)
            return {self._relative(entry["name"]): entry.get("size") for entry in found}
        return {}

    def _find(self, name: str) -> list[str]:
        with suppress(FileNotFoundError):
            return [self._relative(path) for path in self._fs.find(f"{self._root}/{name}")]
        return []

    def _fetch(self, folder: Path, names: Iterable[str]) -> None:
        wanted = [name for name in names if not name.endswith((".lock", "/lock", PART))]
        for name in wanted:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if wanted:
            self._fs.get(self._paths(wanted), [os.fspath(folder / name) for name in wanted])

    def _paths(self, names: Iterable[str]) -> list[str]:
        return [f"{self._root}/{name}" for name in names]

    def _relative(self, path: str) -> str:
        return path.rstrip("/").removeprefix(self._root).lstrip("/")

    @contextmanager
    def _failures(self, doing: str) -> Iterator[None]:
        try:
            yield
        except L4FError:
            raise
        except Exception as error:  # every kind of store raises errors of its own
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            remedy = "check the connection, then run the same command again: it resumes"
            raise NetworkError(self.url, f"{doing} failed ({reason})", remedy) from error
