"""Hugging Face: Parquet files whose schema says which columns are pictures.

``datasets.load_dataset(folder)`` gives PIL images; the bytes in a cell are those of the PNG file.
"""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from l4f_datagen.dataset.staging import Staging
from l4f_datagen.writers.encoding import Encoded

PLACES = ("data/train-{shard:05d}.parquet",)
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
    """Writes one Parquet file a shard; none where every sample was rejected.

    The scores of the filters follow as columns of their own, named by the first sample.
    """

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0
        self._scores: tuple[str, ...] = ()
        self._file: pq.ParquetWriter | None = None

    def add(self, samples: Sequence[Encoded]) -> None:
        """Append rows; a row group is written once it is full.

        Raises:
            ValueError: a sample with other scores than the first one.
        """
        for encoded in samples:
            if self._file is None:
                self._open(encoded)
            scores = _score_names(encoded)
            if scores != self._scores:
                raise ValueError(
                    f"{encoded.sample.key}: expected scores {self._scores}, got {scores}"
                )
            self._rows.append(_row(encoded))
            self._bytes += len(encoded.image) + len(encoded.mask) + len(encoded.alpha)
            if len(self._rows) == GROUP_ROWS or self._bytes >= GROUP_BYTES:
                self._flush()

    def close(self) -> None:
        """Write the last row group and the footer."""
        if self._file is None:
            return
        try:
            if self._rows:
                self._flush()
            self._file.close()
        finally:
            self._file.is_open = False  # else it tries again, and fails again, when collected
            self._file = None

    def _open(self, first: Encoded) -> None:
        self._scores = _score_names(first)
        schema = _schema(self._scores)
        self._file = pq.ParquetWriter(
            self._staging.open(PLACES[0].format(shard=self._staging.shard)),
            schema,
            compression="none",  # the cells are compressed pictures
            use_dictionary=False,
            write_statistics=[
                n for n, t in zip(schema.names, schema.types, strict=True) if t != PICTURE
            ],
            store_schema=True,
        )

    def _flush(self) -> None:
        assert self._file is not None
        table = pa.Table.from_pylist(self._rows, schema=self._file.schema)
        self._rows, self._bytes = [], 0
        self._file.write_table(table, row_group_size=GROUP_ROWS)


def hf_configs(formats: Sequence[str]) -> dict[str, Any]:
    """Give the ``configs`` of the card's YAML block, so that readers take the Parquet files.

    Returns:
        A mapping to merge into the block; empty where Parquet was not written.
    """
    if "hf" not in formats:
        return {}
    files = [{"split": "train", "path": "data/train-*.parquet"}]
    return {"configs": [{"config_name": "default", "data_files": files}]}


def _score_names(encoded: Encoded) -> tuple[str, ...]:
    return tuple(sorted(name for name in encoded.sample.scores if name not in COLUMNS))


def _row(encoded: Encoded) -> dict[str, Any]:
    sample = encoded.sample
    height, width = sample.mask.shape
    name = f"{sample.key}.png"
    return {
        **sample.scores,
        "key": sample.key,
        "image": {"bytes": encoded.image, "path": name},
        "mask": {"bytes": encoded.mask, "path": name},
        "alpha": {"bytes": encoded.alpha, "path": name},
        "image_id": sample.image_id,
        "psi": sample.psi,
        "seed": sample.seed,
        "coverage": encoded.coverage,
        "width": width,
        "height": height,
    }


def _schema(scores: Sequence[str]) -> pa.Schema:
    columns = {**COLUMNS, **dict.fromkeys(scores, pa.float64())}
    features = {
        name: {"_type": "Image"} if kind == PICTURE else {"dtype": DTYPES[kind], "_type": "Value"}
        for name, kind in columns.items()
    }
    info = json.dumps({"info": {"features": features}})
    return pa.schema(list(columns.items()), metadata={"huggingface": info})
