"""Rejected samples, on request: under ``rejected/``, where no index and no reader looks for them.

The ledger has the reason of each by its key.
"""

from collections.abc import Sequence

from l4f_datagen.dataset.formats.encoding import Encoded, image_suffix
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.recipe import OutputPart

PLACES = ("rejected/{shard:05d}",)
FOLDERS = ("images", "masks", "alpha")


class RejectedShard:
    """Writes image, mask and alpha of each rejected sample, named as the accepted ones are."""

    def __init__(self, staging: Staging, output: OutputPart) -> None:
        self._staging = staging
        self._place = PLACES[0].format(shard=staging.shard)
        self._suffixes = (image_suffix(output), ".png", ".png")

    def add(self, samples: Sequence[Encoded]) -> None:
        """Stage the files of each sample."""
        for one in samples:
            files = (one.image, one.mask, one.alpha)
            for folder, suffix, file in zip(FOLDERS, self._suffixes, files, strict=True):
                self._staging.put(self._place, f"{folder}/{one.sample.key}{suffix}", file)

    def close(self) -> None:
        """Nothing is held back."""
