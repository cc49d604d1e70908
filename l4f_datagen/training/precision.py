"""Half precision in training: which passes run in it, and how small gradients survive float16.

Weights, their average, losses and the R1 penalty are float32 in any case; autocast takes the
forward passes of generator, alpha network and discriminator. Gradients below 6e-8 are zero in
float16, so losses are scaled up before they are walked back through; a scale under which one
passes 65504 is halved, and the step it spoilt left out (Micikevicius et al. 2018, sec. 3.2).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

from l4f_datagen.models.generator import Generator, Half, Mute, Synthesis
from l4f_datagen.rendering.render import HALF_RESOLUTIONS

FIRST_SCALE, SCALE_STEPS = 2.0**10, 100
"""A training of 300 steps has none to waste on finding the scale from torch's 65536 down."""
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Context for forward passes of alpha network or discriminator.

    One for passes with a gradient, another for those without: autocast keeps the weights it casts.
    """
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, DTYPES[precision])


@torch.no_grad()
def synthesize(
    generator: Generator,
    ws: Float[Tensor, "batch num_ws w_dim"],
    noise: Sequence[Tensor | None],
    precision: str,
    mute: Mute | None = None,
) -> Synthesis:
    """Run the generator's trunk as ``sample`` does: in float16 the top resolutions alone.

    The image is float32; features come in the precision they were made in.
    """
    half = None
    if precision == "fp16":
        half = Half(torch.float16, generator.spec.resolution // 2 ** (HALF_RESOLUTIONS - 1))
    with autocast(precision, ws.device) if precision == "bf16" else nullcontext():
        synthesis: Synthesis = generator.synthesis(ws, noise, mute, half=half)
    return synthesis


def new_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Return the loss scaler of one optimiser; only with fp16 does it do anything."""
    return torch.amp.GradScaler(
        device.type,
        init_scale=FIRST_SCALE,
        growth_interval=SCALE_STEPS,
        enabled=precision == "fp16",
    )
