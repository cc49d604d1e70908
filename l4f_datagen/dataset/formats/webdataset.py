"""WebDataset: tars in which the files of a sample lie side by side, under its key.

``KEY.png``, ``KEY.mask.png``, ``KEY.alpha.png``, ``KEY.json``; a key ends at the first dot, and
ours have none. The headers carry neither clock nor user, so the same samples give the same bytes.
"""

import io
import tarfile
from collections.abc import Sequence

from l4f_datagen.core.formats import SPLITS
from l4f_datagen.dataset.formats.encoding import Encoded, image_suffix
from l4f_datagen.dataset.manifest import dump_json
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.recipe import OutputPart

PLACES = tuple(f"webdataset/{split}-{{shard:05d}}.tar" for split in SPLITS)


class WebDatasetShard:
    """Writes one tar a shard and split; none where every sample was rejected."""

    def __init__(self, staging: Staging, output: OutputPart) -> None:
        self._staging, self._suffix = staging, image_suffix(output)
        self._tars: dict[str, tarfile.TarFile] = {}

    def add(self, samples: Sequence[Encoded]) -> None:
        """Append the four files of each sample."""
        for one in samples:
            key = one.sample.key
            tar = self._tar(one.sample.split)
            _append(tar, f"{key}{self._suffix}", one.image)
            _append(tar, f"{key}.mask.png", one.mask)
            _append(tar, f"{key}.alpha.png", one.alpha)
            _append(tar, f"{key}.json", dump_json(one.facts))

    def close(self) -> None:
        """Write the ends of the tars."""
        while self._tars:
            self._tars.popitem()[1].close()

    def _tar(self, split: str) -> tarfile.TarFile:
        if split not in self._tars:
            place = PLACES[SPLITS.index(split)].format(shard=self._staging.shard)
            file = self._staging.open(place)
            self._tars[split] = tarfile.TarFile(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)
        return self._tars[split]


def _append(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # mtime, uid and gid are 0, the names of user and group empty
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
