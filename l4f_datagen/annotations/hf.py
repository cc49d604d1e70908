"""Hugging Face datasets on disk: Parquet, Arrow of `save_to_disk`, or a folder with metadata.

Only the mask column is read, one row group at a time. Masks follow the rules of
`l4f_datagen.annotations.mask_rule`; a row whose mask is null counts as not annotated.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from l4f_datagen.core.errors import AnnotationRefused

from .bundle import Bundle
from .mask_rule import MaskEntry, truth_from_masks
from .records import broken, checked_name, composed
from .truth import TruthSet

MASK_COLUMNS = ("mask", "segmentation_mask", "segmentation", "annotation", "label", "labels", "gt")
NAME_COLUMNS = ("key", "file_name", "filename", "name", "image_path", "path", "id", "image_id")
METADATA = ("metadata.jsonl", "metadata.csv")
MAX_GROUP_BYTES = 2 << 30  # one row group is held in memory at a time
MAX_ROWS = 10_000_000  # a choice, far above any set of masks


def find(bundle: Bundle) -> list[str]:
    """Parquet files, or else Arrow shards, or else metadata with mask file names."""
    if bundle.kind == "file":
        return list(bundle.names) if bundle.head(bundle.names[0], 4) == b"PAR1" else []
    arrow = bundle.ending(".arrow")
    shards = [name for name in arrow if not PurePosixPath(name).name.startswith("cache-")]
    metadata = [name for name in bundle.names if PurePosixPath(name).name in METADATA]
    named = any(b"mask_file_name" in bundle.head(name, 4096) for name in metadata)
    return bundle.ending(".parquet") or shards or (metadata if named else [])


def read(bundle: Bundle, names: list[str]) -> TruthSet:
    """List the masks of a dataset; each is decoded when it is loaded."""
    rows: list[MaskEntry] = []
    for name in names:
        subject, suffix = bundle.subject(name), PurePosixPath(name).suffix.lower()
        if suffix in (".csv", ".jsonl"):
            rows.extend(_metadata_rows(bundle, name))
            continue
        of_arrow, number = suffix == ".arrow", 0
        with _refused(subject, "broken Arrow" if of_arrow else "broken Parquet"):
            for part in _arrow_parts(bundle, name) if of_arrow else _parquet_parts(bundle, name):
                for place, is_there in enumerate(part.valid):
                    number += 1
                    where = f"{subject} row {number}"
                    named = checked_name(part.names[place] if part.names else f"{number}", where)
                    fetch = partial(_fetch, part, place, where)
                    rows.append(MaskEntry(named, where, [(where, fetch)] if is_there else ()))
    if not rows:
        raise broken(bundle.source, "a dataset without rows", "name another folder")
    if not any(row.masks for row in rows):
        raise broken(bundle.source, "no row with a mask", "embed the masks")
    return truth_from_masks(bundle, rows)


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

    def column(group: int, wanted: str = mask) -> Any:
        return file.read_row_group(group, columns=[wanted]).column(0)

    held = lru_cache(maxsize=1)(column)
    for group in range(len(groups)):
        # The paths say which masks are null without their bytes. So would the statistics of the
        # file, but where they are damaged, Arrow ends the process.
        has_paths = _holds(_kind(schema, mask), "path")
        valid = column(group, f"{mask}.path") if has_paths else held(group)
        names = _names(schema, partial(column, group))
        yield Part(partial(held, group), valid.is_valid().to_pylist(), names)


def _arrow_parts(bundle: Bundle, name: str) -> Iterator[Part]:
    path = bundle.path(name)
    source = pa.memory_map(str(path)) if path is not None else pa.py_buffer(bundle.read(name))
    table = pa.ipc.open_stream(source).read_all()
    table.validate(full=True)  # offsets of a foreign file are not to be trusted
    mask = table.column(_mask_column(table.schema, bundle.subject(name)))
    names = _names(table.schema, lambda column: table.column(column.partition(".")[0]))
    yield Part(lambda: mask, mask.is_valid().to_pylist(), names)


def _kind(schema: pa.Schema, column: str) -> Any:
    """Type of a column, null where there is none."""
    return schema.field(column).type if column in schema.names else pa.null()


def _holds(kind: Any, field: str) -> bool:
    return pa.types.is_struct(kind) and any(one.name == field for one in kind)


def _mask_column(schema: pa.Schema, subject: str) -> str:
    for name in MASK_COLUMNS:
        kind = _kind(schema, name)
        if _holds(kind, "bytes") or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return name
    problem = f"no mask column among {', '.join(schema.names[:8])}"
    raise broken(subject, problem, f"name it {MASK_COLUMNS[0]!r}")


def _names(schema: pa.Schema, load: Callable[[str], Any]) -> list[str] | None:
    """Names of rows from a column of names, or from the path the image had; None without."""
    kinds = pa.types
    for name in NAME_COLUMNS:
        kind = _kind(schema, name)
        if kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_integer(kind):
            return [str(value) for value in load(name).to_pylist()]
    for name in ("image", *MASK_COLUMNS):
        if _holds(_kind(schema, name), "path"):
            rows = load(f"{name}.path").to_pylist()
            paths = [row.get("path") if isinstance(row, dict) else None for row in rows]
            if all(paths):
                return [str(path) for path in paths]
    return None


def _metadata_rows(bundle: Bundle, name: str) -> Iterator[MaskEntry]:
    folder = PurePosixPath(name).parent
    known = {composed(each): each for each in bundle.names}
    for record in bundle.rows(name):
        where, mask = record.where, record.get("mask_file_name")
        image = checked_name(record.get("file_name"), where)
        if mask in (None, "") and "mask_file_name" in record.fields:
            yield MaskEntry(image, where, ())
            continue
        path = (folder / checked_name(mask, where)).as_posix()
        file = known.get(composed(path))
        if file is None:
            raise broken(where, f"mask {path} does not exist", "copy the dataset again")
        yield MaskEntry(image, where, [(where, partial(bundle.read, file))])
