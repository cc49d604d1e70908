"""Indexes: the files about the whole dataset, merged from its shards at the end."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

from l4f_datagen.dataset.formats import WRITERS
from l4f_datagen.dataset.formats.hf import CONFIG_FILES, METADATA
from l4f_datagen.dataset.layout import LEDGER, RECIPE, drop_indexes, marker_path
from l4f_datagen.dataset.manifest import MANIFEST, SCHEMA, Counts, Marker, Shards, dump_json
from l4f_datagen.dataset.staging import FileFact
from l4f_datagen.io.disk import PART
from l4f_datagen.io.download import file_hash

Page = bytes | Callable[[bytes], bytes]
"""Content of a file, or what makes it from the bytes of the manifest."""
SHARD_FILES = (".parquet", ".tar", ".tsv")  # what files end in that hold a whole shard


def read_markers(folder: Path, shards: Iterable[int]) -> Iterator[Marker]:
    """Read the markers of shards, one at a time; ValueError for a damaged one."""
    for shard in shards:
        yield Marker.from_bytes(marker_path(folder, shard).read_bytes())


def find_marker(folder: Path, shard: int) -> Marker | None:
    """Read the marker of a shard; None where it is missing or damaged.

    OSError for one that cannot be read: a failing disk must not have finished shards made again.
    """
    try:
        [marker] = read_markers(folder, [shard])
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return None
    return marker


def write_indexes(
    shards: Shards, run: Mapping[str, Any], counts: Counts, pages: Mapping[str, Page]
) -> dict[str, Any]:
    """Write all indexes beside the old ones, then put them in place, the manifest last; returns it.

    ``pages`` are files made elsewhere; one that is made from the manifest is not listed in it.
    """
    folder, parts = shards.folder, dict[str, Path]()

    def part(name: str) -> Path:
        path = parts[name] = folder / (name + PART)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    for name, page in {**pages, RECIPE: run["recipe"].encode()}.items():
        if isinstance(page, bytes):
            part(name).write_bytes(page)
    merged = {LEDGER: write_ledger}
    if "png" in run["formats"] and not CONFIG_FILES.keys() & set(run["formats"]):
        merged[METADATA] = write_metadata
    for format_name in run["formats"]:
        merged |= WRITERS[format_name].indexes
    for template, write in merged.items():
        each = [[split] for split in shards.splits]
        for splits in each if "{split}" in template else [shards.splits]:
            path = part(template.format(split=splits[0]))
            with path.open("w", encoding="utf-8", newline="\n") as out:
                write(replace(shards, splits=splits), out)
    manifest = _manifest(shards, run, parts, counts)
    for name, page in pages.items():
        if not isinstance(page, bytes):
            part(name).write_bytes(page(dump_json(manifest)))
    part(MANIFEST).write_bytes(dump_json(manifest))
    drop_indexes(folder)
    for name, path in parts.items():
        path.replace(folder / name)
    return manifest


def _manifest(
    shards: Shards, run: Mapping[str, Any], indexes: Mapping[str, Path], counts: Counts
) -> dict[str, Any]:
    """Put together ``manifest.json``.

    A folder of sample files has one digest, of what ``sha256sum *`` prints in it; the markers have
    the digest of each file.
    """
    numbers, facts = ("shard", "planned", "attempted", "accepted"), shards.facts
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
            for marker in read_markers(shards.folder, shards.numbers)
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


def write_ledger(shards: Shards, out: TextIO) -> None:
    """Merge the rows of all shards, one JSON object a line."""
    for marker in read_markers(shards.folder, shards.numbers):
        out.writelines(dump_json(row).decode() for row in marker.rows)


def write_metadata(shards: Shards, out: TextIO) -> None:
    """List the PNG files of every sample for ``load_dataset``, where no format does so already."""
    for marker in read_markers(shards.folder, shards.numbers):
        images = {Path(name).stem: name for name, *_ in marker.files if name.startswith("images/")}
        for row in marker.rows:
            if row["status"] == "accepted":
                image = images[row["key"]]
                stem = image.removeprefix("images/").rpartition(".")[0]
                # ``datasets`` gives file_name to the first image column it meets.
                line = {"file_name": image}
                for kind, place in (("mask", "masks"), ("label", "labels"), ("alpha", "alpha")):
                    line[f"{kind}_file_name"] = f"{place}/{stem}.png"
                line |= {name: row[name] for name in ("key", "image_id", "psi", "seed", "split")}
                out.write(json.dumps(line | row["scores"], separators=(",", ":")) + "\n")
