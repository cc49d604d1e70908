"""Hugging Face datasets on disk: Parquet, Arrow of `save_to_disk`, or a folder with metadata.

Only the mask column is read, one row group at a time. Masks follow the rules of
`l4f_datagen.annotations.mask_rule`; a row whose mask is null counts as not annotated.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from l4f_datagen.core.errors import AnnotationRefused

from .bundle import Bundle
from .mask_rule import MaskEntry, truth_from_masks
from .records import Record, broken, checked_name, composed
from .truth import TruthOptions, TruthSet

MASK_COLUMNS = ("mask", "segmentation_mask", "segmentation", "annotation", "label", "labels", "gt")
NAME_COLUMNS = ("key", "file_name", "filename", "name", "image_path", "path", "id", "image_id")
METADATA = ("metadata.jsonl", "metadata.csv")
MAX_GROUP_BYTES = 2 << 30  # one row group is held in memory at a time
MAX_ROWS = 10_000_000  # a choice, far above any set of masks


def find(bundle: Bundle) -> list[str]:
    """Parquet files, or else Arrow shards, or else metadata with mask file names."""
    if bundle.kind == "file":
        return list(bundle.names) if bundle.head(bundle.names[0], 4) == b"PAR1" else []
    paths = [PurePosixPath(name) for name in bundle.names]
    for found in (
        [p for p in paths if p.suffix.lower() == ".parquet"],
        [p for p in paths if p.suffix.lower() == ".arrow" and not p.name.startswith("cache-")],
    ):
        if found:
            return [path.as_posix() for path in found]
    metadata = [path.as_posix() for path in paths if path.name in METADATA]
    named = any(b"mask_file_name" in bundle.head(name, 4096) for name in metadata)
    return metadata if named else []


def read(bundle: Bundle, names: list[str], options: TruthOptions) -> TruthSet:
    """List the masks of a dataset; each is decoded when it is loaded."""
    rows: list[MaskEntry] = []
    for name in names:
        subject, suffix = bundle.subject(name), PurePosixPath(name).suffix.lower()
        if suffix in (".csv", ".jsonl"):
            rows.extend(_metadata_rows(bundle, name))
        elif suffix == ".arrow":
            with _refused(subject, "broken Arrow"):
                rows.extend(_rows(_arrow_parts(bundle, name), subject))
        else:
            with _refused(subject, "broken Parquet"):
                rows.extend(_rows(_parquet_parts(bundle, name), subject))
    if not rows:
        raise broken(bundle.source, "a dataset without rows", "name another folder")
    if not any(row.masks for row in rows):
        raise broken(bundle.source, "no row with a mask", "embed the masks")
    return truth_from_masks(bundle, "hf", rows, options)


@contextmanager
def _refused(where: str, problem: str) -> Iterator[None]:
    """Refuse a file for all that Arrow raises in the block: many kinds, on foreign bytes."""
    try:
        yield
    except AnnotationRefused:
        raise
    except Exception as error:
        raise broken(where, problem, "export or copy it again") from error


class Part(NamedTuple):
    """Rows that are in memory together."""

    masks: Callable[[], Any]  # their column of masks
    valid: list[bool]  # which rows have a mask
    names: list[str] | None


def _rows(parts: Iterable[Part], subject: str) -> Iterator[MaskEntry]:
    number = 0
    for part in parts:
        for place, is_there in enumerate(part.valid):
            number += 1
            where = f"{subject} row {number}"
            name = checked_name(part.names[place] if part.names else f"{number}", where)
            fetch = partial(_fetch, part, place, where)
            yield MaskEntry(name, where, [(where, fetch)] if is_there else ())


def _fetch(part: Part, place: int, where: str) -> bytes:
    with _refused(where, "broken data"):
        value = part.masks()[place].as_py()
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes) or not data:
        raise broken(where, "a row without a mask", "embed the masks in the dataset")
    return data


def _parquet_parts(bundle: Bundle, name: str) -> Iterator[Part]:
    """Row groups; only the last one asked for is held, which keeps memory flat."""
    subject, path = bundle.subject(name), bundle.path(name)
    file = pq.ParquetFile(path if path is not None else pa.BufferReader(bundle.read(name)))
    schema = file.schema_arrow
    groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
    if sum(group.num_rows for group in groups) > MAX_ROWS:
        raise broken(subject, f"more than {MAX_ROWS} rows", "name a smaller file")
    if max((group.total_byte_size for group in groups), default=0) > MAX_GROUP_BYTES:
        raise broken(subject, "a row group of more than 2 GiB", "write smaller ones")
    mask = _mask_column(schema, subject)
    light = _light_column(schema, mask)

    def column(group: int, wanted: str = mask) -> Any:
        return file.read_row_group(group, columns=[wanted]).column(0)

    held = lru_cache(maxsize=1)(column)
    for group in range(len(groups)):
        valid = held(group) if light is None else column(group, light)
        names = _names(schema, partial(column, group))
        yield Part(partial(held, group), valid.is_valid().to_pylist(), names)


def _light_column(schema: pa.Schema, mask: str) -> str | None:
    """Name a part of the masks that says which are null without their bytes; None without one.

    Not the statistics of the file, which would say it too: where they are damaged, Arrow ends the
    process.
    """
    kind = schema.field(mask).type
    named = pa.types.is_struct(kind) and any(field.name == "path" for field in kind)
    return f"{mask}.path" if named else None


def _arrow_parts(bundle: Bundle, name: str) -> Iterator[Part]:
    path = bundle.path(name)
    source = pa.memory_map(str(path)) if path is not None else pa.py_buffer(bundle.read(name))
    table = pa.ipc.open_stream(source).read_all()
    table.validate(full=True)  # offsets of a foreign file are not to be trusted
    mask = table.column(_mask_column(table.schema, bundle.subject(name)))
    names = _names(table.schema, lambda column: table.column(column.partition(".")[0]))
    yield Part(lambda: mask, mask.is_valid().to_pylist(), names)


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _mask_column(schema: pa.Schema, subject: str) -> str:
    images = [field.name for field in schema if _holds_images(field.type)]
    for name in MASK_COLUMNS:
        if name in images:
            return name
    problem = f"no mask column among {', '.join(schema.names[:8])}"
    raise broken(subject, problem, f"name it {MASK_COLUMNS[0]!r}")


def _names(schema: pa.Schema, load: Callable[[str], Any]) -> list[str] | None:
    """Names of rows from a column of names, or from the path the image had; None without."""
    for name in NAME_COLUMNS:
        kind = schema.field(name).type if name in schema.names else None
        if kind is not None and (
            pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)
        ):
            return [str(value) for value in load(name).to_pylist()]
    for name in ("image", *MASK_COLUMNS):
        kind = schema.field(name).type if name in schema.names else None
        if kind is not None and pa.types.is_struct(kind) and kind.get_field_index("path") >= 0:
            rows = load(f"{name}.path").to_pylist()
            paths = [row.get("path") if isinstance(row, dict) else None for row in rows]
            if all(paths):
                return [str(path) for path in paths]
    return None


def _metadata_rows(bundle: Bundle, name: str) -> list[MaskEntry]:
    folder = PurePosixPath(name).parent
    known = {composed(each): each for each in bundle.names}
    rows = []
    for where, data in bundle.csv_rows(name) if name.endswith(".csv") else bundle.rows(name):
        record = Record.of(data, where)
        image, mask = checked_name(record.get("file_name"), where), record.get("mask_file_name")
        if mask in (None, "") and "mask_file_name" in record.fields:
            rows.append(MaskEntry(image, where, ()))
            continue
        path = (folder / checked_name(mask, where)).as_posix()
        file = known.get(composed(path))
        if file is None:
            raise broken(where, f"mask {path} does not exist", "copy the dataset again")
        rows.append(MaskEntry(image, where, [(where, bundle.source_of(file)[1])]))
    return rows
