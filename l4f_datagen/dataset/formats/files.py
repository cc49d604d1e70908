"""Formats of loose files: PNG folders, rejected samples, ImageFolder, and tars of WebDataset.

```
images/00003/KEY.png  masks/  labels/  alpha/  rgba/  composites/              png
rejected/00003/images/KEY.png  masks/  alpha/                                  on request
imagefolder/train/metadata.jsonl                                               imagefolder
imagefolder/train/00003/KEY.png  KEY_mask.png  KEY_label.png  KEY_alpha.png
webdataset/train-00003.tar: KEY.png  KEY.mask.png  KEY.label.png  KEY.alpha.png  KEY.json
```

``masks`` have 0 and 255, ``labels`` the class indices 0 and 1. Images and composites follow the
recipe's image format. No index and no reader looks for rejected samples; the ledger has the reason
of each by its key. ``datasets`` turns the names in ``metadata.jsonl`` into the image columns image,
mask, label and alpha.

A key of WebDataset ends at the first dot, and ours have none. ``alpha.png`` always has 8 bits: the
webdataset library decodes images to 8 bits and clips what is above; 16 bits are in
``KEY.alpha16.npy``, uint16 ``h w``. The headers carry neither clock nor user, so the same samples
give the same bytes.
"""

import io
import json
import tarfile
from collections.abc import Sequence
from typing import ClassVar, TextIO

import numpy as np

from l4f_datagen.core.sample import SPLITS, alpha_to_uint8
from l4f_datagen.dataset.formats.encoding import KINDS, Encoded, ShardWriter, alpha_levels
from l4f_datagen.dataset.manifest import Shards, dump_json
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.io.photo import encode_pngs
from l4f_datagen.recipe import OutputPart

PNG_FOLDERS = {
    "image": "images",
    "mask": "masks",
    "label": "labels",
    "alpha": "alpha",
    "cutout": "rgba",
    "composite": "composites",
}


class PngShard(ShardWriter):
    """Writes the files of one shard: image RGB, mask and label L, alpha L or I;16."""

    places = tuple(f"{folder}/{{shard:05d}}" for folder in PNG_FOLDERS.values())

    def add(self, samples: Sequence[Encoded]) -> None:
        """Stage the files of each sample."""
        for one in samples:
            for kind, folder in PNG_FOLDERS.items():
                if (file := getattr(one, kind)) is not None:
                    self.staging.put(f"{folder}/{self.shard:05d}", self.name(one, kind), file)


class RejectedShard(ShardWriter):
    """Writes image, mask and alpha of each rejected sample, named as the accepted ones are."""

    places = ("rejected/{shard:05d}",)

    def add(self, samples: Sequence[Encoded]) -> None:
        """Stage the files of each sample."""
        place = self.places[0].format(shard=self.shard)
        for one in samples:
            for kind in ("image", "mask", "alpha"):
                name = f"{PNG_FOLDERS[kind]}/{self.name(one, kind)}"
                self.staging.put(place, name, getattr(one, kind))


LINES = ".l4f/imagefolder/{shard:05d}.tsv"
_DUMP = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def write_metadata(shards: Shards, out: TextIO) -> None:
    """Write one JSON object a sample, in the order of the plan."""
    for (row,) in shards.fields(LINES):
        out.write(f"{row}\n")


class ImageFolderShard(ShardWriter):
    """Writes the files of one shard, and one line of metadata for each sample."""

    places = (LINES, *(f"imagefolder/{split}/{{shard:05d}}" for split in SPLITS))
    indexes: ClassVar = {"imagefolder/{split}/metadata.jsonl": write_metadata}

    def __init__(self, staging: Staging, output: OutputPart) -> None:
        super().__init__(staging, output)
        self._lines = staging.open(LINES.format(shard=self.shard))

    def add(self, samples: Sequence[Encoded]) -> None:
        """Stage the four files of each sample."""
        for one in samples:
            split, row = one.sample.split, {}
            for kind in KINDS:
                name = self.name(one, kind, "_")
                self.staging.put(f"imagefolder/{split}/{self.shard:05d}", name, getattr(one, kind))
                # ``datasets`` gives file_name to the first image column it meets.
                column = "file_name" if kind == "image" else f"{kind}_file_name"
                row[column] = f"{self.shard:05d}/{name}"
            self._lines.write(f"{split}\t{_DUMP(row | one.facts)}\n".encode())


class WebDatasetShard(ShardWriter):
    """Writes one tar a shard and split; none where every sample was rejected."""

    places = tuple(f"webdataset/{split}-{{shard:05d}}.tar" for split in SPLITS)

    def __init__(self, staging: Staging, output: OutputPart) -> None:
        super().__init__(staging, output)
        self._tars: dict[str, tarfile.TarFile] = {}

    def add(self, samples: Sequence[Encoded]) -> None:
        """Append the files of each sample."""
        for one in samples:
            key, split, alpha = one.sample.key, one.sample.split, one.sample.alpha
            if split not in self._tars:
                file = self.staging.open(f"webdataset/{split}-{self.shard:05d}.tar")
                self._tars[split] = tarfile.TarFile(
                    fileobj=file, mode="w", format=tarfile.USTAR_FORMAT
                )
            files = {self.name(one, kind, "."): getattr(one, kind) for kind in KINDS}
            if self.output.alpha_bits == 16:
                [files[f"{key}.alpha.png"]] = encode_pngs([alpha_to_uint8(alpha)], "up")
                buffer = io.BytesIO()
                np.save(buffer, alpha_levels(alpha, 16), allow_pickle=False)
                files[f"{key}.alpha16.npy"] = buffer.getvalue()
            files[f"{key}.json"] = dump_json(one.facts)
            for name, data in files.items():
                member = tarfile.TarInfo(name)  # no time, no user, no group
                member.size = len(data)
                self._tars[split].addfile(member, io.BytesIO(data))

    def close(self) -> None:
        """Write the ends of the tars."""
        while self._tars:
            self._tars.popitem()[1].close()
