"""Indexes: the files that speak for a whole dataset, merged from its shards at the very end."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from l4f_datagen.dataset.disk import PART
from l4f_datagen.dataset.layout import LEDGER, MANIFEST, RECIPE, drop_indexes, marker_path
from l4f_datagen.dataset.ledger import Counts
from l4f_datagen.dataset.manifest import Facts, Marker, build_manifest, dump_json
from l4f_datagen.writers import WRITERS


def read_markers(folder: Path, shards: Iterable[int]) -> Iterator[Marker]:
    """Read the markers of shards, one at a time."""
    for shard in shards:
        yield Marker.from_bytes(marker_path(folder, shard).read_bytes())


def write_indexes(
    folder: Path,
    shards: Sequence[int],
    run: Mapping[str, Any],
    facts: Facts,
    counts: Counts,
    pages: Mapping[str, bytes],
) -> dict[str, Any]:
    """Write all indexes beside the old ones, then put them in place, the manifest last.

    Args:
        folder: the dataset.
        shards: the finished ones, in order.
        run: the record of the run: recipe, formats, alpha_bits.
        facts: for COCO and the manifest.
        counts: of the whole ledger.
        pages: name to content of files made elsewhere.

    Returns:
        The manifest.
    """
    parts: dict[str, Path] = {}
    for name, page in {**pages, RECIPE: run["recipe"].encode()}.items():
        parts[name] = _part(folder, name)
        parts[name].write_bytes(page)
    merged = {LEDGER: write_ledger}
    for format_name in run["formats"]:
        merged |= WRITERS[format_name].indexes
    for name, write in merged.items():
        parts[name] = _part(folder, name)
        with parts[name].open("w", encoding="utf-8", newline="\n") as out:
            write(folder, shards, facts, out)
    manifest = build_manifest(
        read_markers(folder, shards),
        parts,
        facts,
        counts=counts,
        formats=run["formats"],
        alpha_bits=run["alpha_bits"],
    )
    parts[MANIFEST] = _part(folder, MANIFEST)
    parts[MANIFEST].write_bytes(dump_json(manifest))
    drop_indexes(folder)
    drop_indexes(folder)
    for name, part in parts.items():
        part.replace(folder / name)
    return manifest


def write_ledger(folder: Path, shards: Sequence[int], _facts: Facts, out: TextIO) -> None:
    """Merge the rows of all shards, one JSON object a line."""
    for marker in read_markers(folder, shards):
        out.writelines(dump_json(row).decode() for row in marker.rows)


def _part(folder: Path, name: str) -> Path:
    path = folder / (name + PART)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
