"""ImageFolder: loose files and a table of them, ``load_dataset("imagefolder", data_dir=...)``.

```
imagefolder/train/metadata.jsonl                 file_name, mask_file_name, label_file_name, ...
imagefolder/train/00003/KEY.png  KEY_mask.png  KEY_label.png  KEY_alpha.png
```

``datasets`` turns the four names into the image columns image, mask, label and alpha.
"""

import json
from collections.abc import Sequence
from typing import TextIO

from l4f_datagen.core.formats import SPLITS
from l4f_datagen.dataset.formats.encoding import Encoded, image_suffix
from l4f_datagen.dataset.formats.merging import Shards
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.recipe import OutputPart

LINES = ".l4f/imagefolder/{shard:05d}.tsv"
FOLDERS = {split: f"imagefolder/{split}/{{shard:05d}}" for split in SPLITS}
PLACES = (LINES, *FOLDERS.values())
INDEX = "imagefolder/{split}/metadata.jsonl"
_DUMP = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


class ImageFolderShard:
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
            place = FOLDERS[sample.split].format(shard=self._staging.shard)
            for name, file in zip(names, (one.image, one.mask, one.label, one.alpha), strict=True):
                self._staging.put(place, name, file)
            image, mask, label, alpha = (f"{self._staging.shard:05d}/{name}" for name in names)
            # ``datasets`` gives file_name to the first image column it meets: it stands first.
            row = {"file_name": image, "mask_file_name": mask, "label_file_name": label}
            row |= {"alpha_file_name": alpha, **one.facts}
            self._lines.write(f"{sample.split}\t{_DUMP(row)}\n".encode())

    def close(self) -> None:
        """Nothing is held back."""


def write_metadata(shards: Shards, out: TextIO) -> None:
    """Write one JSON object a sample, in the order of the plan."""
    for (row,) in shards.fields(LINES):
        out.write(f"{row}\n")
