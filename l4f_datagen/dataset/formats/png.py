"""PNG: ``images/``, ``masks/``, ``labels/`` and ``alpha/``: a file a sample in each, of one name.

``masks/`` has 0 and 255, ``labels/`` the class indices 0 and 1. ``images/`` and ``composites/``
follow the recipe's image format; on request there is ``rgba/`` too.
"""

from collections.abc import Sequence

from l4f_datagen.dataset.formats.encoding import Encoded, cutout_suffix, image_suffix
from l4f_datagen.dataset.staging import Staging
from l4f_datagen.recipe import OutputPart

FOLDERS = ("images", "masks", "labels", "alpha", "rgba", "composites")
PLACES = tuple(f"{folder}/{{shard:05d}}" for folder in FOLDERS)


class PngShard:
    """Writes the files of one shard: image RGB, mask and label L, alpha L or I;16."""

    def __init__(self, staging: Staging, output: OutputPart) -> None:
        self._staging = staging
        self._places = [place.format(shard=staging.shard) for place in PLACES]
        image = image_suffix(output)
        self._suffixes = (image, ".png", ".png", ".png", cutout_suffix(output), image)

    def add(self, samples: Sequence[Encoded]) -> None:
        """Stage the files of each sample."""
        for one in samples:
            files = (one.image, one.mask, one.label, one.alpha, one.cutout, one.composite)
            for place, suffix, file in zip(self._places, self._suffixes, files, strict=True):
                if file is not None:
                    self._staging.put(place, f"{one.sample.key}{suffix}", file)

    def close(self) -> None:
        """Nothing is held back."""
