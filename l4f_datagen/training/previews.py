"""Preview sheets of alpha training: foreground, alpha, background, composite, cut-out."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from l4f_datagen.core.sample import alpha_to_uint8, image_to_uint8
from l4f_datagen.io.figures import cut_out, grey, save_png, sheet
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import AlphaPart
from l4f_datagen.training.loop import Pictures, draw_pictures
from l4f_datagen.training.losses import composite

PREVIEW_SEED = 7
PREVIEW_BATCH = 8


class Previews:
    """The same few pictures at every snapshot, so that sheets can be leafed through.

    Args:
        part: the recipe's alpha part.
        generator: the frozen generator.
        folder: where ``preview-000050.png`` goes.
    """

    def __init__(self, part: AlphaPart, generator: Generator, folder: Path) -> None:
        few = part.training.model_copy(update={"batch": PREVIEW_BATCH, "precision": "fp32"})
        stream = np.random.RandomState(PREVIEW_SEED)
        few_part = part.model_copy(update={"training": few})
        self.pictures: Pictures = draw_pictures(few_part, generator, stream)
        self.folder = folder

    @torch.no_grad()
    def write(self, alpha_network: AlphaNetwork, step: int) -> None:
        """Write the sheet of one step; one column a picture."""
        fg_image, bg_image = self.pictures.fg_image, self.pictures.bg_image
        alpha = alpha_network(self.pictures.features)
        fakes = composite(fg_image, bg_image, alpha)
        fg, bg, comp = (_pixels(x) for x in (fg_image, bg_image, fakes))
        mattes = alpha_to_uint8(alpha[:, 0].cpu().numpy())
        cuts = [cut_out(image, matte) for image, matte in zip(fg, mattes, strict=True)]
        rows = [list(fg), [grey(matte) for matte in mattes], list(bg), list(comp), cuts]
        save_png(sheet(rows), self.folder / f"preview-{step:06d}.png")


def _pixels(images: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = (
        image_to_uint8(images).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    )
    return pixels
