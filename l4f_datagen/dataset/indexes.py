"""Indexes: the files about the whole dataset, merged from its shards at the end."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from l4f_datagen.core.sample import SPLITS
from l4f_datagen.dataset.formats import WRITERS
from l4f_datagen.dataset.formats.hf import CONFIG_FILES, METADATA
from l4f_datagen.dataset.layout import LEDGER, RECIPE, drop_indexes, marker_path
from l4f_datagen.dataset.ledger import Counts
from l4f_datagen.dataset.manifest import (
    MANIFEST,
    Facts,
    Marker,
    MergeIndex,
    Shards,
    build_manifest,
    dump_json,
)
from l4f_datagen.io.disk import PART

Page = bytes | Callable[[bytes], bytes]
"""Content of a file, or what makes it from the bytes of the manifest."""


def read_markers(folder: Path, shards: Iterable[int]) -> Iterator[Marker]:
    """Read the markers of shards, one at a time; ValueError for a damaged one or a folder."""
    for shard in shards:
        try:
            data = marker_path(folder, shard).read_bytes()
        except IsADirectoryError as error:
            raise ValueError("not a marker: a folder") from error
        yield Marker.from_bytes(data)


def write_indexes(
    folder: Path,
    shards: Sequence[int],
    run: Mapping[str, Any],
    facts: Facts,
    counts: Counts,
    pages: Mapping[str, Page],
) -> dict[str, Any]:
    """Write all indexes beside the old ones, then put them in place, the manifest last; returns it.

    ``pages`` are files made elsewhere; one that is made from the manifest is a function of its
    bytes, and so cannot be listed in it.
    """
    parts: dict[str, Path] = {}
    for name, page in {**pages, RECIPE: run["recipe"].encode()}.items():
        if isinstance(page, bytes):
            parts[name] = _part(folder, name)
            parts[name].write_bytes(page)
    splits = [split for split in SPLITS if counts.splits[split]] or [SPLITS[0]]
    for name, write, of_splits in _merged(run["formats"], splits):
        parts[name] = _part(folder, name)
        with parts[name].open("w", encoding="utf-8", newline="\n") as out:
            write(Shards(folder, shards, of_splits, facts), out)
    manifest = build_manifest(
        read_markers(folder, shards),
        parts,
        facts,
        counts=counts,
        formats=run["formats"],
        alpha_bits=run["alpha_bits"],
    )
    for name, page in pages.items():
        if not isinstance(page, bytes):
            parts[name] = _part(folder, name)
            parts[name].write_bytes(page(dump_json(manifest)))
    parts[MANIFEST] = _part(folder, MANIFEST)
    parts[MANIFEST].write_bytes(dump_json(manifest))
    drop_indexes(folder)
    for name, part in parts.items():
        part.replace(folder / name)
    return manifest


def _merged(
    formats: Collection[str], splits: Sequence[str]
) -> Iterator[tuple[str, MergeIndex, Sequence[str]]]:
    """Name the indexes, what merges each of them, and the splits it is about."""
    yield LEDGER, write_ledger, splits
    if "png" in formats and not CONFIG_FILES.keys() & set(formats):
        yield METADATA, write_metadata, splits
    for format_name in formats:
        for name, write in WRITERS[format_name].indexes.items():
            if "{split}" not in name:
                yield name, write, splits
                continue
            yield from ((name.format(split=split), write, [split]) for split in splits)


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
                line = {"file_name": image, "mask_file_name": f"masks/{stem}.png"}
                line |= {"label_file_name": f"labels/{stem}.png"}
                line |= {"alpha_file_name": f"alpha/{stem}.png"}
                line |= {name: row[name] for name in ("key", "image_id", "psi", "seed", "split")}
                out.write(json.dumps(line | row["scores"], separators=(",", ":")) + "\n")


def _part(folder: Path, name: str) -> Path:
    path = folder / (name + PART)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
