"""Match: truth and prediction, paired and loaded one pair at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.annotations.truth import TruthMask, TruthSet
from l4f_datagen.scoring.image_score import Mask
from l4f_datagen.scoring.pairing import Pairing, Rule, pair_names
from l4f_datagen.scoring.prediction import Prediction


class Pair(NamedTuple):
    """One image to be scored: its name, the truth, and what was predicted."""

    name: str
    truth: TruthMask
    mask: Mask
    alpha: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Match:
    """Truth and prediction with the pairing between them.

    Attributes:
        truth: the annotated set.
        prediction: what is scored.
        pairing: which belongs to which.
    """

    truth: TruthSet
    prediction: Prediction
    pairing: Pairing

    def __iter__(self) -> Iterator[Pair]:
        return (self.pair(number) for number in range(len(self.pairing.pairs)))

    def pair(self, number: int) -> Pair:
        """Load one pair, ``number`` in the order of the pairing."""
        item = self.truth[self.pairing.pairs[number][0]]
        predicted = self.prediction.load(self.pairing.pairs[number][1], item.size_hw)
        decoded = item.load((predicted.mask.shape[0], predicted.mask.shape[1]))
        return Pair(item.name, decoded, predicted.mask, predicted.alpha)

    def picture(self, number: int) -> NDArray[np.uint8] | None:
        """Load the picture of a pair, uint8 ``h w 3``, None where it is not at hand."""
        return self.prediction.picture(self.pairing.pairs[number][1])


def match_truth(
    truth: TruthSet,
    prediction: Prediction,
    *,
    pair_by: Rule = "auto",
    offset: int | None = None,
    allow_unused: bool | None = None,
) -> Match:
    """Pair truth and prediction by their names, see `pair_names`.

    Raises:
        AnnotationRefused: a name is ambiguous, a prediction is missing, or one is left over.
    """
    pairing = pair_names(
        [item.name for item in truth],
        prediction.names,
        rule=pair_by,
        offset=offset,
        allow_unused=allow_unused,
    )
    return Match(truth, prediction, pairing)
