"""Examples: annotated images rendered again, with what an alpha network reads of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from l4f_datagen.annotations.truth import TruthMask
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.core.masks import alpha_to_mask
from l4f_datagen.core.sample import Sample
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.generator import Features
from l4f_datagen.pipeline.networks import obtain_networks
from l4f_datagen.recipe import Recipe
from l4f_datagen.rendering.plan import Draw
from l4f_datagen.rendering.render import Renderer
from l4f_datagen.scoring.image_score import ImageScore, score_image
from l4f_datagen.scoring.match import Match, Predicted
from l4f_datagen.scoring.protocol import nearest

from .keys import KeyFile, check_rendered_alike, keys_of

KEPT_BYTES = 2 << 30
"""Of features in memory; those of one 1024 px image (config-f) take 0.6 GB. The rest is rendered
again."""


class Rerendered:
    """A `scoring.match.Prediction` that renders the images of ``keys``, one at a time."""

    format = "alpha network"

    def __init__(self, renderer: Renderer, keys: KeyFile, source: str) -> None:
        self.renderer, self.keys, self.source = renderer, keys, source
        self.names: Sequence[str] = [row.file for row in keys.rows]
        self._last: tuple[int, Sample] | None = None

    def load(self, place: int, size_hw: tuple[int, int] | None = None) -> Predicted:
        """Render mask and alpha of one image."""
        sample = self._sample(place)
        return Predicted(sample.mask, sample.alpha)

    def image(self, place: int) -> NDArray[np.uint8] | None:
        """Render the image itself."""
        return self._sample(place).image

    def features(self, place: int) -> Features:
        """Render one image and return what its alpha network read, as plain float32 tensors."""
        alpha = self.renderer.alpha
        if alpha is None:
            raise ValueError("there is no alpha network, so no features were read")
        read: list[Features] = []
        hook = alpha.register_forward_pre_hook(lambda network, inputs: read.append(inputs[0]))
        try:
            self._render(place)
        finally:
            hook.remove()
        # Cloned out of inference mode, so that gradients may pass through what reads them.
        return {px: [kept.clone().float() for kept in read[0][px]] for px in alpha.resolutions}

    def notes(self) -> list[str]:
        """Warn where nothing proves that the images are the annotated ones."""
        if self.keys.facts:
            return []
        return [
            "the weights that rendered the annotated images are unknown: "
            "give --keys with the folder that `sample` wrote to check them"
        ]

    def _sample(self, place: int) -> Sample:
        if self._last is None or self._last[0] != place:
            self._last = (place, self._render(place))
        return self._last[1]

    def _render(self, place: int) -> Sample:
        row = self.keys.rows[place]
        (sample,) = self.renderer.render([Draw(place + 1, row.psi, row.seed)])
        return sample


def open_rerendered(
    recipe: Recipe, names: Sequence[str], source: str, *, keys: Path | None, **where: Any
) -> Rerendered:
    """Open the networks of a recipe to render annotated images again.

    The keys are in ``names`` (of ``source``) unless ``keys`` names the key file of `sample` or its
    folder; what that says of the weights is checked. ``where`` is device and offline.
    """
    key_file = keys_of(names, source, keys)
    networks = obtain_networks(recipe, doubts="warn", **where)
    check_rendered_alike(key_file, recipe, networks.checkpoint)
    renderer = replace(networks.renderer, background=None, probes={})  # not used here
    label = f"{recipe.domain} rendered again, alpha > {recipe.output.mask_threshold:g}"
    return Rerendered(renderer, key_file, label)


@dataclass(frozen=True)
class Example:
    """One annotated image."""

    name: str  # of the image in the truth
    truth: TruthMask  # of the size of the image
    features: Features  # what the alpha network reads, a batch of one, on the device


class Annotated:
    """The annotated images of a match, as examples; features are kept up to ``kept_bytes``."""

    def __init__(self, matched: Match, kept_bytes: int = KEPT_BYTES) -> None:
        if not isinstance(matched.prediction, Rerendered):
            raise ValueError("only rendered images have features")
        self.matched, self.rendered = matched, matched.prediction
        self._kept: dict[int, Example] = {}
        self._room = kept_bytes

    def __len__(self) -> int:
        return len(self.matched.pairing.pairs)

    def __getitem__(self, number: int) -> Example:
        if number in self._kept:
            return self._kept[number]
        truth_place, place = self.matched.pairing.pairs[number]
        features, item = self.rendered.features(place), self.matched.truth[truth_place]
        height, width = self.cut(features[max(features)][-1]).shape[2:]
        truth = item.load((height, width))
        if truth.mask.shape != (height, width):
            own = "{1} x {0} pixels".format(*truth.mask.shape)
            remedy = "annotate the images as `sample` wrote them"
            subject = f"{self.matched.truth.source} {item.name}"
            raise AnnotationRefused(subject, f"{own}, its image {width} x {height}", remedy)
        example = Example(item.name, truth, features)
        size = sum(t.element_size() * t.numel() for pair in features.values() for t in pair)
        if size <= self._room:
            self._room -= size
            self._kept[number] = example
        return example

    def cut(self, canvas: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h2 w2"]:
        """Cut the image out of the generator's canvas."""
        height, width = canvas.shape[2:]
        left, top, right, bottom = self.rendered.renderer.crop or (0, 0, width, height)
        return canvas[:, :, top:bottom, left:right]


@torch.no_grad()
def score_networks(
    annotated: Annotated, networks: Mapping[str, AlphaNetwork], threshold: float
) -> dict[str, list[ImageScore]]:
    """Score alpha networks by name on every annotated image, which is rendered once for all."""
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
    """Score one network on one image."""
    truth, alpha = example.truth, annotated.cut(network(example.features))[0, 0].cpu().numpy()
    mask, matte = (nearest(p, truth.mask.shape) for p in (alpha_to_mask(alpha, threshold), alpha))
    soft = {"alpha": matte, "truth_alpha": truth.alpha}
    return score_image(example.name, truth.mask, mask, ignore=truth.ignore, **soft)
