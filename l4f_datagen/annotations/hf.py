"""Hugging Face datasets on disk: Parquet, Arrow of `save_to_disk`, or a folder with metadata.

Only the mask column is read, one row group at a time. Mask pictures follow the rules of
`l4f_datagen.annotations.png`.
"""

import csv
import io
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from l4f_datagen.annotations.bundle import Bundle
from l4f_datagen.annotations.pictures import decode_picture
from l4f_datagen.annotations.png import MaskRule
from l4f_datagen.annotations.truth import (
    TruthItem,
    TruthMask,
    TruthOptions,
    TruthSet,
    checked_name,
)
from l4f_datagen.core.errors import AnnotationRefused

MASK_COLUMNS = ("mask", "segmentation_mask", "segmentation", "annotation", "label", "labels", "gt")
NAME_COLUMNS = ("key", "file_name", "filename", "name", "image_path", "path", "id", "image_id")
METADATA = ("metadata.jsonl", "metadata.csv")
MAX_GROUP_BYTES = 2 << 30
MAX_ROWS = 10_000_000

Fetch = Callable[[], bytes]


def matches(bundle: Bundle) -> bool:
    """Tell whether the bundle holds Parquet, Arrow shards, or metadata with mask file names."""
    if bundle.kind == "file":
        return bundle.head(bundle.names[0], 4) == b"PAR1"
    if any(name.lower().endswith(".parquet") for name in bundle.names) or _arrow_names(bundle):
        return True
    return any(b"mask_file_name" in bundle.head(name, 4096) for name in _metadata_names(bundle))


def _arrow_names(bundle: Bundle) -> list[str]:
    return [
        name
        for name in bundle.names
        if name.lower().endswith(".arrow") and not PurePosixPath(name).name.startswith("cache-")
    ]


def _metadata_names(bundle: Bundle) -> list[str]:
    return [name for name in bundle.names if PurePosixPath(name).name in METADATA]


def read(bundle: Bundle, options: TruthOptions) -> TruthSet:
    """List the masks of a dataset; each is decoded when it is loaded.

    Raises:
        AnnotationRefused: no mask column, a broken shard, or a row without a mask.
    """
    rule = MaskRule(options, bundle.source)
    truth = TruthSet(bundle.source, "hf", ())

    def item(name: str, subject: str, fetch: Fetch) -> TruthItem:
        def decode(_: tuple[int, int] | None) -> TruthMask:
            return rule.apply(decode_picture(fetch(), subject), subject, truth.tally)

        return TruthItem(name, None, decode)

    items: list[TruthItem] = []
    tables = [name for name in bundle.names if name.lower().endswith(".parquet")]
    if bundle.kind == "file":
        tables = list(bundle.names)
    for name in tables:
        items.extend(item(*row) for row in _parquet_rows(bundle, name))
    for name in _arrow_names(bundle) if not tables else []:
        items.extend(item(*row) for row in _arrow_rows(bundle, name))
    for name in _metadata_names(bundle) if not items else []:
        items.extend(item(*row) for row in _metadata_rows(bundle, name))
    if not items:
        raise AnnotationRefused(bundle.source, "a dataset without rows", "name another folder")
    truth.items = items
    return truth


def _parquet_rows(bundle: Bundle, name: str) -> list[tuple[str, str, Fetch]]:
    subject = bundle.subject(name)
    path = bundle.path(name)
    try:
        file = pq.ParquetFile(path if path is not None else pa.BufferReader(bundle.read(name)))
        schema, groups = file.schema_arrow, file.metadata.num_row_groups
        sizes = [file.metadata.row_group(n).total_byte_size for n in range(groups)]
        if sum(file.metadata.row_group(n).num_rows for n in range(groups)) > MAX_ROWS:
            raise AnnotationRefused(subject, f"more than {MAX_ROWS} rows", "name a smaller file")
        if sizes and max(sizes) > MAX_GROUP_BYTES:
            raise AnnotationRefused(subject, "a row group of more than 2 GiB", "write smaller ones")
        mask = _mask_column(schema, subject)
        cache: dict[int, Any] = {}

        def column(group: int) -> Any:
            if group not in cache:
                cache.clear()  # one row group at a time keeps memory flat
                cache[group] = file.read_row_group(group, columns=[mask]).column(mask)
            return cache[group]

        rows: list[tuple[str, str, Fetch]] = []
        for group in range(groups):
            names = _names(schema, _group_reader(file, group))
            count = file.metadata.row_group(group).num_rows
            for place in range(count):
                where = f"{subject} row {len(rows) + 1}"
                own = checked_name(names[place] if names else f"{len(rows) + 1}", where)
                rows.append((own, where, _fetcher(column, group, place, where)))
        return rows
    except AnnotationRefused:
        raise
    except Exception as error:  # Arrow raises many kinds on foreign bytes
        raise AnnotationRefused(subject, "broken Parquet", "export or copy it again") from error


def _group_reader(file: pq.ParquetFile, group: int) -> Callable[[str], pa.Table]:
    return lambda column: file.read_row_group(group, columns=[column])


def _arrow_rows(bundle: Bundle, name: str) -> list[tuple[str, str, Fetch]]:
    subject = bundle.subject(name)
    path = bundle.path(name)
    try:
        source = pa.memory_map(str(path)) if path is not None else pa.py_buffer(bundle.read(name))
        table = pa.ipc.open_stream(source).read_all()
        table.validate(full=True)  # offsets of a foreign file are not to be trusted
        mask = table.column(_mask_column(table.schema, subject))
        names = _names(table.schema, lambda c: _select(table, c))
    except AnnotationRefused:
        raise
    except Exception as error:  # Arrow raises many kinds on foreign bytes
        raise AnnotationRefused(subject, "broken Arrow", "export or copy it again") from error
    rows = []
    for place in range(table.num_rows):
        where = f"{subject} row {place + 1}"
        own = checked_name(names[place] if names else f"{place + 1}", where)
        rows.append((own, where, _fetcher(lambda _: mask, 0, place, where)))
    return rows


def _select(table: pa.Table, column: str) -> pa.Table:
    outer, _, inner = column.partition(".")
    values = table.column(outer)
    return pa.table({outer: values.combine_chunks()}) if inner else pa.table({outer: values})


def _fetcher(column: Callable[[int], Any], group: int, place: int, where: str) -> Fetch:
    def fetch() -> bytes:
        try:
            value = column(group)[place].as_py()
        except Exception as error:  # Arrow raises many kinds on foreign bytes
            raise AnnotationRefused(where, "broken data", "export or copy it again") from error
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes) or not data:
            raise AnnotationRefused(where, "a row without a mask", "embed the masks in the dataset")
        return data

    return fetch


def _is_picture(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _mask_column(schema: pa.Schema, subject: str) -> str:
    pictures = [field.name for field in schema if _is_picture(field.type)]
    for name in MASK_COLUMNS:
        if name in pictures:
            return name
    raise AnnotationRefused(
        subject,
        f"no mask column among {', '.join(schema.names[:8])}",
        f"name it {MASK_COLUMNS[0]!r}",
    )


def _names(schema: pa.Schema, load: Callable[[str], pa.Table]) -> list[str] | None:
    """Names of rows from a column of names, or from the path the image had; None without."""
    for name in NAME_COLUMNS:
        if name in schema.names:
            kind = schema.field(name).type
            if pa.types.is_string(kind) or pa.types.is_large_string(kind):
                return [str(value) for value in load(name).column(0).to_pylist()]
            if pa.types.is_integer(kind):
                return [str(value) for value in load(name).column(0).to_pylist()]
    for name in ("image", _first_mask(schema)):
        kind = schema.field(name).type if name in schema.names else None
        if kind is not None and pa.types.is_struct(kind) and kind.get_field_index("path") >= 0:
            rows = load(f"{name}.path").column(0).to_pylist()
            paths = [row.get("path") if isinstance(row, dict) else None for row in rows]
            if all(paths):
                return [str(path) for path in paths]
    return None


def _first_mask(schema: pa.Schema) -> str:
    return next((name for name in MASK_COLUMNS if name in schema.names), "")


def _metadata_rows(bundle: Bundle, name: str) -> list[tuple[str, str, Fetch]]:
    subject = bundle.subject(name)
    folder = PurePosixPath(name).parent
    records: list[tuple[str, Any]]
    if name.endswith(".csv"):
        try:
            table = list(csv.DictReader(io.StringIO(bundle.text(name))))
        except csv.Error as error:
            raise AnnotationRefused(subject, f"broken CSV ({error})", "write it again") from error
        records = [(f"{subject} row {n}", row) for n, row in enumerate(table, 1)]
    else:
        records = bundle.rows(name)
    rows = []
    known = set(bundle.names)
    for where, record in records:
        if not isinstance(record, dict):
            raise AnnotationRefused(where, "no record", "write one object a line")
        image = checked_name(record.get("file_name"), where)
        mask = (folder / checked_name(record.get("mask_file_name"), where)).as_posix()
        if mask not in known:
            raise AnnotationRefused(where, f"mask {mask} does not exist", "copy the dataset again")
        rows.append((image, where, _file_fetcher(bundle, mask)))
    return rows


def _file_fetcher(bundle: Bundle, name: str) -> Fetch:
    return lambda: bundle.read(name)
