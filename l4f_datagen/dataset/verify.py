"""Verify: every file of a finished dataset against the hashes of its manifest.

The manifest has one digest for each file, or for each folder of a shard's sample files; the shard's
marker in ``.l4f/shards`` has the digest of every single file in it, so that a damaged one is named.
A dataset that was downloaded has no markers: its folders are then checked as wholes, and formats
of which nothing was downloaded are left out.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from l4f_datagen.core.progress import usable_cores
from l4f_datagen.dataset.indexes import read_markers
from l4f_datagen.dataset.layout import LEDGER, MARKER, STATE
from l4f_datagen.dataset.manifest import RUN, Marker, file_digests, read_manifest
from l4f_datagen.dataset.staging import FileFact
from l4f_datagen.io.download import file_hash

CHANGED = "its content has changed"
MAX_THREADS = 8
"""Hashing lets other threads run; more threads than this wait for the disk."""

Done = Callable[[int], object]


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file; ``shard`` is None for an index."""

    path: str
    problem: str
    remedy: str
    shard: int | None = None

    def __str__(self) -> str:
        """Write it as one line."""
        return f"{self.path}: {self.problem}; {self.remedy}"


@dataclass(frozen=True)
class _Check:
    """One file, or one folder of a shard, and what it must be."""

    path: str
    fact: Mapping[str, Any]
    shard: int | None
    # of the folder's files those to check, where it has others too
    names: Sequence[str] | None = None
    """Of the folder's files those to check, where it has others too; None: all."""


def verify_dataset(folder: Path, done: Done = lambda files: None) -> list[Problem]:
    """Compare every file of a finished dataset with its manifest; returns problems sorted by path.

    ``done`` is called with the number of files that were checked since its last call.
    """
    manifest = read_manifest(folder)
    local = (folder / RUN).exists()
    problems: list[Problem] = []

    def check(one: _Check) -> str | None:
        if "files" in one.fact:
            return _folder_problem(folder / one.path, one.fact, one.names)
        return _file_problem(folder / one.path, one.fact)

    absent = frozenset[str]() if local else _absent(folder, manifest)
    checks = [
        _Check(name, fact, None)
        for name, fact in manifest["indexes"].items()
        if _top(name) not in absent
    ]
    checks += _shard_checks(folder, manifest, local, absent, problems)
    with ThreadPoolExecutor(min(MAX_THREADS, usable_cores()), "verify") as pool:
        for one, wrong in zip(checks, pool.map(check, checks), strict=True):
            done(one.fact.get("files", 1))
            if wrong is not None:
                remedy = _remedy(one.shard, wrong, local)
                problems.append(Problem(one.path, wrong, remedy, one.shard))
    return sorted(problems, key=lambda one: one.path)


def remove_changed(folder: Path, problems: list[Problem]) -> None:
    """Delete the files of shards whose content has changed, so that ``make`` writes them anew."""
    for one in problems:
        if one.shard is not None and one.problem == CHANGED:
            (folder / one.path).unlink()


def count_files(manifest: Mapping[str, Any]) -> int:
    """Count the files that a manifest has digests of."""
    facts = [fact for shard in manifest["shards"] for fact in shard["files"].values()]
    return len(manifest["indexes"]) + sum(int(fact.get("files", 1)) for fact in facts)


def _shard_checks(
    folder: Path,
    manifest: Mapping[str, Any],
    local: bool,
    absent: Set[str],
    problems: list[Problem],
) -> Iterator[_Check]:
    known: defaultdict[str, set[str]] = defaultdict(set)
    unmarked = set[str]()
    keys = cache(partial(_keys_by_shard, folder))
    listing = cache(partial(_listing, folder))
    for shard in manifest["shards"]:
        number, files = shard["shard"], shard["files"]
        listed = _marked(folder, number, files) if local else None
        if listed is not None:
            for path, size, digest in listed:
                known[path.rpartition("/")[0]].add(path)
                yield _Check(path, {"bytes": size, "sha256": digest}, number)
            continue
        if local:
            problem = "the shard's record is missing or damaged"
            path = MARKER.format(shard=number)
            problems.append(Problem(path, problem, _remedy(number, problem, local), number))
            unmarked.update(files)
        for path, fact in files.items():
            names = None
            if "files" in fact and f"{number:05d}" not in path.split("/"):  # a flat folder
                names = [name for name in listing(path) if Path(name).stem in keys()[number]]
            if _top(path) not in absent:
                yield _Check(path, fact, number, names)
    places = {
        path for shard in manifest["shards"] for path, f in shard["files"].items() if "files" in f
    }
    for place in places - unmarked if local else ():
        problems += _strangers(place, listing(place), known[place])


def _marked(folder: Path, number: int, files: Mapping[str, Any]) -> list[FileFact] | None:
    """The files of a shard by its marker, where that agrees with the manifest."""
    try:
        marker: Marker
        [marker] = read_markers(folder, [number])
    except (OSError, ValueError):
        return None
    return list(marker.files) if dict(file_digests(marker.files)) == files else None


def _keys_by_shard(folder: Path) -> Mapping[int, Set[str]]:
    """Keys of the accepted samples of each shard, by the ledger; none where it is damaged."""
    keys: defaultdict[int, set[str]] = defaultdict(set)
    if not (folder / LEDGER).is_file():
        return keys
    lines = (folder / LEDGER).read_text(encoding="utf-8", errors="replace").splitlines()
    with suppress(ValueError, KeyError, TypeError):
        for row in map(json.loads, lines):
            if row["status"] == "accepted":
                keys[row["shard"]].add(row["key"])
    return keys


def _listing(folder: Path, place: str) -> list[str]:
    """Sorted names of the files in a folder, hidden ones left out; empty where there is none."""
    try:
        paths = list((folder / place).iterdir())
    except OSError:
        return []
    return sorted(path.name for path in paths if path.is_file() and not path.name.startswith("."))


def _strangers(place: str, names: Sequence[str], known: Set[str]) -> Iterator[Problem]:
    """Files in a folder of samples that readers would take for samples."""
    for name in names:
        if f"{place}/{name}" not in known:
            problem = "is not part of the dataset, and readers may take it for a sample"
            yield Problem(f"{place}/{name}", problem, "move it to another place")


def _file_problem(path: Path, fact: Mapping[str, Any]) -> str | None:
    try:
        size = path.stat().st_size
        if size != fact["bytes"]:
            return f"has {size} bytes, expected {fact['bytes']}"
        return None if file_hash(path) == fact["sha256"] else CHANGED
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _folder_problem(path: Path, fact: Mapping[str, Any], names: Sequence[str] | None) -> str | None:
    if not path.is_dir():
        return "is missing"
    names = _listing(path, "") if names is None else names
    if len(names) != fact["files"]:
        return f"has {len(names)} files of the shard, expected {fact['files']}"
    listing = hashlib.sha256()
    try:
        for name in names:
            listing.update(f"{file_hash(path / name)}  {name}\n".encode())
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if listing.hexdigest() == fact["sha256"] else "a file in it has changed"


def _remedy(shard: int | None, problem: str, local: bool) -> str:
    if not local:
        return "download it again"
    # `make` notices what is missing or of another size; it does not hash all files at every start.
    first = "delete it and " if shard is not None and problem == CHANGED else ""
    what = "it" if shard is None else f"shard {shard}"
    return f"{first}run the same `make` again: it writes {what} anew"


def _top(path: str) -> str:
    return path.split("/")[0]


def _absent(folder: Path, manifest: Mapping[str, Any]) -> frozenset[str]:
    """Files and folders at the top, such as ``images``, of which nothing was downloaded."""
    paths = (path for shard in manifest["shards"] for path in shard["files"])
    tops = {_top(path) for path in (*paths, *manifest["indexes"])}
    return frozenset(top for top in tops if top == STATE or not (folder / top).exists())
