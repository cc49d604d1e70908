"""Verify: every file of a finished dataset against the hashes of its manifest.

The manifest has one digest for each file, or for each folder of a shard's sample files; the shard's
marker in ``.l4f/shards`` has the digest of every single file in it, so that a damaged one is named.
A dataset that was downloaded has no markers: its folders are then checked as wholes, and formats
of which nothing was downloaded are left out.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from l4f_datagen.core.progress import usable_cores
from l4f_datagen.dataset.indexes import file_digests, find_marker
from l4f_datagen.dataset.layout import LEDGER, MARKER, STATE
from l4f_datagen.dataset.manifest import RUN, read_manifest
from l4f_datagen.io.download import file_hash

CHANGED = "its content has changed"
STRANGE = "is not part of the dataset, and readers may take it for a sample"
MAX_THREADS = 8  # hashing lets other threads run; more threads than this wait for the disk


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


class _Check(NamedTuple):
    """One file, or one folder of a shard, and what it must be, or what is wrong with it already."""

    path: str
    shard: int | None
    fact: Mapping[str, Any] | str
    names: Sequence[str] | None = None  # of a folder that has files of other shards: those to check


def verify_dataset(folder: Path, done: Callable[[int], object] = lambda _: None) -> list[Problem]:
    """Compare every file of a finished dataset with its manifest; returns problems sorted by path.

    ``done`` is called with the number of files that were checked since its last call.
    """
    manifest = read_manifest(folder)
    local = (folder / RUN).exists()
    checks = list(_checks(folder, manifest, local))
    problems = []
    with ThreadPoolExecutor(min(MAX_THREADS, usable_cores()), "verify") as pool:
        found = pool.map(partial(_problem, folder), checks)
        for one, problem in zip(checks, found, strict=True):
            if not isinstance(one.fact, str):
                done(one.fact.get("files", 1))
            if problem:
                remedy = _remedy(one.shard, problem) if local else "download it again"
                problems.append(Problem(one.path, problem, remedy, one.shard))
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


def _checks(folder: Path, manifest: Mapping[str, Any], local: bool) -> Iterator[_Check]:
    facts = [(path, fact) for one in manifest["shards"] for path, fact in one["files"].items()]
    tops = {path.split("/")[0] for path in (*manifest["indexes"], *dict(facts))}
    # Of a download files and folders at the top, such as ``images``, may be left out.
    there = {top for top in tops if local or (top != STATE and (folder / top).exists())}
    known: defaultdict[str, set[str]] = defaultdict(set)  # folder to its files, by the markers
    listing, keys = cache(_listing), cache(_keys_by_shard)
    for path, fact in manifest["indexes"].items():
        if path.split("/")[0] in there:
            yield _Check(path, None, fact)
    whole = {path for path, fact in facts if "files" in fact} if local else set()
    for shard in manifest["shards"]:
        number, files = shard["shard"], shard["files"]
        marker = None
        with suppress(OSError):  # the record cannot be read
            marker = find_marker(folder, number) if local else None
        if marker and dict(file_digests(marker.files)) == files:
            for path, size, digest in marker.files:
                known[path.rpartition("/")[0]].add(path)
                yield _Check(path, number, {"bytes": size, "sha256": digest})
            continue
        if local:
            place = MARKER.format(shard=number)
            yield _Check(place, number, "the shard's record is missing or damaged")
            whole -= files.keys()
        for path, fact in files.items():
            names = None
            if "files" in fact and f"{number:05d}" not in path.split("/"):  # a flat folder
                mine = keys(folder)[number]
                names = [name for name in listing(folder / path) if Path(name).stem in mine]
            if path.split("/")[0] in there:
                yield _Check(path, number, fact, names)
    for place in whole:
        for name in listing(folder / place):
            if f"{place}/{name}" not in known[place]:
                yield _Check(f"{place}/{name}", None, STRANGE)


def _listing(folder: Path) -> list[str]:
    """Sorted names of the files in a folder, hidden ones left out; empty where there is none."""
    with suppress(OSError):
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
        return sorted(path.name for path in paths if path.is_file())
    return []


def _keys_by_shard(folder: Path) -> Mapping[int, set[str]]:
    """Keys of the accepted samples of each shard, by the ledger; none where it is damaged."""
    keys: defaultdict[int, set[str]] = defaultdict(set)
    if (folder / LEDGER).is_file():
        lines = (folder / LEDGER).read_text(encoding="utf-8", errors="replace").splitlines()
        with suppress(ValueError, KeyError, TypeError):
            for row in map(json.loads, lines):
                if row["status"] == "accepted":
                    keys[row["shard"]].add(row["key"])
    return keys


def _problem(folder: Path, check: _Check) -> str | None:
    path, fact = folder / check.path, check.fact
    if isinstance(fact, str):
        return fact
    try:
        if "files" not in fact:
            if (size := path.stat().st_size) != fact["bytes"]:
                return f"has {size} bytes, expected {fact['bytes']}"
            return None if file_hash(path) == fact["sha256"] else CHANGED
        if not path.is_dir():
            return "is missing"
        names = _listing(path) if check.names is None else check.names
        if len(names) != fact["files"]:
            return f"has {len(names)} files of the shard, expected {fact['files']}"
        lines = "".join(f"{file_hash(path / name)}  {name}\n" for name in names)
        same = hashlib.sha256(lines.encode()).hexdigest() == fact["sha256"]
        return None if same else "a file in it has changed"
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _remedy(shard: int | None, problem: str) -> str:
    if problem == STRANGE:
        return "move it to another place"
    # `make` notices what is missing or of another size; it does not hash all files at every start.
    first = "delete it and " if shard is not None and problem == CHANGED else ""
    what = "it" if shard is None else f"shard {shard}"
    return f"{first}run the same `make` again: it writes {what} anew"
