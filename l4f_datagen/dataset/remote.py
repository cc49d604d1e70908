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
from typing import Any

import fsspec

from l4f_datagen.core.errors import L4FError, NetworkError, UsageError
from l4f_datagen.dataset import layout
from l4f_datagen.dataset.manifest import MANIFEST, RUN, Marker
from l4f_datagen.dataset.staging import FLAT, FLAT_NAMES, flat_names
from l4f_datagen.io.disk import PART, has_size, remove
from l4f_datagen.io.download import default_cache

LOCAL = ("file://", "local://")


class Remote:
    """A place at a URL; UsageError for a broken one, or one whose package is not installed."""

    def __init__(self, url: str) -> None:
        protocol, _, place = url.partition("://")
        # fsspec takes a protocol of one letter for a drive, and no place for a local folder.
        if len(protocol) < 2 or not place.strip("/"):
            problem = "expected a protocol and a place, such as s3://bucket/cars"
            raise UsageError(url, problem, "write both, or name a folder")
        self.url = url.rstrip("/")
        options: dict[str, Any] = {"skip_instance_cache": True}
        if url.startswith(LOCAL):
            options["auto_mkdir"] = True
        try:
            self._fs, root = fsspec.core.url_to_fs(self.url, **options)
        except (ImportError, ValueError) as error:
            remedy = "pip install its package (s3fs, gcsfs, adlfs ...), or name a folder"
            raise UsageError(url, f"cannot be opened ({error})", remedy) from error
        self._root = str(root).rstrip("/")
        self._left: set[str] | None = None

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
            self._fs.invalidate_cache()
            there = [self._relative(entry) for entry in self._list("")]
            if there and layout.STATE not in there:
                problem = "is not empty, and was not made by this tool"
                raise UsageError(self.url, problem, "choose another URL")
            names = [self._relative(path) for path in self._find(layout.STATE)]
            wanted = (*layout.PAGES[:1], *more)
            self._fetch(folder, [*names, *(name for name in wanted if name in there)])
        places = (layout.MARKER, *layout.PLACES)
        found = (self.numbered(place) for place in places if place.split("/")[0] in there)
        self._left = {name for numbered in found for _, name in numbered}
        self._left.update(name for name in layout.INDEXES if name.split("/")[0] in there)

    def forget(self, folder: Path) -> None:
        """Empty the local folder, but for its lock."""
        for path in [*folder.glob("*"), *(folder / layout.STATE).glob("*")]:
            if path not in (folder / layout.STATE, folder / layout.LOCK):
                remove(path)

    def fetch_shard(self, folder: Path, shard: int) -> None:
        """Copy the state of a shard that another machine made."""
        places = [place for place in (layout.MARKER, *layout.PLACES) if place[0] == "."]
        with self._failures("reading"):
            self._fs.invalidate_cache()
            names = [
                self._relative(path)
                for place in places
                for path in self._find(place.format(shard=shard))
            ]
            self._fetch(folder, names)

    def fetch_images(self, folder: Path, marker: Marker, keys: set[str]) -> None:
        """Copy the files of single samples, or the shard's where they have none."""
        outside = [name for name, _, _ in marker.files if not name.startswith(layout.STATE)]
        loose = [name for name in outside if not name.endswith((".parquet", ".tar"))]
        wanted = [name for name in loose if PurePath(name).stem.split("_")[0] in keys]
        with self._failures("reading"):
            self._fetch(folder, wanted or outside)

    def lost(self, folder: Path, marker: Marker) -> int:
        """Count the files of a shard that are not there, or of another size."""
        lost, sizes = 0, dict[str, int]()
        with self._failures("reading"):
            self._fs.invalidate_cache()
            for parent in {name.rpartition("/")[0] for name, _, _ in marker.files}:
                sizes |= {self._relative(e["name"]): e["size"] for e in self._details(parent)}
        for name, size, _ in marker.files:
            here = name.startswith(layout.STATE) and not has_size(folder / name, size)
            lost += here or sizes.get(name) != size
        return lost

    def send_shard(self, folder: Path, marker: Marker) -> None:
        """Move a finished shard: files, then marker; only what an index needs stays local."""
        names = [name for name, _, _ in marker.files]
        flat = flat_names(folder, marker.shard)
        if flat:  # the list of them first, so that a stopped run's files can be taken away
            self.send(folder, [f"{FLAT.format(shard=marker.shard)}/{FLAT_NAMES}"])
        self.send(folder, names)
        self.send(folder, [layout.MARKER.format(shard=marker.shard)])
        for name in flat:
            remove(folder / name)
        for place in layout.PLACES:
            if not place.startswith(layout.STATE):
                remove(folder / place.format(shard=marker.shard))

    def send(self, folder: Path, names: Sequence[str]) -> None:
        """Copy files of the local folder to the place."""
        with self._failures("writing"):
            if names:
                self._fs.put([os.fspath(folder / name) for name in names], self._paths(names))

    def retract_shard(self, shard: int) -> None:
        """Delete a shard, its marker first."""
        self._drop(layout.MARKER.format(shard=shard))
        flat = FLAT.format(shard=shard)
        if self._left is None or flat in self._left:
            self._drop_flat(flat)
        for place in layout.PLACES:
            self._drop(place.format(shard=shard))

    def retract_indexes(self) -> None:
        """Delete all indexes."""
        for name in layout.INDEXES:
            self._drop(name)

    def clear(self) -> None:
        """Delete all that a run of this tool wrote; other files stay."""
        self.retract_indexes()
        for name in sorted(self._left or ()):
            self._drop_flat(name)
            self._drop(name)
        self.drop_folder(f"{layout.STATE}/jobs")
        self.drop_folder(RUN)

    def sweep(self, shards: Iterable[int]) -> None:
        """Delete the places of all shards but these."""
        kept = set(shards)
        for place in (layout.MARKER, *layout.PLACES):
            for number, name in self.numbered(place):
                if number not in kept:
                    self._drop_flat(name)
                    self.drop_folder(name)

    def numbered(self, place: str) -> list[tuple[int, str]]:
        """List a place for all shards."""
        before, _, after = place.partition("{shard:05d}")
        name = re.compile(rf"{re.escape(before)}(\d{{5,}}){re.escape(after)}")
        with self._failures("reading"):
            self._fs.invalidate_cache()
            listed = [self._relative(path) for path in self._list(before.rpartition("/")[0])]
        found = ((name.fullmatch(path), path) for path in listed)
        return [(int(match[1]), path) for match, path in found if match]

    def send_indexes(self, folder: Path, shards: Iterable[int]) -> None:
        """Send the indexes, the manifest last, and delete shards they do not name."""
        self.retract_indexes()
        self.sweep(shards)
        names = [name for name in layout.INDEXES if (folder / name).exists()]
        self.send(folder, [RUN, *(name for name in names if name != MANIFEST)])
        self.send(folder, [MANIFEST])

    def _drop(self, name: str) -> None:
        """Delete what ``begin`` found; without it, look first."""
        if self._left is None:
            self.drop_folder(name)
        elif name in self._left:
            self.drop_folder(name)
            self._left.discard(name)

    def _drop_flat(self, name: str) -> None:
        """Delete the files of flat folders that a shard's place lists; other places list none."""
        if not name.startswith(FLAT.partition("{")[0]):
            return
        with self._failures("reading"):
            try:
                listed = self._fs.cat_file(f"{self._root}/{name}/{FLAT_NAMES}").decode()
            except FileNotFoundError:
                return
        for path in listed.splitlines():
            self.drop_folder(path)

    def drop_folder(self, name: str) -> None:
        """Delete a file or folder, if it is there."""
        with self._failures("writing"):
            path = f"{self._root}/{name}"
            with suppress(FileNotFoundError):
                self._fs.invalidate_cache()
                if self._fs.exists(path):
                    self._fs.rm(path, recursive=True)

    def _fetch(self, folder: Path, names: Sequence[str]) -> None:
        wanted = [name for name in names if not name.endswith((".lock", "/lock", PART))]
        for name in wanted:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if wanted:
            self._fs.get(self._paths(wanted), [os.fspath(folder / name) for name in wanted])

    def _paths(self, names: Iterable[str]) -> list[str]:
        return [f"{self._root}/{name}" for name in names]

    def _relative(self, path: str) -> str:
        return path.rstrip("/").removeprefix(self._root).lstrip("/")

    def _find(self, name: str) -> list[str]:
        with suppress(FileNotFoundError):
            return list(self._fs.find(f"{self._root}/{name}"))
        return []

    def _details(self, name: str) -> list[dict[str, Any]]:
        with suppress(FileNotFoundError, NotADirectoryError):
            return list(self._fs.ls(f"{self._root}/{name}".rstrip("/"), detail=True))
        return []

    def _list(self, name: str) -> list[str]:
        return [entry["name"] for entry in self._details(name)]

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
