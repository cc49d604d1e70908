"""Hugging Face datasets on disk: Parquet, Arrow of `save_to_disk`, or a folder with metadata.

Only the mask column is read, one row group at a time. Masks follow the rules of
`l4f_datagen.annotations.mask_rule`; a row whose mask is null counts as not annotated.
"""

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from l4f_datagen.annotations.bundle import Bundle
from l4f_datagen.annotations.mask_rule import MaskEntry, truth_from_masks
from l4f_datagen.annotations.records import Record, broken, checked_name, composed
from l4f_datagen.annotations.truth import TruthOptions, TruthSet
from l4f_datagen.core.errors import AnnotationRefused

MASK_COLUMNS = ("mask", "segmentation_mask", "segmentation", "annotation", "label", "labels", "gt")
NAME_COLUMNS = ("key", "file_name", "filename", "name", "image_path", "path", "id", "image_id")
METADATA = ("metadata.jsonl", "metadata.csv")
MAX_GROUP_BYTES = 2 << 30  # one row group is held in memory at a time
MAX_ROWS = 10_000_000  # a choice, far above any set of masks
BROKEN = "export or copy it again"


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
        list_rows = ROWS_OF.get(PurePosixPath(name).suffix.lower(), _parquet_rows)
        rows.extend(list_rows(bundle, name))
    if not rows:
        raise broken(bundle.source, "a dataset without rows", "name another folder")
    if not any(row.masks for row in rows):
        raise broken(bundle.source, "no row with a mask", "embed the masks")
    return truth_from_masks(bundle, "hf", rows, options)


def _parquet_rows(bundle: Bundle, name: str) -> list[MaskEntry]:
    subject = bundle.subject(name)
    path = bundle.path(name)
    try:
        file = pq.ParquetFile(path if path is not None else pa.BufferReader(bundle.read(name)))
        schema = file.schema_arrow
        groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
        if sum(group.num_rows for group in groups) > MAX_ROWS:
            raise broken(subject, f"more than {MAX_ROWS} rows", "name a smaller file")
        if max((group.total_byte_size for group in groups), default=0) > MAX_GROUP_BYTES:
            raise broken(subject, "a row group of more than 2 GiB", "write smaller ones")
        mask = _mask_column(schema, subject)
        cache: dict[int, Any] = {}

        def column(group: int) -> Any:
            if group not in cache:
                cache.clear()  # one row group at a time keeps memory flat
                cache[group] = file.read_row_group(group, columns=[mask]).column(mask)
            return cache[group]

        rows: list[MaskEntry] = []
        for number, group in enumerate(groups):
            load = _group_reader(file, number)
            names = _names(schema, load)
            light = _light_column(schema, mask)
            held = column(number) if light is None else load(light).column(mask)
            valid = held.is_valid().to_pylist()
            rows.extend(
                _row(column, number, place, len(rows) + 1, names, valid, subject)
                for place in range(group.num_rows)
            )
        return rows
    except AnnotationRefused:
        raise
    except Exception as error:  # Arrow raises many kinds on foreign bytes
        raise broken(subject, "broken Parquet", BROKEN) from error


def _light_column(schema: pa.Schema, mask: str) -> str | None:
    """Name a part of the masks that says which are null without their bytes; None without one.

    Not the statistics of the file, which would say it too: where they are damaged, Arrow ends the
    process.
    """
    kind = schema.field(mask).type
    named = pa.types.is_struct(kind) and any(field.name == "path" for field in kind)
    return f"{mask}.path" if named else None


def _row(
    column: Callable[[int], Any],
    group: int,
    place: int,
    number: int,
    names: list[str] | None,
    valid: Sequence[bool] | None,
    subject: str,
) -> MaskEntry:
    where = f"{subject} row {number}"
    name = checked_name(names[place] if names else f"{number}", where)
    if valid is not None and not valid[place]:
        return MaskEntry(name, where, ())

    def fetch() -> bytes:
        try:
            value = column(group)[place].as_py()
        except Exception as error:  # Arrow raises many kinds on foreign bytes
            raise broken(where, "broken data", BROKEN) from error
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes) or not data:
            raise broken(where, "a row without a mask", "embed the masks in the dataset")
        return data

    return MaskEntry(name, where, [(where, fetch)])


def _group_reader(file: pq.ParquetFile, group: int) -> Callable[[str], pa.Table]:
    return lambda column: file.read_row_group(group, columns=[column])


def _arrow_rows(bundle: Bundle, name: str) -> list[MaskEntry]:
    subject = bundle.subject(name)
    path = bundle.path(name)
    try:
        source = pa.memory_map(str(path)) if path is not None else pa.py_buffer(bundle.read(name))
        table = pa.ipc.open_stream(source).read_all()
        table.validate(full=True)  # offsets of a foreign file are not to be trusted
        mask = table.column(_mask_column(table.schema, subject))
        names = _names(table.schema, lambda c: _select(table, c))
        valid = mask.is_valid().to_pylist()
    except AnnotationRefused:
        raise
    except Exception as error:  # Arrow raises many kinds on foreign bytes
        raise broken(subject, "broken Arrow", BROKEN) from error
    return [
        _row(lambda _: mask, 0, place, place + 1, names, valid, subject)
        for place in range(table.num_rows)
    ]


def _select(table: pa.Table, column: str) -> pa.Table:
    outer, _, inner = column.partition(".")
    values = table.column(outer)
    return pa.table({outer: values.combine_chunks()}) if inner else pa.table({outer: values})


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


def _names(schema: pa.Schema, load: Callable[[str], pa.Table]) -> list[str] | None:
    """Names of rows from a column of names, or from the path the image had; None without."""
    for name in NAME_COLUMNS:
        kind = schema.field(name).type if name in schema.names else None
        if kind is not None and (
            pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)
        ):
            return [str(value) for value in load(name).column(0).to_pylist()]
    for name in ("image", *MASK_COLUMNS):
        kind = schema.field(name).type if name in schema.names else None
        if kind is not None and pa.types.is_struct(kind) and kind.get_field_index("path") >= 0:
            rows = load(f"{name}.path").column(0).to_pylist()
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


ROWS_OF = {".arrow": _arrow_rows, ".csv": _metadata_rows, ".jsonl": _metadata_rows}
