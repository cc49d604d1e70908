"""What a training run tells while it goes: log, curves, previews, TensorBoard, progress."""

import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from l4f_datagen.core.progress import Meter
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import AlphaPart
from l4f_datagen.training.curves import Events, read_log, write_curves
from l4f_datagen.training.previews import Previews
from l4f_datagen.training.state import StepFacts

logger = logging.getLogger(__name__)

ESTIMATE_AFTER = 5
"""Steps after which the time left can be told."""
CURVES_STEPS = 50
"""How often the curves are drawn anew while the training runs; at its end in any case."""


class Diary:
    """Everything a run writes for eyes.

    Args:
        part: the recipe's alpha part.
        generator: the frozen generator.
        out: folder of the run.
        step: where the run starts or resumes.
    """

    def __init__(
        self,
        part: AlphaPart,
        generator: Generator,
        out: Path,
        step: int,
    ) -> None:
        self.steps, self.out = part.training.steps, out
        self.previews = Previews(part, generator, out)
        self.log = append_log(out / "log.jsonl")
        self.events = Events(out / "events")
        self.attempt, self.first, self.started = 0, step, time.monotonic()
        self.meter = Meter(self.steps, "alpha training", "steps", initial=step)

    def note(self, facts: StepFacts) -> None:
        """Take down one step."""
        self.log(facts)
        self.events.add(facts)
        if facts.step % CURVES_STEPS == 0:
            self._draw()
        self.meter.advance(
            facts.step - self.meter.done,  # negative where a collapsed training starts again
            coverage=f"{facts.alpha_coverage:.2f}",
            undecided=f"{facts.binarization:.3f}",
        )
        if facts.attempt != self.attempt:
            # The clock starts behind the first step: that one is slow, and so is all before it.
            self.attempt, self.first, self.started = facts.attempt, facts.step, time.monotonic()
        if facts.step - self.first == ESTIMATE_AFTER:
            pace = (time.monotonic() - self.started) / ESTIMATE_AFTER
            minutes = pace * (self.steps - facts.step) / 60
            logger.info(f"alpha training: {self.steps} steps, about {minutes:.1f} minutes left")

    def illustrate(self, network: AlphaNetwork, step: int) -> None:
        """Draw the preview sheet of a snapshot."""
        self.previews.write(network, step)

    def close(self) -> None:
        """Close progress bar and event files; the curves tell of a collapse too."""
        self.meter.close()
        self.events.close()
        # The run ends here, perhaps because the disk is full: its own error is the one to show.
        with suppress(OSError, ValueError):
            self._draw()

    def _draw(self) -> None:
        log = self.out / "log.jsonl"
        if log.exists():
            write_curves(read_log(log), self.out / "curves.png")


def append_log(path: Path) -> Callable[[StepFacts], None]:
    """Return a writer of one JSON line a step; lines of an undone future are cut."""
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
