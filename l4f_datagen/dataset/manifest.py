"""Manifest: the machine-readable truth about one dataset, the same bytes at every run."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import UnionType
from typing import Any, TextIO

from l4f_datagen.core.errors import InputRefused, UsageError
from l4f_datagen.dataset.ledger import Counts, Row, is_row
from l4f_datagen.dataset.staging import FileFact
from l4f_datagen.io.download import file_hash

SCHEMA = 2
"""Of records, markers and manifests; 2 has index masks, and flat folders for YOLO."""
READABLE = (1, 2)
RUN, MANIFEST = ".l4f/run.json", "manifest.json"
SHARD_FILES = (".parquet", ".tar", ".tsv")
"""What files end in that hold a whole shard."""
MAX_MANIFEST_BYTES = 256 * 2**20
"""About a million shards: read whole, so a file that is something else must not fill the memory."""
RUN_AGAIN = "run the `make` that made the dataset again"
PARTS: Mapping[str, type | UnionType] = {
    **{"schema": int, "counts.accepted": int, "counts.attempted": int, "splits": dict},
    **{"formats": list, "shards": list, "indexes": dict, "provenance": dict},
    **{f"provenance.{name}": str for name in ("domain", "package", "device", "recipe_hash")},
    **{"provenance.generator.format": str, "provenance.generator.sha256": str},
    **{"provenance.alpha.sha256": str, "provenance.licence.name": str},
    **{"provenance.licence.link": str | None, "provenance.recipe.description": str},
    **{"provenance.recipe.filters": dict, "provenance.recipe.output.category": str},
    **{"provenance.recipe.output.formats": list},
    "provenance.recipe.output.mask_threshold": int | float,
}
"""What every reader of a manifest relies on, by its path, with its type."""


@dataclass(frozen=True)
class Facts:
    """What the files alone do not say."""

    category: str  # of the one object class, such as ``car``
    mask_threshold: float
    licence: str  # of the generator's checkpoint, which the images inherit
    licence_url: str = ""
    description: str = ""  # one line for the ``info`` of COCO
    provenance: Mapping[str, Any] = field(default_factory=dict)  # see ``pipeline.provenance``


@dataclass(frozen=True)
class Shards:
    """The finished shards of a dataset, in order."""

    folder: Path
    numbers: Sequence[int]
    splits: Sequence[str]  # those an index is about: its own, or all that have samples
    facts: Facts

    def fields(self, place: str) -> Iterator[list[str]]:
        """Read the tab-separated lines at a place of every shard, those of the splits alone.

        A line begins with its split. Shards without the place are passed over.
        """
        for number in self.numbers:
            path = self.folder / place.format(shard=number)
            if path.exists():
                with path.open(encoding="utf-8", newline="\n") as lines:
                    for line in lines:
                        split, *fields = line.rstrip("\n").split("\t")
                        if split in self.splits:
                            yield fields


MergeIndex = Callable[[Shards, TextIO], None]
"""Writes one index over all shards."""


@dataclass(frozen=True)
class Marker:
    """A finished shard: the content of its marker file."""

    shard: int
    planned: int  # samples the plan gives it
    attempted: int  # fewer than planned where the wanted count was reached
    accepted: int
    rejected: Mapping[str, int]  # reason to number
    empty_masks: int
    files: Sequence[FileFact]  # sorted by path
    rows: Sequence[Row]  # of the ledger
    filled_holes: int = 0

    @property
    def ends_accepted(self) -> bool:
        """Whether its last attempt was accepted."""
        return bool(self.rows) and self.rows[-1]["status"] == "accepted"

    @property
    def images(self) -> int:
        """How many of its files are images of the format png."""
        return sum(path.startswith("images/") for path, _, _ in self.files)

    def to_bytes(self) -> bytes:
        """Give the JSON of the marker file."""
        return dump_json({"schema": SCHEMA, **vars(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Marker":
        """Read a marker file.

        ValueError for another schema, a file that was cut short, or one that contradicts itself.
        """
        try:
            values = json.loads(data)
            if values.pop("schema") not in READABLE:
                raise ValueError("another schema")
            values["files"] = [(path, size, digest) for path, size, digest in values["files"]]
            marker = cls(**values)
            whole = marker._is_whole()
        except (AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"not a marker: {error}") from error
        if not whole:
            raise ValueError("not a marker: its numbers, files and rows do not agree")
        return marker

    def _is_whole(self) -> bool:
        """Whether types and sums are those of a written shard; cheap, as every reader asks.

        AttributeError, KeyError and TypeError come from a part of another type.
        """
        numbers = [self.shard, self.planned, self.attempted, self.accepted, self.empty_masks]
        numbers += [self.filled_holes, *(size for _, size, _ in self.files)]
        accepted = sum(row["status"] == "accepted" for row in self.rows)
        return (
            all(type(number) is int for number in numbers)
            and (len(self.rows), accepted) == (self.attempted, self.accepted)
            and self.attempted == self.accepted + sum(self.rejected.values())
            and self.attempted <= self.planned
            and self.images in (0, self.accepted)
            and bool(self.files or not self.accepted)
            and all(map(is_row, self.rows))
        )


def dump_json(value: Any) -> bytes:
    """Write JSON on one line, keys sorted, no NaN: the same bytes for the same value."""
    text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return text.encode() + b"\n"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a finished dataset. The only reader of ``manifest.json``.

    UsageError where there is no finished dataset, InputRefused where the manifest is damaged, lacks
    a part, or is of another version.
    """
    path, problem, remedy = folder / MANIFEST, "", "name a folder that `make` has finished"
    if not folder.is_dir():
        problem = "no such folder"
    elif not path.is_file() and (folder / RUN).exists():
        problem, remedy = "is not finished", "run its `make` again: it resumes"
    elif not path.is_file():
        problem = f"is no finished dataset (it has no {MANIFEST})"
    if problem:
        raise UsageError(os.fspath(folder), problem, remedy)
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise InputRefused(os.fspath(path), "is larger than 256 MiB", RUN_AGAIN)
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        for name, kind in PARTS.items():
            value: Any = manifest
            for key in name.split("."):
                if not isinstance(value, dict) or key not in value:
                    raise ValueError(f"{name} is missing")
                value = value[key]
            if not isinstance(value, kind):
                raise ValueError(f"{name} is {value!r:.40}")
        if manifest["schema"] not in READABLE:
            raise ValueError(f"schema {manifest['schema']}, this version reads up to {SCHEMA}")
    except (ValueError, RecursionError) as error:
        problem = f"is no manifest of a dataset ({error})"
        raise InputRefused(os.fspath(path), problem, RUN_AGAIN) from error
    return manifest


def build_manifest(
    run: Mapping[str, Any],
    markers: Iterable[Marker],
    indexes: Mapping[str, Path],
    facts: Facts,
    counts: Counts,
) -> dict[str, Any]:
    """Put together ``manifest.json``; markers are read one at a time.

    A folder of sample files has one digest: the SHA-256 of what ``sha256sum *`` prints in it. The
    markers in ``.l4f/shards`` have the digest of each file.
    """
    numbers = ("shard", "planned", "attempted", "accepted")
    return {
        "schema": SCHEMA,
        "counts": counts.to_dict(),
        "psi": sorted(counts.psis),
        "seeds": dict(zip(("first", "last"), counts.seeds or (None, None), strict=True)),
        "splits": dict(sorted(counts.splits.items())),
        "scores": {name: {"min": low, "max": high} for name, (low, high) in counts.scores.items()},
        "formats": list(run["formats"]),
        "alpha_bits": run["alpha_bits"],
        "category": facts.category,
        "label_names": ["background", facts.category],  # by their value in index masks
        "mask_threshold": facts.mask_threshold,
        "licence": {"name": facts.licence, "url": facts.licence_url},
        "provenance": dict(facts.provenance),
        "shards": [
            {name: getattr(marker, name) for name in numbers}
            | {"files": dict(file_digests(marker.files))}
            for marker in markers
        ],
        "indexes": {
            name: {"bytes": path.stat().st_size, "sha256": file_hash(path)}
            for name, path in indexes.items()
        },
    }


def file_digests(files: Sequence[FileFact]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Sum up the files of a shard by folder where a sample has its own file, others one by one."""
    for parent, group in groupby(files, key=lambda fact: fact[0].rpartition("/")[0]):
        members = list(group)
        if members[0][0].endswith(SHARD_FILES):
            for path, size, digest in members:
                yield path, {"bytes": size, "sha256": digest}
            continue
        listing = "".join(f"{digest}  {path.rpartition('/')[2]}\n" for path, _, digest in members)
        sums = {"files": len(members), "bytes": sum(size for _, size, _ in members)}
        yield parent, sums | {"sha256": hashlib.sha256(listing.encode()).hexdigest()}
