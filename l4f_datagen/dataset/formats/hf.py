"""Hugging Face: Parquet files whose schema says which columns are pictures.

``datasets.load_dataset(folder)`` gives PIL images; the bytes in a cell are those of the PNG file.
"""

import json
from collections.abc import Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from l4f_datagen.core.formats import SPLITS
from l4f_datagen.dataset.formats.encoding import Encoded, image_suffix
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.recipe import OutputPart

PLACES = tuple(f"data/{split}-{{shard:05d}}.parquet" for split in SPLITS)
HUB_NAMES = {"train": "train", "val": "validation", "test": "test"}
"""Our splits as ``datasets`` calls them."""
GROUP_ROWS = 100  # the Hub's viewer reads whole row groups, and gives up on big ones
GROUP_BYTES = 32 * 2**20
PICTURE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
COLUMNS: dict[str, pa.DataType] = {
    "key": pa.string(),
    "image": PICTURE,
    "mask": PICTURE,
    "alpha": PICTURE,
    "image_id": pa.int64(),
    "psi": pa.float64(),
    "seed": pa.int64(),
    "coverage": pa.float64(),
    "width": pa.int32(),
    "height": pa.int32(),
}
DTYPES = {pa.string(): "string", pa.int64(): "int64", pa.int32(): "int32", pa.float64(): "float64"}


class HfShard:
    """Writes one Parquet file a shard and split; none where every sample was rejected."""

    def __init__(self, staging: Staging, output: OutputPart) -> None:
        self._staging, self._suffix = staging, image_suffix(output)
        self._tables: dict[str, SplitTable] = {}

    def add(self, samples: Sequence[Encoded]) -> None:
        """Append rows; a row group is written once it is full.

        Raises:
            ValueError: a sample with other scores than the first one of its split.
        """
        for encoded in samples:
            split = encoded.sample.split
            if split not in self._tables:
                place = PLACES[SPLITS.index(split)].format(shard=self._staging.shard)
                file = self._staging.open(place)
                self._tables[split] = SplitTable(file, _score_names(encoded), self._suffix)
            self._tables[split].add(encoded)

    def close(self) -> None:
        """Write the last row groups and the footers."""
        while self._tables:
            self._tables.popitem()[1].close()


class SplitTable:
    """One Parquet file being written.

    Args:
        file: where to.
        scores: names of the filters' scores, which are columns of their own.
        image_suffix: what the names of images end in.
    """

    def __init__(self, file: BinaryIO, scores: Sequence[str], image_suffix: str) -> None:
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0
        self._scores, self._suffix = scores, image_suffix
        schema = _schema(scores)
        self._file = pq.ParquetWriter(
            file,
            schema,
            compression="none",  # the cells are compressed pictures
            use_dictionary=False,
            write_statistics=[
                n for n, t in zip(schema.names, schema.types, strict=True) if t != PICTURE
            ],
            store_schema=True,
        )

    def add(self, encoded: Encoded) -> None:
        """Append a row.

        Raises:
            ValueError: a sample with other scores than the table.
        """
        scores = _score_names(encoded)
        if scores != self._scores:
            raise ValueError(f"{encoded.sample.key}: expected scores {self._scores}, got {scores}")
        self._rows.append(_row(encoded, self._suffix))
        self._bytes += len(encoded.image) + len(encoded.mask) + len(encoded.alpha)
        if len(self._rows) == GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write the last row group and the footer."""
        try:
            if self._rows:
                self._flush()
            self._file.close()
        finally:
            self._file.is_open = False  # else it tries again, and fails again, when collected

    def _flush(self) -> None:
        table = pa.Table.from_pylist(self._rows, schema=self._file.schema)
        self._rows, self._bytes = [], 0
        self._file.write_table(table, row_group_size=GROUP_ROWS)


def hf_configs(formats: Sequence[str], splits: Sequence[str] = ("train",)) -> dict[str, Any]:
    """Give the ``configs`` of the card's YAML block, so that readers take the Parquet files.

    Args:
        formats: that were written.
        splits: that hold samples; a pattern without files would break the reader.

    Returns:
        A mapping to merge into the block; empty where Parquet was not written.
    """
    if "hf" not in formats:
        return {}
    files = [
        {"split": HUB_NAMES[split], "path": f"data/{split}-*.parquet"}
        for split in SPLITS
        if split in splits
    ]
    return {"configs": [{"config_name": "default", "data_files": files}]}


def _score_names(encoded: Encoded) -> tuple[str, ...]:
    return tuple(sorted(name for name in encoded.sample.scores if name not in COLUMNS))


def _row(encoded: Encoded, image_suffix: str) -> dict[str, Any]:
    key = encoded.sample.key
    return encoded.facts | {
        "image": {"bytes": encoded.image, "path": f"{key}{image_suffix}"},
        "mask": {"bytes": encoded.mask, "path": f"{key}.png"},
        "alpha": {"bytes": encoded.alpha, "path": f"{key}.png"},
    }


def _schema(scores: Sequence[str]) -> pa.Schema:
    columns = {**COLUMNS, **dict.fromkeys(scores, pa.float64())}
    features = {
        name: {"_type": "Image"} if kind == PICTURE else {"dtype": DTYPES[kind], "_type": "Value"}
        for name, kind in columns.items()
    }
    info = json.dumps({"info": {"features": features}})
    return pa.schema(list(columns.items()), metadata={"huggingface": info})
