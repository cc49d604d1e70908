"""PNG: ``images/``, ``masks/`` and ``alpha/``, one file a sample in each, under one name."""

from collections.abc import Sequence

from l4f_datagen.dataset.staging import Staging
from l4f_datagen.writers.encoding import Encoded

PLACES = ("images/{shard:05d}", "masks/{shard:05d}", "alpha/{shard:05d}")


class PngShard:
    """Writes the files of one shard: image RGB, mask L with 0 and 255, alpha L or I;16."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._places = [place.format(shard=staging.shard) for place in PLACES]

    def add(self, samples: Sequence[Encoded]) -> None:
        """Stage the three files of each sample."""
        images, masks, alphas = self._places
        for encoded in samples:
            name = f"{encoded.sample.key}.png"
            self._staging.put(images, name, encoded.image)
            self._staging.put(masks, name, encoded.mask)
            self._staging.put(alphas, name, encoded.alpha)

    def close(self) -> None:
        """Nothing is held back."""
