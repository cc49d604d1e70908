"""Content: which files of a dataset folder are published, as its manifest and markers list them."""

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from l4f_datagen.core.errors import UsageError
from l4f_datagen.dataset.formats import WRITERS
from l4f_datagen.dataset.indexes import read_markers
from l4f_datagen.dataset.layout import LEDGER, PREVIEW, RECIPE, marker_path
from l4f_datagen.dataset.manifest import MANIFEST, read_manifest
from l4f_datagen.dataset.notes import CARD
from l4f_datagen.io.disk import has_size

SHEET, REPORT = "contact_sheet.png", "report.html"
MAX_FILES = 100_000
"""The Hub's limit for one repository."""


@dataclass(frozen=True)
class PushFile:
    """One file to publish.

    Attributes:
        path: in the dataset folder and in the repository.
        size: bytes.
        sha256: as the manifest and the markers have it.
    """

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Content:
    """What is published.

    Attributes:
        shards: files of the samples.
        pages: card, manifest and what else speaks for the whole dataset.
        formats: names of the writers whose files they are.
        manifest: the read ``manifest.json``.
    """

    shards: list[PushFile]
    pages: list[PushFile]
    formats: list[str]
    manifest: dict[str, Any]


def read_content(folder: Path, also: Collection[str] = ()) -> Content:
    """Find the files of a finished dataset.

    Args:
        folder: the dataset.
        also: further formats whose files are published beside the Parquet files, or "report".

    Raises:
        UsageError: not finished, changed since, nothing that the Hub can read, an unknown or
            absent format, too many files.
        InputRefused: a damaged manifest.
    """
    manifest = read_manifest(folder)
    formats = _chosen(folder, manifest["formats"], also)
    shards = [fact for fact in shard_files(folder, manifest) if _format_of(fact.path) in formats]
    names = [RECIPE, LEDGER, SHEET, *(name for f in formats for name in WRITERS[f].indexes)]
    names += [PREVIEW, REPORT] if "report" in also else [PREVIEW]
    listed = manifest["indexes"]
    pages = [
        PushFile(name, fact["bytes"], fact["sha256"])
        for name, fact in listed.items()
        if any(re.fullmatch(place_pattern(known), name) for known in names)
    ]
    for page in pages:
        if file_sha256(folder / page.path) != page.sha256:
            raise _changed(folder, page.path)
    if "report" in also and REPORT not in listed:
        if not (folder / REPORT).is_file():
            raise UsageError(str(folder), f"has no {REPORT}", "make it with `l4f-datagen report`")
        pages.append(_on_disk(folder, REPORT))
    pages += [_on_disk(folder, CARD)] if (folder / CARD).is_file() else []
    pages.append(_on_disk(folder, MANIFEST))
    if len(shards) + len(pages) > MAX_FILES:
        raise UsageError(
            str(folder),
            f"{len(shards) + len(pages)} files, the Hub takes {MAX_FILES} at most",
            "leave out formats with a file a sample",
        )
    return Content(shards, pages, formats, manifest)


def shard_files(folder: Path, manifest: dict[str, Any]) -> Iterator[PushFile]:
    """List the files of all shards.

    Raises:
        UsageError: a marker or a file is gone, or has another size than the marker says.
    """
    for shard in manifest["shards"]:
        number = shard["shard"]
        if not marker_path(folder, number).is_file():
            raise _changed(folder, f"the marker of shard {number}")
        try:
            [marker] = read_markers(folder, [number])
        except ValueError:
            raise _changed(folder, f"the marker of shard {number}") from None
        for path, size, digest in marker.files:
            if not has_size(folder / path, size):
                raise _changed(folder, path)
            yield PushFile(path, size, digest)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, empty where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""


def place_pattern(place: str) -> str:
    """Return the regular expression of all paths at a writer's place.

    >>> bool(re.fullmatch(place_pattern("images/{shard:05d}"), "images/00003/a.png"))
    True
    """
    return re.sub(r"\\\{.*?\\\}", "[^/]+", re.escape(place)) + "(/.*)?"


def _format_of(path: str) -> str | None:
    found = (name for name, pattern in _patterns().items() if pattern.fullmatch(path))
    return None if path.startswith(".") else next(found, None)


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    return {
        name: re.compile("|".join(map(place_pattern, writer.places)))
        for name, writer in WRITERS.items()
    }


def _chosen(folder: Path, formats: list[str], also: Collection[str]) -> list[str]:
    for name in also:
        if name != "report" and name not in formats:
            raise UsageError(
                f"--also {name}", "the dataset has no such files", f"it has {', '.join(formats)}"
            )
    if "hf" not in formats:
        raise UsageError(
            str(folder),
            "has no Parquet files, which load_dataset and the Hub's viewer read",
            "make it with hf among its --formats",
        )
    return [name for name in formats if name == "hf" or name in also]


def _on_disk(folder: Path, name: str) -> PushFile:
    return PushFile(name, (folder / name).stat().st_size, file_sha256(folder / name))


def _changed(folder: Path, what: str) -> UsageError:
    return UsageError(
        str(folder),
        f"{what} is not as {MANIFEST} lists it",
        "run the same `l4f-datagen make` command again: it mends the dataset",
    )
