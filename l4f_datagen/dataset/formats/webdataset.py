"""WebDataset: tars in which the files of a sample lie side by side, under its key.

``KEY.png``, ``KEY.mask.png``, ``KEY.label.png``, ``KEY.alpha.png``, ``KEY.json``; a key ends at the
first dot, and ours have none. ``alpha.png`` always has 8 bits: the webdataset library decodes
images to 8 bits and clips what is above; 16 bits are in ``KEY.alpha16.npy``, uint16 ``h w``. The
headers carry neither clock nor user, so the same samples give the same bytes.
"""

import io
import tarfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.core.formats import SPLITS
from l4f_datagen.core.sample import alpha_to_uint8
from l4f_datagen.dataset.formats.encoding import Encoded, alpha_levels, image_suffix
from l4f_datagen.dataset.manifest import dump_json
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.io.png_bytes import encode_pngs
from l4f_datagen.recipe import OutputPart

PLACES = tuple(f"webdataset/{split}-{{shard:05d}}.tar" for split in SPLITS)


class WebDatasetShard:
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
            place = PLACES[SPLITS.index(split)].format(shard=self._staging.shard)
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
