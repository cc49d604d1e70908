"""Backgrounds for the composites: the same generator with its trunk muted."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from l4f_datagen.stylegan2.generator import Generator, Mute, Synthesis

Background = Callable[
    [Generator, Float[Tensor, "batch num_ws w_dim"], Sequence[Tensor | None]],
    Float[Tensor, "batch 3 h w"],
]


@torch.no_grad()
def muted_background(
    generator: Generator,
    ws: Float[Tensor, "batch num_ws w_dim"],
    noise: Sequence[Tensor | None],
    *,
    mute: Mute,
) -> Float[Tensor, "batch 3 h w"]:
    """Return background images: synthesis with the trunk's start zeroed (Labels4Free, sec. 3.1).

    What is left is stationary: colour and texture from ws, structure from the noise alone.
    """
    synthesis: Synthesis = generator.synthesis(ws, noise, mute)
    return synthesis.image


BACKGROUNDS: dict[str, Background] = {
    "conv1": partial(muted_background, mute="conv1"),
    "const": partial(muted_background, mute="const"),
}
