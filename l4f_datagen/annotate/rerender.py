"""Re-render: the masks of annotated keys, drawn anew by the networks of a recipe."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.annotate.images import picture_facts
from l4f_datagen.annotate.key_file import KeyFile, keys_in_names, read_key_file
from l4f_datagen.checkpoints.open import GeneratorCheckpoint
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.core.sample import Sample
from l4f_datagen.models.generator import Features
from l4f_datagen.pipeline.networks import open_networks
from l4f_datagen.recipe import Recipe
from l4f_datagen.rendering.plan import Draw
from l4f_datagen.rendering.render import Renderer, renderer_of
from l4f_datagen.scoring.match import Predicted


class Rerendered:
    """A `scoring.match.Prediction` that renders; one picture at a time.

    Args:
        renderer: generator and alpha network with the recipe's settings.
        keys: the pictures.
        source: what renders them, in words.
    """

    format = "alpha network"

    def __init__(self, renderer: Renderer, keys: KeyFile, source: str) -> None:
        self.renderer, self.keys, self.source = renderer, keys, source
        self.names: Sequence[str] = [row.file for row in keys.rows]
        self._last: tuple[int, Sample] | None = None

    def draw(self, place: int) -> Draw:
        """Psi and seed of one picture."""
        row = self.keys.rows[place]
        return Draw(place + 1, row.psi, row.seed)

    def load(self, place: int, size_hw: tuple[int, int] | None = None) -> Predicted:
        """Render mask and alpha of one picture."""
        sample = self._sample(place)
        return Predicted(sample.mask, sample.alpha)

    def image(self, place: int) -> NDArray[np.uint8] | None:
        """Render the picture itself."""
        return self._sample(place).image

    def features(self, place: int) -> Features:
        """Render one picture and give what its alpha network read, as plain float32 tensors.

        Raises:
            ValueError: there is no alpha network to read anything.
        """
        if self.renderer.alpha is None:
            raise ValueError("features are what an alpha network reads, and there is none")
        read: list[Features] = []
        hook = self.renderer.alpha.register_forward_pre_hook(
            lambda network, inputs: read.append(inputs[0])
        )
        try:
            self.renderer.render([self.draw(place)])
        finally:
            hook.remove()
        wanted = self.renderer.alpha.resolutions
        # Cloned out of inference mode, so that gradients may pass through what reads them.
        return {px: [kept.clone().float() for kept in read[0][px]] for px in wanted}

    def notes(self) -> list[str]:
        """Say where nothing vouches that the pictures are the annotated ones."""
        if self.keys.facts:
            return []
        return [
            "nothing says which weights drew the annotated pictures: give --keys with the folder "
            "`sample` wrote to have that checked"
        ]

    def _sample(self, place: int) -> Sample:
        if self._last is None or self._last[0] != place:
            (sample,) = self.renderer.render([self.draw(place)])
            self._last = (place, sample)
        return self._last[1]


def check_drawn_alike(keys: KeyFile, recipe: Recipe, checkpoint: GeneratorCheckpoint) -> None:
    """Refuse to score pictures that would be drawn otherwise today.

    Raises:
        AnnotationRefused: another generator, noise mode, class, crop ... than the key file says.
    """
    today = picture_facts(recipe, checkpoint)["drawn_with"]
    for name, then in keys.facts.get("drawn_with", {}).items():
        now = today.get(name)
        if then == now:
            continue
        if name in ("generator.fingerprint", "sampling.latents"):
            problem = f"its pictures were drawn with another {name} than this recipe's"
            remedy = "give the file they were drawn with"
        else:
            problem = f"its pictures were drawn with {name} {then!r:.40}, now it is {now!r:.40}"
            remedy = f"give --set {name}={'null' if then is None else then}"
        raise AnnotationRefused(keys.source, problem, remedy)


def open_rerendered(
    recipe: Recipe,
    names: Sequence[str],
    source: str,
    *,
    keys: Path | None,
    device: str,
    offline: bool,
) -> Rerendered:
    """Open the networks of a recipe to render annotated pictures anew.

    Args:
        recipe: resolved.
        names: of the annotated pictures; they hold the keys where no key file does.
        source: of these names, for errors.
        keys: key file of `sample` or its folder; what it says of the weights is checked.
        device: "auto", "cpu", "cuda", ...
        offline: fetch nothing.

    Raises:
        L4FError: from weights or keys, in words.
    """
    key_file = keys_in_names(names, source) if keys is None else read_key_file(keys)
    networks = open_networks(recipe, device, offline=offline)
    check_drawn_alike(key_file, recipe, networks.checkpoint)
    renderer = renderer_of(recipe, networks.generator, networks.alpha)
    renderer = replace(renderer, background=None, probes={})  # nobody looks at them here
    label = f"{recipe.domain} rendered anew, alpha > {recipe.output.mask_threshold:g}"
    return Rerendered(renderer, key_file, label)
