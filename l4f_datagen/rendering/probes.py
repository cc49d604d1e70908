"""Probes: scores that cost a render or another network, measured where their filter is on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from l4f_datagen.checkpoints.open import discriminator_beside, open_own_discriminator
from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import FiltersPart, GeneratorPart
from l4f_datagen.recipe.domains import weights_path

RESAMPLE_STREAM = 3
MIRROR_AT = 4  # the layout is mirrored at this part of the image's side


@dataclass(frozen=True)
class ProbeContext:
    """One rendered block, still on its device, and a function that renders it in another way."""

    generator: Generator
    seeds: Sequence[int]
    noise: Sequence[Tensor | None]  # the noise inputs it had
    image: Tensor  # ``batch 3 h w`` in [-1, 1], the whole canvas
    mask: Tensor  # bool ``batch h w``, cropped as the sample's
    # Noise inputs and a resolution to mirror at (or None) -> the mask of that render.
    rerender: Callable[[Sequence[Tensor | None], int | None], Tensor]


Probe = Callable[[ProbeContext], Float[Tensor, " batch"]]


def noise_iou(context: ProbeContext) -> Float[Tensor, " batch"]:
    """IoU of each mask with the one that freshly drawn noise inputs give.

    Noise decides texture and hair, not what is object: a mask that changes with it is a guess.
    """
    named = [np.array([seed, RESAMPLE_STREAM], dtype=np.uint32) for seed in context.seeds]
    noise = context.generator.noise("random", [np.random.RandomState(name) for name in named])
    return paired_iou(context.mask, context.rerender(noise, None))


def flip_iou(context: ProbeContext) -> Float[Tensor, " batch"]:
    """IoU of each mask with that of the mirrored layout, mirrored back.

    The trunk is mirrored at a quarter of the image's side (at least 4 px), and the finer layers
    finish a mirrored object. To mirror all features instead would show nothing: the alpha network
    has 1x1 convolutions and symmetric enlargement alone, so its answer is mirrored exactly.
    """
    side = max(context.generator.spec.resolution // MIRROR_AT, 4)
    return paired_iou(context.mask, context.rerender(context.noise, side).flip(2))


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

    ``discriminator`` is the logit of the one that `pretrain` wrote beside the generator, or of that
    in its file: higher is more like its training images. UsageError where there is none that fits.
    """
    probes: dict[str, Probe] = {}
    if filters.discriminator is not None:
        path = weights_path(part.weights or "", "generator")
        opened = open_own_discriminator(
            discriminator_beside(path) or path,
            generator.spec.resolution,
            setting="filters.discriminator",
            instead="switch this filter off",
        )
        judge = opened.build().to(generator.w_avg.device)
        # Each image as a batch of one, whose minibatch statistic is 0, so that no score depends on
        # its neighbours. The logits differ from those in training; their order is what counts.
        probes["discriminator"] = lambda context: judge(context.image.float(), group=1)
    if filters.noise is not None:
        probes["noise_iou"] = noise_iou
    if filters.flip is not None:
        probes["flip_iou"] = flip_iou
    return probes
