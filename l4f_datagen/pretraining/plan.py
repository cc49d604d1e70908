"""The plan of a pretraining: everything that decides the weights."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from l4f_datagen.core.errors import UsageError

Symmetry = Literal["none", "mirror", "square"]
Precision = Literal["fp32", "bf16", "fp16"]
CHOICES = {
    "resolution": tuple(2**k for k in range(5, 11)),
    "symmetry": get_args(Symmetry),
    "precision": get_args(Precision),
}
LENGTH = ("kimg", "decay_kimg", "patience")  # what may change when a run goes on


@dataclass(frozen=True)
class PretrainPlan:
    """What decides the weights; UsageError for what no StyleGAN2 has, or a batch that is uneven."""

    images: str  # names them: a toy domain, or the sha256 of what is learnt from
    resolution: int = 64  # side of the square images, px
    symmetry: Symmetry = "mirror"
    """Mirror also shows every image mirrored, square in all eight turns and flips, for what has no
    upright (seen from above, under a microscope)."""
    start: str | None = None  # names the networks that the run starts from; None: drawn weights
    seed: int = 0  # of weights, latents and the order of the images
    kimg: float = 60  # thousand real images shown at most
    batch: int = 16  # images a step, on all devices together
    accumulate: int = 1  # parts of a batch that are computed one after the other
    precision: Precision = "fp32"  # of the forward passes; weights, average and R1 are float32
    learning_rate: float = 2e-3  # of Adam (0, 0.99) for both networks (StyleGAN2, appendix B)
    decay_kimg: float = 15
    """Over the last so many kimg the learning rate falls linearly to zero; on toy-cars this took
    the distance from .36 to .15."""
    r1_gamma: float = 1.0
    """Weight of the gradient penalty at 64 px, where 1 was measured on the toys; it grows with the
    area of the image (Karras et al. 2020, appendix C)."""
    r1_interval: int = 16  # steps between two penalties (StyleGAN2, sec. 3.1)
    style_mixing_prob: float = 0.9  # share of batches whose w changes midway (StyleGAN, sec. 3.1)
    ema_kimg: float = 5.0  # half-life of the averaged generator
    ada_kimg: float | None = 100
    """Thousand images in which the probability of augmentation may rise from 0 to 1; None: no
    augmentation. The paper takes 500 for runs of 25,000 kimg; these are short."""
    snapshot_kimg: float = 4  # thousand images between two snapshots
    distance_samples: int = 2000  # generated and real images in the Fréchet distance, at most
    patience: int = 6  # snapshots without a smaller distance after which the rate begins to fall

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
        """Check what a user can get wrong."""
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                remedy = f"choose from {', '.join(map(str, known))}"
                raise UsageError(f"--{name}", f"is {value}", remedy)
        if self.batch < 4 or self.batch % self.accumulate:
            problem = f"a batch of {self.batch} cannot be cut into {self.accumulate} parts"
            raise UsageError("--batch", problem, "give a multiple of --accumulate, at least 4")
