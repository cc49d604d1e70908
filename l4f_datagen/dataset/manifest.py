"""Manifest: what is recorded of a dataset, the same bytes at every run.

A row of the ledger for every attempted sample, a marker for every finished shard, their sums, and
``manifest.json``, the machine-readable truth about the whole.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, TextIO

from l4f_datagen.core.errors import InputRefused, UsageError
from l4f_datagen.core.sample import Sample
from l4f_datagen.dataset.staging import FileFact

SCHEMA = 2  # of records, markers and manifests; 2 has index masks, and flat folders for YOLO
READABLE = (1, 2)
RUN, MANIFEST = ".l4f/run.json", "manifest.json"
MAX_MANIFEST_BYTES = 256 * 2**20
"""About a million shards: read whole, so a file that is something else must not fill the memory."""
RUN_AGAIN = "run the `make` that made the dataset again"
PARTS: Mapping[str, type | UnionType] = {
    "schema": int,
    "counts.accepted": int,
    "counts.attempted": int,
    "splits": dict,
    "formats": list,
    "shards": list,
    "indexes": dict,
    "provenance": dict,
    **{f"provenance.{name}": str for name in ("domain", "package", "device", "recipe_hash")},
    "provenance.generator.format": str,
    "provenance.generator.sha256": str,
    "provenance.alpha.sha256": str,
    "provenance.licence.name": str,
    "provenance.licence.link": str | None,
    "provenance.recipe.description": str,
    "provenance.recipe.filters": dict,
    "provenance.recipe.output.category": str,
    "provenance.recipe.output.formats": list,
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
        """Read the tab-separated lines, split first, at a place of the shards that have it."""
        for number in self.numbers:
            path = self.folder / place.format(shard=number)
            if path.exists():
                with path.open(encoding="utf-8", newline="\n") as lines:
                    for line in lines:
                        split, *fields = line.rstrip("\n").split("\t")
                        if split in self.splits:
                            yield fields


MergeIndex = Callable[[Shards, TextIO], None]  # writes one index over all shards


Row = dict[str, Any]


def ledger_row(sample: Sample, shard: int) -> Row:
    """Describe one attempt in plain values."""
    return {
        **{name: getattr(sample, name) for name in ("image_id", "key", "split")},
        "psi": float(sample.psi),
        "seed": int(sample.seed),
        "shard": shard,
        "status": sample.status,
        "reason": sample.reason,
        "scores": {name: float(score) for name, score in sample.scores.items()},
    }


def is_row(row: Row) -> bool:
    """Whether a row read from a file has the types of a row; KeyError where it lacks a part."""
    return (
        type(row["key"]) is type(row.get("split", "train")) is str
        and type(row["image_id"]) is type(row["seed"]) is type(row["shard"]) is int
        and type(row["psi"]) is float
        and (row["status"] == "accepted" or type(row["reason"]) is str)
        and set(map(type, row["scores"].values())) <= {float}
    )


@dataclass
class Counts:
    """How many samples were attempted, accepted and rejected, with their psi, seeds and splits."""

    attempted: int = 0
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)  # reason to number
    empty_masks: int = 0  # accepted, without a mask pixel; COCO has no annotation for them
    filled_holes: int = 0  # holes in accepted masks that polygons fill
    psis: set[float] = field(default_factory=set)
    seeds: tuple[float, ...] = ()  # smallest and largest; empty before the first attempt
    splits: Counter[str] = field(default_factory=Counter)  # of accepted samples
    # Smallest and largest of each score among the accepted samples.
    scores: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Count rows of the ledger."""
        accepted = [row for row in rows if row["status"] == "accepted"]
        self.attempted += len(rows)
        self.accepted += len(accepted)
        self.rejected.update(row["reason"] for row in rows if row["status"] != "accepted")
        self.splits.update(row.get("split", "train") for row in accepted)
        self.psis.update(row["psi"] for row in rows)
        self.seeds = _spread([*self.seeds, *(row["seed"] for row in rows)])
        for name in {name: None for row in accepted for name in row["scores"]}:
            found = [row["scores"][name] for row in accepted if name in row["scores"]]
            self.scores[name] = _spread([*self.scores.get(name, ()), *found])

    def to_dict(self) -> dict[str, Any]:
        """Give the counts as the manifest has them."""
        names = ("attempted", "accepted", "rejected", "empty_masks", "filled_holes")
        sums = {name: getattr(self, name) for name in names}
        return sums | {"rejected": dict(sorted(self.rejected.items()))}


def _spread(values: Sequence[float]) -> tuple[float, ...]:
    return (min(values), max(values)) if values else ()


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

    def ends_where_asked(self, planned: int, wanted: int | None) -> bool:
        """Whether an undisturbed run would leave the shard as it is.

        ``planned`` samples the plan gives it now; ``wanted`` accepted ones are still needed from
        here on, None takes all that are planned.
        """
        if planned != self.planned:
            return False
        if wanted is None or self.accepted < wanted:
            return self.attempted == planned
        ends_accepted = bool(self.rows) and self.rows[-1]["status"] == "accepted"
        return self.accepted == wanted and ends_accepted

    @property
    def images(self) -> int:
        """How many of its files are images of the format png."""
        return sum(path.startswith("images/") for path, _, _ in self.files)

    def to_bytes(self) -> bytes:
        """Give the JSON of the marker file."""
        return dump_json({"schema": SCHEMA, **vars(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Marker":
        """Read a marker file; ValueError where its schema, types or sums are not those written."""
        try:
            values = json.loads(data)
            if values.pop("schema") not in READABLE:
                raise ValueError("another schema")
            values["files"] = [(path, size, digest) for path, size, digest in values["files"]]
            made = cls(**values)
            numbers = [made.shard, made.planned, made.attempted, made.accepted, made.empty_masks]
            numbers += [made.filled_holes, *(size for _, size, _ in made.files)]
            accepted = sum(row["status"] == "accepted" for row in made.rows)
            whole = (
                all(type(number) is int for number in numbers)
                and (len(made.rows), accepted) == (made.attempted, made.accepted)
                and made.attempted == made.accepted + sum(made.rejected.values())
                and made.attempted <= made.planned
                and made.images in (0, made.accepted)
                and bool(made.files or not made.accepted)
                and all(map(is_row, made.rows))
            )
        except (AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"not a marker: {error}") from error
        if not whole:
            raise ValueError("not a marker: its numbers, files and rows do not agree")
        return made


def dump_json(value: Any) -> bytes:
    """Write JSON on one line, keys sorted, no NaN: the same bytes for the same value."""
    text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return text.encode() + b"\n"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a finished dataset, else UsageError. The only reader of the file.

    InputRefused where it is damaged, lacks a part, or is of another version.
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


def empty_masks_note(counts: Mapping[str, Any]) -> str | None:
    """Say how many accepted samples have an empty mask, by a manifest's counts; None: none has."""
    empty, accepted = counts["empty_masks"], counts["accepted"]
    if not empty:
        return None
    remedy = "look at the contact sheet"
    if 10 * empty > accepted:  # a few objects may be missed, a tenth is no accident
        remedy = "the alpha network may be unusable: look at the contact sheet, use the filters"
    return f"{empty} of {accepted} masks are empty; {remedy}"
