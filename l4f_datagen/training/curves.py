"""The course of a training as a picture: losses, coverage, binarisation over the steps."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from l4f_datagen.io.disk import staged
from l4f_datagen.training.state import StepFacts

PANELS = {
    "loss": ("d_loss", "realism"),
    "mean alpha": ("alpha_coverage",),
    "mean min(alpha, 1 - alpha)": ("binarization",),
}
WIDTH_INCHES, PANEL_INCHES, DPI = 8.0, 2.2, 100


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the rows of ``log.jsonl``; a last line that was cut short does not count."""
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def write_curves(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw ``curves.png``, staged and renamed; every attempt has lines of its own."""
    attempts = sorted({row["attempt"] for row in rows})
    with style.context("default"):  # whatever the user's matplotlibrc says
        figure = Figure(figsize=(WIDTH_INCHES, PANEL_INCHES * len(PANELS)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(PANELS), 1, sharex=True)
        for axes, (title, names) in zip(panels, PANELS.items(), strict=True):
            for attempt in attempts:
                own = [row for row in rows if row["attempt"] == attempt]
                for name in names:
                    label = name if len(attempts) == 1 else f"{name}, attempt {attempt}"
                    values = [row[name] for row in own]
                    axes.plot([row["step"] for row in own], values, label=label, linewidth=1)
            axes.set_ylabel(title)
            axes.grid(alpha=0.3)
            axes.legend(fontsize="small")
        panels[1].set_ylim(0, 1)
        panels[-1].set_xlabel("step")
        with staged(path) as file:
            figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})


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
        """Add a step; attempts are told apart by their tags."""
        if self.writer is None:
            return
        for name in ("d_loss", "realism", "binarization", "alpha_coverage"):
            tag = f"attempt-{facts.attempt}/{name}"
            self.writer.add_scalar(tag, getattr(facts, name), facts.step)

    def close(self) -> None:
        """Write what is still held."""
        if self.writer is not None:
            self.writer.close()
