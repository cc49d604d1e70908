"""Writers: each turns accepted samples into one format. A new one is a file and a line here.

A writer opens once a shard, is handed the encoded samples in order and stages files in its
*places* (see ``staging``). Indexes over all shards are merged at the very end.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from l4f_datagen.dataset.formats import coco, hf, imagefolder, png, webdataset, yolo
from l4f_datagen.dataset.formats.encoding import Encoded
from l4f_datagen.dataset.formats.merging import MergeIndex
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.recipe import OutputPart


class ShardWriter(Protocol):
    """One shard in one format."""

    def add(self, samples: Sequence[Encoded]) -> None:
        """Stage samples, in order."""

    def close(self) -> None:
        """Stage what was held back; does nothing the second time."""


@dataclass(frozen=True)
class Writer:
    """One format.

    Attributes:
        open_shard: begins a shard in its staging.
        places: what a shard has here, templates of ``{shard:05d}``.
        flat: folders that hold the files of all shards (see ``staging``).
        indexes: file name to the function that merges all shards into it; a name with
            ``{split}`` stands for one file for every split that has samples.
    """

    open_shard: Callable[[Staging, OutputPart], ShardWriter]
    places: tuple[str, ...] = ()
    flat: tuple[str, ...] = ()
    indexes: Mapping[str, MergeIndex] = field(default_factory=dict)


WRITERS: dict[str, Writer] = {
    "png": Writer(png.PngShard, png.PLACES),
    "coco": Writer(coco.CocoShard, coco.PLACES, indexes={coco.INDEX: coco.write_instances}),
    "hf": Writer(hf.HfShard, hf.PLACES),
    "imagefolder": Writer(
        imagefolder.ImageFolderShard,
        imagefolder.PLACES,
        indexes={imagefolder.INDEX: imagefolder.write_metadata},
    ),
    "webdataset": Writer(webdataset.WebDatasetShard, webdataset.PLACES),
    "yolo": Writer(yolo.YoloShard, flat=yolo.FLAT, indexes={yolo.INDEX: yolo.write_data_yaml}),
}
"""The formats by name; the names and what they require stand in ``formats``."""
