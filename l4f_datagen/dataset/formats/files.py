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
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.core.sample import SPLITS, alpha_to_uint8
from l4f_datagen.dataset.formats.encoding import (
    Encoded,
    ShardWriter,
    alpha_levels,
    cutout_suffix,
    image_suffix,
)
from l4f_datagen.dataset.manifest import Shards, dump_json
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.io.photo import encode_pngs
from l4f_datagen.recipe import OutputPart

PNG_FOLDERS = ("images", "masks", "labels", "alpha", "rgba", "composites")
PNG_PLACES = tuple(f"{folder}/{{shard:05d}}" for folder in PNG_FOLDERS)


class PngShard(ShardWriter):
    """Writes the files of one shard: image RGB, mask and label L, alpha L or I;16."""

    def __init__(self, staging: Staging, output: OutputPart) -> None:
        self._staging = staging
        self._places = [place.format(shard=staging.shard) for place in PNG_PLACES]
        image = image_suffix(output)
        self._suffixes = (image, ".png", ".png", ".png", cutout_suffix(output), image)

    def add(self, samples: Sequence[Encoded]) -> None:
        """Stage the files of each sample."""
        for one in samples:
            files = (one.image, one.mask, one.label, one.alpha, one.cutout, one.composite)
            for place, suffix, file in zip(self._places, self._suffixes, files, strict=True):
                if file is not None:
                    self._staging.put(place, f"{one.sample.key}{suffix}", file)


REJECTED_PLACES = ("rejected/{shard:05d}",)
REJECTED_FOLDERS = ("images", "masks", "alpha")


class RejectedShard(ShardWriter):
    """Writes image, mask and alpha of each rejected sample, named as the accepted ones are."""

    def __init__(self, staging: Staging, output: OutputPart) -> None:
        self._staging = staging
        self._place = REJECTED_PLACES[0].format(shard=staging.shard)
        self._suffixes = (image_suffix(output), ".png", ".png")

    def add(self, samples: Sequence[Encoded]) -> None:
        """Stage the files of each sample."""
        for one in samples:
            files = (one.image, one.mask, one.alpha)
            for folder, suffix, file in zip(REJECTED_FOLDERS, self._suffixes, files, strict=True):
                self._staging.put(self._place, f"{folder}/{one.sample.key}{suffix}", file)


LINES = ".l4f/imagefolder/{shard:05d}.tsv"
SPLIT_FOLDERS = {split: f"imagefolder/{split}/{{shard:05d}}" for split in SPLITS}
IMAGEFOLDER_PLACES = (LINES, *SPLIT_FOLDERS.values())
_DUMP = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


class ImageFolderShard(ShardWriter):
    """Writes the files of one shard, and one line of metadata for each sample."""

    def __init__(self, staging: Staging, output: OutputPart) -> None:
        self._staging, self._suffix = staging, image_suffix(output)
        self._lines = staging.open(LINES.format(shard=staging.shard))

    def add(self, samples: Sequence[Encoded]) -> None:
        """Stage the four files of each sample."""
        for one in samples:
            sample = one.sample
            names = (
                f"{sample.key}{self._suffix}",
                f"{sample.key}_mask.png",
                f"{sample.key}_label.png",
                f"{sample.key}_alpha.png",
            )
            place = SPLIT_FOLDERS[sample.split].format(shard=self._staging.shard)
            for name, file in zip(names, (one.image, one.mask, one.label, one.alpha), strict=True):
                self._staging.put(place, name, file)
            image, mask, label, alpha = (f"{self._staging.shard:05d}/{name}" for name in names)
            # ``datasets`` gives file_name to the first image column it meets.
            row = {"file_name": image, "mask_file_name": mask, "label_file_name": label}
            row |= {"alpha_file_name": alpha, **one.facts}
            self._lines.write(f"{sample.split}\t{_DUMP(row)}\n".encode())


def write_metadata(shards: Shards, out: TextIO) -> None:
    """Write one JSON object a sample, in the order of the plan."""
    for (row,) in shards.fields(LINES):
        out.write(f"{row}\n")


IMAGEFOLDER_INDEXES = {"imagefolder/{split}/metadata.jsonl": write_metadata}

TAR_PLACES = tuple(f"webdataset/{split}-{{shard:05d}}.tar" for split in SPLITS)


class WebDatasetShard(ShardWriter):
    """Writes one tar a shard and split; none where every sample was rejected."""

    def __init__(self, staging: Staging, output: OutputPart) -> None:
        self._staging, self._suffix = staging, image_suffix(output)
        self._deep = output.alpha_bits == 16
        self._tars: dict[str, tarfile.TarFile] = {}

    def add(self, samples: Sequence[Encoded]) -> None:
        """Append the files of each sample."""
        for one in samples:
            key = one.sample.key
            tar = self._tar(one.sample.split)
            _append(tar, f"{key}{self._suffix}", one.image)
            _append(tar, f"{key}.mask.png", one.mask)
            _append(tar, f"{key}.label.png", one.label)
            if self._deep:
                [alpha] = encode_pngs([alpha_to_uint8(one.sample.alpha)], "up")
                _append(tar, f"{key}.alpha.png", alpha)
                _append(tar, f"{key}.alpha16.npy", _npy(alpha_levels(one.sample.alpha, 16)))
            else:
                _append(tar, f"{key}.alpha.png", one.alpha)
            _append(tar, f"{key}.json", dump_json(one.facts))

    def close(self) -> None:
        """Write the ends of the tars."""
        while self._tars:
            self._tars.popitem()[1].close()

    def _tar(self, split: str) -> tarfile.TarFile:
        if split not in self._tars:
            place = TAR_PLACES[SPLITS.index(split)].format(shard=self._staging.shard)
            file = self._staging.open(place)
            self._tars[split] = tarfile.TarFile(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)
        return self._tars[split]


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _append(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # mtime, uid and gid are 0, the names of user and group empty
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
