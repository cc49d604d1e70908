"""Recipe part: the alpha network and its training."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from l4f_datagen.recipe.values import Number, Part, Positive, Psi, Share, Weight, Whole


class TrainingPart(Part):
    """How the alpha network is trained (Labels4Free, sec. 3.3; names of the losses there)."""

    steps: Positive = 300
    batch: Positive = 16
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] = 0
    learning_rate: Annotated[Number, Field(gt=0, le=1)] = 2e-3
    psi: Psi = 1.0
    """Truncation of the foreground; the background is never truncated in training."""
    reals: Literal["generator", "folder", "toy-cars"] = "generator"
    """What the discriminator takes for real."""
    reals_folder: str | None = None
    """Folder of images for ``reals: folder``."""
    reals_psi: Psi = 1.0
    """Truncation of the stand-in reals for ``reals: generator``."""
    mirror: bool = True
    """Show the discriminator mirrored images too; off where left and right differ (digits)."""
    adversarial_weight: Weight = 1.0
    binarization_weight: Weight = 1.2
    """Weight of mean min(alpha, 1 - alpha)."""
    fg_coverage_weight: Weight | None = None
    """Weight of the foreground-coverage hinge; None: the binarisation weight, as the paper."""
    min_fg_coverage: Share = 0.25
    bg_coverage_weight: Weight = 0.0
    min_bg_coverage: Share = 0.25
    r1_gamma: Weight = 10.0
    d_reg_interval: Positive = 16
    real_score_weight: Weight = 0.0
    """The authors' code adds 1.0 x D(real[0]) to every R1 step; 1.0 reproduces it."""
    ema_steps: Weight = 0.0
    """Half-life of an average over alpha weights; 0 keeps the live weights, as the authors."""
    discriminator: Literal["scratch", "pretrained"] = "scratch"
    snapshot_interval: Positive = 50

    @model_validator(mode="after")
    def _folder_named(self) -> "TrainingPart":
        if (self.reals == "folder") != (self.reals_folder is not None):
            raise ValueError("reals: folder and reals_folder go together")
        return self


class AlphaPart(Part):
    """Which alpha network."""

    weights: str | None = None
    """``builtin:NAME`` or a file; None: trained on the spot and kept in the cache."""
    background: Literal["conv1", "const"] = "conv1"
    """What is muted: the output of the first 4x4 layer, or the constant input."""
    lowest_resolution: Positive | None = None
    """None: size / 32, at least 8. The image size itself gives the last-layer ablation."""
    training: TrainingPart = TrainingPart()
