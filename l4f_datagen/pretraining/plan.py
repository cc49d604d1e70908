"""The plan of a pretraining: everything that decides the weights."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

from l4f_datagen.core.errors import UsageError

Symmetry = Literal["none", "mirror", "square"]
SYMMETRIES: tuple[Symmetry, ...] = ("none", "mirror", "square")
Precision = Literal["fp32", "bf16", "fp16"]
RESOLUTIONS = tuple(2**k for k in range(5, 11))
LENGTH = ("kimg", "decay_kimg", "patience")
"""What may change when a run goes on."""
SMALL_CHANNELS = {4: 128, 8: 128, 16: 128, 32: 64, 64: 32}
"""Of the generators that ship, 1.1 million weights: what two CPU cores can train in an evening."""


@dataclass(frozen=True)
class PretrainPlan:
    """What decides the weights of a generator.

    Attributes:
        images: names the training images: a toy domain, or the sha256 of what is learnt from.
        resolution: side of the square images, 32 to 1024 px.
        symmetry: "mirror" also shows every image mirrored, "square" in all eight turns and flips,
            for what has no upright (seen from above, under a microscope).
        start: sha256 of the generator that the run starts from; None: from drawn weights.
        seed: of weights, latents and the order of the images.
        kimg: thousand real images shown at most.
        batch: images a step, on all devices together.
        accumulate: parts of a batch that are computed one after the other.
        precision: of the forward passes; weights, their average and R1 are float32.
        learning_rate: of Adam (0, 0.99) for both networks (StyleGAN2, appendix B).
        decay_kimg: over the last so many kimg the learning rate falls linearly to zero; on
            toy-cars this took the distance from .36 to .15.
        r1_gamma: weight of the gradient penalty at 64 px, where 1 was measured on the toys; it
            grows with the area of the image (Karras et al. 2020, appendix C).
        r1_interval: steps between two penalties (StyleGAN2, sec. 3.1).
        style_mixing_prob: share of batches whose w changes at a random layer (StyleGAN, sec. 3.1).
        ema_kimg: half-life of the averaged generator.
        ada_kimg: thousand images in which the probability of augmentation may rise from 0 to 1;
            None: no augmentation. The paper takes 500 for runs of 25,000 kimg; these are short.
        snapshot_kimg: thousand images between two snapshots.
        distance_samples: generated and real images in the Fréchet distance, at most.
        patience: snapshots without a smaller distance after which the rate begins to fall.
    """

    images: str
    resolution: int = 64
    symmetry: Symmetry = "mirror"
    start: str | None = None
    seed: int = 0
    kimg: float = 60
    batch: int = 16
    accumulate: int = 1
    precision: Precision = "fp32"
    learning_rate: float = 2e-3
    decay_kimg: float = 15
    r1_gamma: float = 1.0
    r1_interval: int = 16
    style_mixing_prob: float = 0.9
    ema_kimg: float = 5.0
    ada_kimg: float | None = 100
    snapshot_kimg: float = 4
    distance_samples: int = 2000
    patience: int = 6

    @property
    def identity(self) -> str:
        """Name of the run, however long it is."""
        named = {k: v for k, v in asdict(self).items() if k not in LENGTH}
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()

    @property
    def gamma(self) -> float:
        """Weight of the gradient penalty at this resolution."""
        return self.r1_gamma * (self.resolution / 64) ** 2

    def steps(self, kimg: float) -> int:
        """Return the number of steps that show so many thousand images."""
        return round(kimg * 1000 / self.batch)

    def __post_init__(self) -> None:
        """Check what a user can get wrong.

        Raises:
            UsageError: a side that StyleGAN2 does not draw, a symmetry or precision that is not
                there, a batch that does not divide.
        """
        for name, known in (
            ("resolution", RESOLUTIONS),
            ("symmetry", SYMMETRIES),
            ("precision", ("fp32", "bf16", "fp16")),
        ):
            value = getattr(self, name)
            if value not in known:
                remedy = f"choose from {', '.join(map(str, known))}"
                raise UsageError(f"--{name}", f"is {value}", remedy)
        if self.batch < 4 or self.batch % self.accumulate:
            problem = f"a batch of {self.batch} cannot be cut into {self.accumulate} parts"
            raise UsageError("--batch", problem, "give a multiple of --accumulate, at least 4")


def small_channels(resolution: int) -> dict[int, int]:
    """Return the widths of a small generator: half as wide at every doubling, at least 16."""
    sides = [2**k for k in range(2, resolution.bit_length())]
    return {side: SMALL_CHANNELS.get(side, max(16, 2048 // side)) for side in sides}
