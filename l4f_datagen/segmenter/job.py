"""One call of ``segmenter train``: from a dataset folder to a trained network."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from l4f_datagen.core.errors import UsageError
from l4f_datagen.dataset.manifest import read_manifest
from l4f_datagen.models.devices import choose_device
from l4f_datagen.segmenter.run import material_of, run_training
from l4f_datagen.segmenter.training import Plan
from l4f_datagen.segmenter.training_set import open_training_set

logger = logging.getLogger(__name__)

DEFAULT_STEPS = 1000
LARGEST_DEFAULT = 256
"""Longer side in px that larger datasets are trained at unless another is asked for."""


@dataclass(frozen=True)
class TrainingJob:
    """What ``segmenter train`` was asked for.

    Attributes:
        dataset: folder of a finished dataset.
        out: folder of the run.
        steps: length; or else
        epochs: length in passes over the samples; 1,000 steps without either.
        size: longer side in px; None takes the dataset's, at most 256.
        batch: images a step.
        width: channels of the U-Net at full resolution.
        seed: of weights, order and augmentation.
        device: "auto", "cpu", "cuda", "cuda:0", "mps".
    """

    dataset: Path
    out: Path
    steps: int | None = None
    epochs: float | None = None
    size: int | None = None
    batch: int = 32
    width: int = 16
    seed: int = 0
    device: str = "auto"


def train_on_dataset(job: TrainingJob) -> Path:
    """Train and return the file of the segmenter.

    Raises:
        UsageError: a dataset that is not finished or foreign, or a folder that cannot be used.
        InputRefused: a dataset that is empty or damaged.
    """
    device = choose_device(job.device)
    read_manifest(job.dataset)  # before a folder is made
    if job.out.resolve().is_relative_to(job.dataset.resolve()):
        raise UsageError(str(job.out), "lies inside the dataset", "name a folder elsewhere")
    with TemporaryDirectory(prefix="l4f-") as scratch:
        samples = open_training_set(job.dataset, Path(scratch))
        samples.size = job.size or min(samples.size, LARGEST_DEFAULT)
        material = material_of(samples)
        steps = job.steps or DEFAULT_STEPS
        if job.epochs is not None:
            steps = max(1, math.ceil(job.epochs * len(material.train) / job.batch))
        plan = Plan(job.seed, steps, job.batch, job.width)
        logger.info(
            f"{len(material.train)} samples to learn from, {len(material.held_out)} held out, "
            f"{samples.size} px, {steps} steps of {job.batch} on {device}"
        )
        return run_training(material, plan, job.out, device=device)
