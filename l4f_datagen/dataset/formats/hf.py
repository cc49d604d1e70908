"""Hugging Face: Parquet files whose schema says which columns are images.

``datasets.load_dataset(folder)`` gives PIL images; the bytes in a cell are those of the PNG file.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from l4f_datagen.core.sample import SPLITS
from l4f_datagen.dataset.formats.encoding import KINDS, Encoded, ShardWriter
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.recipe import OutputPart

CONFIG_FILES = {
    "hf": "data/{split}-*.parquet",
    "imagefolder": "imagefolder/{split}/**",
    "webdataset": "webdataset/{split}-*.tar",
}
"""Format to the files of a split."""
PNG_FILES = ("images/**", "masks/**", "labels/**", "alpha/**")
METADATA = "metadata.jsonl"
"""What the imagefolder reader of ``datasets`` looks for, beside or above its images."""
GROUP_ROWS = 100  # the Hub's viewer reads whole row groups, and gives up on big ones
GROUP_BYTES = 32 * 2**20
PICTURE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
COLUMNS: dict[str, pa.DataType] = {
    **{"key": pa.string(), **dict.fromkeys(KINDS, PICTURE)},
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

    places = tuple(f"data/{split}-{{shard:05d}}.parquet" for split in SPLITS)

    def __init__(self, staging: Staging, output: OutputPart) -> None:
        super().__init__(staging, output)
        self._files: dict[str, pq.ParquetWriter] = {}
        self._rows: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self._bytes = Counter[str]()  # of the rows that wait

    def add(self, samples: Sequence[Encoded]) -> None:
        """Append rows; a row group is written once it is full.

        ValueError for a sample with other scores than the first one of its split.
        """
        for one in samples:
            split, scores = one.sample.split, sorted(one.sample.scores.keys() - COLUMNS)
            if split not in self._files:
                file = self.staging.open(f"data/{split}-{self.shard:05d}.parquet")
                self._files[split] = _parquet(file, scores)
            wanted = self._files[split].schema.names[len(COLUMNS) :]
            if scores != wanted:
                raise ValueError(f"{one.sample.key}: expected scores {wanted}, got {scores}")
            cells = {
                kind: {"bytes": getattr(one, kind), "path": self.name(one, kind)} for kind in KINDS
            }
            self._rows[split].append(one.facts | cells)
            self._bytes[split] += len(one.image) + len(one.mask) + len(one.alpha)
            if len(self._rows[split]) == GROUP_ROWS or self._bytes[split] >= GROUP_BYTES:
                self._flush(split, self._files[split])

    def close(self) -> None:
        """Write the last row groups and the footers."""
        while self._files:
            split, file = self._files.popitem()
            try:
                if self._rows[split]:
                    self._flush(split, file)
                file.close()
            finally:
                file.is_open = False  # else it tries again, and fails again, when collected

    def _flush(self, split: str, file: pq.ParquetWriter) -> None:
        table = pa.Table.from_pylist(self._rows.pop(split), schema=file.schema)
        self._bytes[split] = 0
        file.write_table(table, row_group_size=GROUP_ROWS)


def _parquet(file: BinaryIO, scores: Sequence[str]) -> pq.ParquetWriter:
    """Begin a file; the filters' scores are columns of their own."""
    columns = {**COLUMNS, **dict.fromkeys(scores, pa.float64())}
    plain = {name: DTYPES[kind] for name, kind in columns.items() if kind != PICTURE}
    features = {
        name: {"dtype": plain[name], "_type": "Value"} if name in plain else {"_type": "Image"}
        for name in columns
    }
    info = json.dumps({"info": {"features": features}})
    return pq.ParquetWriter(
        file,
        pa.schema(list(columns.items()), metadata={"huggingface": info}),
        compression="none",  # the cells are compressed images
        use_dictionary=False,
        write_statistics=list(plain),
        store_schema=True,
    )


def hf_configs(formats: Sequence[str], splits: Sequence[str] = ("train",)) -> dict[str, Any]:
    """Give the ``configs`` of the card's YAML block, from which ``load_dataset`` takes the files.

    Without them it would guess, and take contact sheets, masks and mattes for images. One format is
    named, with the splits that hold samples: a pattern without files would break the reader. PNG
    files are one split ``samples`` with a column ``split``. Empty where there is no sample.
    """
    pattern = next((CONFIG_FILES[name] for name in CONFIG_FILES if name in formats), None)
    config: dict[str, Any] = {"config_name": "default"}
    if pattern is None and "png" not in formats:  # YOLO: images, labels only its trainers read
        pattern = "yolo/images/{split}/**"
        config["drop_labels"] = True  # else names of folders become classes
    present = [split for split in SPLITS if split in splits]
    files: list[dict[str, Any]] = [{"split": "samples", "path": [METADATA, *PNG_FILES]}]
    if pattern is not None:
        files = [{"split": split, "path": pattern.format(split=split)} for split in present]
    return {"configs": [config | {"data_files": files}]} if present else {}
