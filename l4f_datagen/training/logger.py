"""What a training writes for people while it runs: log, curves, previews, TensorBoard, progress."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from l4f_datagen.core.progress import Meter
from l4f_datagen.core.sample import alpha_to_uint8, image_to_uint8
from l4f_datagen.io.figures import cut_out, explained, grey, save_png, sheet
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import AlphaPart
from l4f_datagen.training.history import CURVES, FINAL_PREVIEW, LOG, read_log, write_curves
from l4f_datagen.training.images import draw_latents, render_batch
from l4f_datagen.training.losses import composite
from l4f_datagen.training.sources import Background
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
    """Writes what a training measures and shows.

    Args:
        part: the recipe's alpha part.
        generator: the frozen generator.
        background: of the previews.
        out: folder of the training.
        step: where the training starts or resumes.
    """

    def __init__(
        self, part: AlphaPart, generator: Generator, background: Background, out: Path, step: int
    ) -> None:
        self.out = out
        self.previews = Previews(part, generator, background, out)
        self.log = append_log(out / LOG)
        self.events = Events(out / "events")
        self.meter = Meter(part.training.steps, "alpha training", "steps", initial=step)

    def note(self, facts: StepFacts) -> None:
        """Log one step."""
        self.log(facts)
        self.events.add(facts)
        if facts.step % CURVES_STEPS == 0:
            self._draw({}, None)
        self.meter.advance(
            facts.step - self.meter.done,  # negative where a collapsed training starts again
            coverage=f"{facts.alpha_coverage:.2f}",
            uncertainty=f"{facts.binarization:.3f}",
        )

    def close(self, scores: Mapping[int, float] | None = None, kept: int | None = None) -> None:
        """Close progress and event files, and draw the curves: they show a collapse too.

        Args:
            scores: of the snapshots by step, where the training has chosen by them.
            kept: step of the snapshot that was kept.
        """
        self.meter.close()
        self.events.close()
        # The training ends here, perhaps because the disk is full: show its own error.
        with suppress(OSError, ValueError):
            self._draw(scores or {}, kept)

    def _draw(self, scores: Mapping[int, float], kept: int | None) -> None:
        log = self.out / LOG
        if log.exists():
            write_curves(read_log(log), self.out / "curves.png", scores, kept)


class Previews:
    """The same few images at every snapshot, so that sheets can be compared.

    Args:
        part: the recipe's alpha part.
        generator: the frozen generator.
        background: of the composites.
        folder: where ``preview-000050.png`` goes.
    """

    def __init__(
        self, part: AlphaPart, generator: Generator, background: Background, folder: Path
    ) -> None:
        draws = draw_latents(PREVIEW_BATCH, generator, np.random.RandomState(PREVIEW_SEED))
        # Features in float32, whatever the training's precision: the network reads them so.
        training = part.training.model_copy(update={"precision": "fp32"})
        exact = part.model_copy(update={"training": training})
        self.images = render_batch(exact, generator, background, draws)
        self.folder = folder

    @torch.no_grad()
    def write(self, alpha_network: AlphaNetwork, step: int | None) -> None:
        """Write the sheet of one step, or with None of the result; a column for each image.

        Rows: image, alpha, background, composite, cut-out.
        """
        fg_image, bg_image = self.images.fg_image, self.images.bg_image
        alpha = alpha_network(self.images.features)
        fakes = composite(fg_image, bg_image, alpha)
        fg, bg, comp = (_pixels(x) for x in (fg_image, bg_image, fakes))
        mattes = alpha_to_uint8(alpha[:, 0].cpu().numpy())
        cuts = [cut_out(image, matte) for image, matte in zip(fg, mattes, strict=True)]
        rows = [list(fg), [grey(matte) for matte in mattes], list(bg), list(comp), cuts]
        title = "Alpha network as it was kept"
        if step is not None:
            title = f"Alpha network after step {step}; self-training makes it hard at the end"
        page = explained(sheet(rows), title, PREVIEW_NOTES, rows=PREVIEW_ROWS)
        name = FINAL_PREVIEW if step is None else f"preview-{step:06d}.png"
        save_png(page, self.folder / name)


class Events:
    """TensorBoard's event files beside the log, where tensorboard is installed."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.writer = None
        else:
            self.writer = SummaryWriter(str(folder))

    def add(self, facts: StepFacts) -> None:
        """Add a step; each attempt has tags of its own."""
        if self.writer is None:
            return
        for name in CURVES:
            tag = f"attempt-{facts.attempt}/{name}"
            self.writer.add_scalar(tag, getattr(facts, name), facts.step)

    def close(self) -> None:
        """Write what is still held."""
        if self.writer is not None:
            self.writer.close()


def append_log(path: Path) -> Callable[[StepFacts], None]:
    """Return a writer of one JSON line for each step; lines of steps that are redone are cut."""
    opened = False

    def order(row: dict[str, Any]) -> tuple[int, int]:
        return row["attempt"], row["step"]

    def note(facts: StepFacts) -> None:
        nonlocal opened
        if not opened:
            opened = True
            rows = read_log(path) if path.exists() else []
            past = [row for row in rows if order(row) < order(asdict(facts))]
            path.write_text("".join(json.dumps(row) + "\n" for row in past))
        with path.open("a") as log:
            log.write(json.dumps(asdict(facts)) + "\n")

    return note


def _pixels(images: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = (
        image_to_uint8(images).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    )
    return pixels
