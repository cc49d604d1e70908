"""Hugging Face: Parquet files whose schema says which columns are images.

``datasets.load_dataset(folder)`` gives PIL images; the bytes in a cell are those of the PNG file.
"""

import json
from collections.abc import Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from l4f_datagen.core.sample import SPLITS
from l4f_datagen.dataset.formats.encoding import Encoded, ShardWriter, image_suffix
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.recipe import OutputPart

PLACES = tuple(f"data/{split}-{{shard:05d}}.parquet" for split in SPLITS)
CONFIG_FILES = {
    "hf": "data/{split}-*.parquet",
    "imagefolder": "imagefolder/{split}/**",
    "webdataset": "webdataset/{split}-*.tar",
}
"""Format to the files of a split."""
METADATA = "metadata.jsonl"
"""What the imagefolder reader of ``datasets`` looks for, beside or above its images."""
GROUP_ROWS = 100  # the Hub's viewer reads whole row groups, and gives up on big ones
GROUP_BYTES = 32 * 2**20
PICTURE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
COLUMNS: dict[str, pa.DataType] = {
    "key": pa.string(),
    "image": PICTURE,
    "mask": PICTURE,
    "label": PICTURE,
    "alpha": PICTURE,
    "image_id": pa.int64(),
    "psi": pa.float64(),
    "seed": pa.int64(),
    "coverage": pa.float64(),
    "width": pa.int32(),
    "height": pa.int32(),
}
DTYPES = {pa.string(): "string", pa.int64(): "int64", pa.int32(): "int32", pa.float64(): "float64"}


class HfShard(ShardWriter):
    """Writes one Parquet file a shard and split; none where every sample was rejected."""

    def __init__(self, staging: Staging, output: OutputPart) -> None:
        self._staging, self._suffix = staging, image_suffix(output)
        self._tables: dict[str, SplitTable] = {}

    def add(self, samples: Sequence[Encoded]) -> None:
        """Append rows; a row group is written once it is full."""
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
    """One Parquet file being written; the filters' scores are columns of their own."""

    def __init__(self, file: BinaryIO, scores: Sequence[str], image_suffix: str) -> None:
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0
        self._scores, self._suffix = scores, image_suffix
        schema = _schema(scores)
        self._file = pq.ParquetWriter(
            file,
            schema,
            compression="none",  # the cells are compressed images
            use_dictionary=False,
            write_statistics=[
                n for n, t in zip(schema.names, schema.types, strict=True) if t != PICTURE
            ],
            store_schema=True,
        )

    def add(self, encoded: Encoded) -> None:
        """Append a row; ValueError for a sample with other scores than the first one."""
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
    """Give the ``configs`` of the card's YAML block, from which ``load_dataset`` takes the files.

    Without them it would guess, and take contact sheets, masks and mattes for images. The first of
    Parquet, imagefolder, WebDataset and PNG among the formats is named, with the splits that hold
    samples: a pattern without files would break the reader. PNG files are one split ``samples``
    with a column ``split``. Empty where there is no sample.
    """
    files: list[dict[str, Any]]
    splits = [split for split in SPLITS if split in splits]
    if not splits:
        return {}
    config: dict[str, Any] = {"config_name": "default"}
    for name, pattern in CONFIG_FILES.items():
        if name in formats:
            files = [{"split": split, "path": pattern.format(split=split)} for split in splits]
            break
    else:
        folders = ("images", "masks", "labels", "alpha")
        files = [{"split": "samples", "path": [METADATA, *(f"{one}/**" for one in folders)]}]
        if "png" not in formats:  # YOLO alone: images, and labels that only YOLO's trainers read
            files = [{"split": split, "path": f"yolo/images/{split}/**"} for split in splits]
            config["drop_labels"] = True  # else names of folders become classes
    return {"configs": [config | {"data_files": files}]}


def _score_names(encoded: Encoded) -> tuple[str, ...]:
    return tuple(sorted(name for name in encoded.sample.scores if name not in COLUMNS))


def _row(encoded: Encoded, image_suffix: str) -> dict[str, Any]:
    key = encoded.sample.key
    return encoded.facts | {
        "image": {"bytes": encoded.image, "path": f"{key}{image_suffix}"},
        "mask": {"bytes": encoded.mask, "path": f"{key}.png"},
        "label": {"bytes": encoded.label, "path": f"{key}.png"},
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
