"""PNG: ``images/``, ``masks/`` and ``alpha/``, one file a sample in each, under one name.

``images/`` and ``composites/`` follow the recipe's image format; on request, ``rgba/`` too.
"""

from collections.abc import Sequence

from l4f_datagen.dataset.formats.encoding import Encoded, cutout_suffix, image_suffix
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.recipe import OutputPart

FOLDERS = ("images", "masks", "alpha", "rgba", "composites")
PLACES = tuple(f"{folder}/{{shard:05d}}" for folder in FOLDERS)


class PngShard:
    """Writes the files of one shard: image RGB, mask L with 0 and 255, alpha L or I;16."""

    def __init__(self, staging: Staging, output: OutputPart) -> None:
        self._staging = staging
        self._places = [place.format(shard=staging.shard) for place in PLACES]
        image = image_suffix(output)
        self._suffixes = (image, ".png", ".png", cutout_suffix(output), image)

    def add(self, samples: Sequence[Encoded]) -> None:
        """Stage the files of each sample."""
        for one in samples:
            files = (one.image, one.mask, one.alpha, one.cutout, one.composite)
            for place, suffix, file in zip(self._places, self._suffixes, files, strict=True):
                if file is not None:
                    self._staging.put(place, f"{one.sample.key}{suffix}", file)

    def close(self) -> None:
        """Nothing is held back."""
