"""Annotated features: what an alpha network reads of each annotated picture, and its truth."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from l4f_datagen.annotate.rerender import Rerendered
from l4f_datagen.annotations.truth import TruthMask
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.core.masks import alpha_to_mask
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.generator import Features
from l4f_datagen.scoring.image_score import ImageScore, score_image
from l4f_datagen.scoring.match import Match
from l4f_datagen.scoring.protocol import fitted

KEPT_BYTES = 2 << 30
"""Of features in memory; a 1024 px picture of config-f has 0.6 GB, the rest is rendered again."""


@dataclass(frozen=True)
class Example:
    """One annotated picture.

    Attributes:
        name: of the picture in the truth.
        truth: its mask, of the size of the picture.
        features: what the alpha network reads, a batch of one, on the device.
    """

    name: str
    truth: TruthMask
    features: Features


class Annotated:
    """The annotated pictures of a match, as examples; features are kept while they fit.

    Args:
        matched: a truth set against pictures that are rendered anew.
        kept_bytes: how much of the features may stay in memory.

    Raises:
        ValueError: the prediction is not rendered.
    """

    def __init__(self, matched: Match, kept_bytes: int = KEPT_BYTES) -> None:
        if not isinstance(matched.prediction, Rerendered):
            raise ValueError("only rendered pictures have features")
        self.matched, self.rendered = matched, matched.prediction
        self.crop = matched.prediction.renderer.crop
        self._kept: dict[int, Example] = {}
        self._room = kept_bytes

    def __len__(self) -> int:
        return len(self.matched.pairing.pairs)

    def __getitem__(self, number: int) -> Example:
        if not 0 <= number < len(self):
            raise IndexError(number)
        if number in self._kept:
            return self._kept[number]
        truth_place, place = self.matched.pairing.pairs[number]
        features = self.rendered.features(place)
        example = Example(
            self.matched.truth[truth_place].name, self._truth(truth_place, features), features
        )
        size = sum(t.element_size() * t.numel() for pair in features.values() for t in pair)
        if size <= self._room:
            self._room -= size
            self._kept[number] = example
        return example

    def _truth(self, place: int, features: Features) -> TruthMask:
        height, width = features[max(features)][-1].shape[2:]
        left, top, right, bottom = self.crop or (0, 0, width, height)
        item = self.matched.truth[place]
        truth = item.load((bottom - top, right - left))
        if truth.mask.shape != (bottom - top, right - left):
            raise AnnotationRefused(
                f"{self.matched.truth.source} {item.name}",
                f"{truth.mask.shape[1]} x {truth.mask.shape[0]} pixels, its picture "
                f"{right - left} x {bottom - top}",
                "annotate the pictures as `sample` wrote them",
            )
        return truth

    def cut(self, canvas: Float[Tensor, "batch 1 h w"]) -> Float[Tensor, "batch 1 h2 w2"]:
        """Cut the picture out of the generator's canvas."""
        left, top, right, bottom = self.crop or (0, 0, *canvas.shape[:1:-1])
        return canvas[:, :, top:bottom, left:right]


@torch.no_grad()
def score_networks(
    annotated: Annotated, networks: Mapping[str, AlphaNetwork], threshold: float
) -> dict[str, list[ImageScore]]:
    """Score alpha networks on every annotated picture; each picture is rendered once for all.

    Args:
        annotated: the pictures.
        networks: name -> network, on the device of the features.
        threshold: mask = alpha > threshold.

    Returns:
        Name -> a score an image, in the order of ``annotated``.
    """
    scores: dict[str, list[ImageScore]] = {name: [] for name in networks}
    for number in range(len(annotated)):
        example = annotated[number]
        for name, network in networks.items():
            scores[name].append(score_example(annotated, example, network, threshold))
    return scores


@torch.no_grad()
def score_example(
    annotated: Annotated, example: Example, network: AlphaNetwork, threshold: float
) -> ImageScore:
    """Score one network on one picture."""
    alpha: NDArray[np.float32] = annotated.cut(network(example.features))[0, 0].cpu().numpy()
    truth = example.truth
    mask, matte = fitted(
        example.name, truth.mask.shape, alpha_to_mask(alpha, threshold), alpha, "nearest"
    )
    return score_image(
        example.name,
        truth.mask,
        mask,
        ignore=truth.ignore,
        alpha=matte,
        truth_alpha=truth.alpha,
    )
