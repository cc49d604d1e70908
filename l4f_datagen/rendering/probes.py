"""Probes: scores that cost a render or another network, measured where their filter is on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from l4f_datagen.checkpoints.open import open_own_discriminator
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import FiltersPart, GeneratorPart
from l4f_datagen.recipe.domains import weights_path

RESAMPLE_STREAM = 3
MIRROR_AT = 4
"""The layout is mirrored at this part of the image's side."""


@dataclass(frozen=True)
class ProbeContext:
    """One rendered block, still on its device, and a function that renders it in another way.

    Attributes:
        generator: what rendered it.
        seeds: one a sample.
        noise: the noise inputs it had.
        image: ``batch 3 h w`` in [-1, 1], the whole canvas.
        mask: bool ``batch h w``, cropped as the sample's.
        rerender: noise inputs and a resolution to mirror at (or None) -> the mask of that render.
    """

    generator: Generator
    seeds: Sequence[int]
    noise: Sequence[Tensor | None]
    image: Tensor
    mask: Tensor
    rerender: Callable[[Sequence[Tensor | None], int | None], Tensor]


Probe = Callable[[ProbeContext], Float[Tensor, " batch"]]


def noise_iou(context: ProbeContext) -> Float[Tensor, " batch"]:
    """IoU of each mask with the one that freshly drawn noise inputs give.

    Noise decides texture and hair, not what is object: a mask that changes with it is a guess.
    """
    streams = [
        np.random.RandomState(np.array([seed, RESAMPLE_STREAM], dtype=np.uint32))
        for seed in context.seeds
    ]
    return paired_iou(
        context.mask, context.rerender(context.generator.noise("random", streams), None)
    )


def flip_iou(context: ProbeContext) -> Float[Tensor, " batch"]:
    """IoU of each mask with that of the mirrored layout, mirrored back.

    The trunk is mirrored at a quarter of the image's side (at least 4 px), and the finer layers
    finish a mirrored object. To mirror all features instead would show nothing: the alpha network
    has 1x1 convolutions and symmetric enlargement alone, so its answer is mirrored exactly.
    """
    side = max(context.generator.spec.resolution // MIRROR_AT, 4)
    return paired_iou(context.mask, context.rerender(context.noise, side).flip(2))


def discriminator_probe(discriminator: Discriminator) -> Probe:
    """Return the probe of a discriminator's logit: higher is more like its training images.

    Each image is scored as a batch of one, whose minibatch statistic is 0, so that no score depends
    on its neighbours. The logits differ from those in training; their order is what counts.
    """
    return lambda context: discriminator(context.image.float(), group=1)


def paired_iou(
    first: Bool[Tensor, "batch h w"], second: Bool[Tensor, "batch h w"]
) -> Float[Tensor, " batch"]:
    """IoU of masks pair by pair, in [0, 1]; 1 where both are empty."""
    both = (first & second).flatten(1).sum(dim=1).float()
    either = (first | second).flatten(1).sum(dim=1).float()
    return torch.where(either > 0, both / either.clamp(min=1), torch.ones_like(both))


def open_probes(
    filters: FiltersPart, part: GeneratorPart, generator: Generator
) -> dict[str, Probe]:
    """Return score name -> probe for the filters that are on.

    Raises:
        UsageError: the discriminator is asked for and the generator's file has none that fits.
    """
    probes: dict[str, Probe] = {}
    if filters.discriminator is not None:
        probes["discriminator"] = discriminator_probe(own_discriminator(part, generator))
    if filters.noise is not None:
        probes["noise_iou"] = noise_iou
    if filters.flip is not None:
        probes["flip_iou"] = flip_iou
    return probes


def own_discriminator(part: GeneratorPart, generator: Generator) -> Discriminator:
    """Open the discriminator in the generator's own file, on its device.

    Raises:
        UsageError: there is none, or one for another size.
    """
    opened = open_own_discriminator(
        weights_path(part.weights or "", "generator"),
        generator.spec.resolution,
        setting="filters.discriminator",
        instead="switch this filter off",
    )
    return opened.build().to(generator.w_avg.device)
