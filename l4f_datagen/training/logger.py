"""What a training writes for people while it runs: log, curves, previews, TensorBoard, progress."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l4f_datagen.core.progress import Meter
from l4f_datagen.core.sample import alpha_to_uint8, image_to_uint8
from l4f_datagen.io.figures import cut_out, explained, grey, save_png, sheet
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import AlphaPart
from l4f_datagen.training.history import CURVES, FINAL_PREVIEW, LOG, read_log, write_curves
from l4f_datagen.training.losses import composite
from l4f_datagen.training.sources import Background, draw_latents, render_batch
from l4f_datagen.training.state import StepFacts

CURVES_STEPS = 50
"""How often the curves are drawn while the training runs; at its end in any case."""
PREVIEW_SEED, PREVIEW_BATCH = 7, 8
PREVIEW_ROWS = ("image", "alpha", "background", "composite", "cut-out")
PREVIEW_NOTES = (
    "One image a column. Good: alpha is white on the object and black elsewhere; the background, "
    "which the generator draws with its trunk muted, shows no object; the composite, the image's "
    "object over another background, looks real; the cut-out is the whole object and no ground."
)


class TrainingLogger:
    """Writes in ``out`` what a training measures and shows that starts or resumes at a step.

    Previews show the same few images at every snapshot, so that sheets can be compared.
    """

    def __init__(
        self, part: AlphaPart, generator: Generator, background: Background, out: Path, step: int
    ) -> None:
        self.out, self.log = out, out / LOG
        draws = draw_latents(PREVIEW_BATCH, generator, np.random.RandomState(PREVIEW_SEED))
        # Features in float32, whatever the training's precision: the network reads them so.
        training = part.training.model_copy(update={"precision": "fp32"})
        exact = part.model_copy(update={"training": training})
        self.images = render_batch(exact, generator, background, draws)
        self.meter = Meter(part.training.steps, "alpha training", "steps", initial=step)
        self._trimmed = False
        self._events: Any = None
        with suppress(ImportError):  # beside the log, where tensorboard is installed
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(out / "events"))

    def note(self, facts: StepFacts) -> None:
        """Log one step; lines of steps that are redone are cut."""
        row = asdict(facts)
        if not self._trimmed:
            self._trimmed, first = True, (facts.attempt, facts.step)
            rows = read_log(self.log) if self.log.exists() else []
            past = [old for old in rows if (old["attempt"], old["step"]) < first]
            self.log.write_text("".join(json.dumps(old) + "\n" for old in past))
        with self.log.open("a") as log:
            log.write(json.dumps(row) + "\n")
        if self._events:
            for name in CURVES:
                self._events.add_scalar(f"attempt-{facts.attempt}/{name}", row[name], facts.step)
        if facts.step % CURVES_STEPS == 0:
            self._draw({}, None)
        self.meter.advance(
            facts.step - self.meter.done,  # negative where a collapsed training starts again
            coverage=f"{facts.alpha_coverage:.2f}",
            uncertainty=f"{facts.binarization:.3f}",
        )

    def close(self, scores: Mapping[int, float], kept: int | None) -> None:
        """Close progress and event files, and draw the curves: they show a collapse too.

        With the scores of the snapshots by step, where the training has chosen by them, and the
        step of the one that was kept.
        """
        self.meter.close()
        if self._events:
            self._events.close()
        # The training ends here, perhaps because the disk is full: show its own error.
        with suppress(OSError, ValueError):
            self._draw(scores, kept)

    def _draw(self, scores: Mapping[int, float], kept: int | None) -> None:
        if self.log.exists():
            write_curves(read_log(self.log), self.out / "curves.png", scores, kept)

    @torch.no_grad()
    def preview(self, network: AlphaNetwork, at: StepFacts | None = None) -> None:
        """Write the sheet of one step, or of the result, as ``PREVIEW_ROWS`` and ``_NOTES`` say."""
        fg_image, bg_image = self.images.fg_image, self.images.bg_image
        alpha = network(self.images.features)
        mixed = composite(fg_image, bg_image, alpha)
        fg, bg, comp = (list(_pixels(images)) for images in (fg_image, bg_image, mixed))
        mattes = alpha_to_uint8(alpha[:, 0].cpu().numpy())
        cuts = [cut_out(image, matte) for image, matte in zip(fg, mattes, strict=True)]
        title, name = "Alpha network as it was kept", FINAL_PREVIEW
        if at:
            words = f"step {at.step} of attempt {at.attempt}"
            title = f"Alpha network after {words}; self-training makes it hard at the end"
            name = f"preview-{at.attempt:02d}-{at.step:06d}.png"
        rows = sheet([fg, [grey(matte) for matte in mattes], bg, comp, cuts])
        page = explained(rows, title, PREVIEW_NOTES, rows=PREVIEW_ROWS)
        save_png(page, self.out / name)


def _pixels(images: Tensor) -> NDArray[np.uint8]:
    pixels = image_to_uint8(images).permute(0, 2, 3, 1).contiguous().cpu()
    return np.asarray(pixels.numpy(), np.uint8)
