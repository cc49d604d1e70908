"""Recipe part: the alpha network and its training."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from l4f_datagen.recipe.parts import Named, Number, Part, Positive, Psi, Share, Weight, Whole


class TrainingPart(Part):
    """How the alpha network is trained (Labels4Free, sec. 3.3; names of the losses there)."""

    steps: Positive = 75
    """Of one attempt: with ``two-sided`` a small object takes two of them, a large one three. The
    object is found after 50 to 75 steps; then it grows beyond the outline."""
    batch: Annotated[Positive, Field(le=2**16)] = 16
    """Joint batch, over all shares and ranks."""
    accumulate: Positive = 1
    """Shares the batch is walked through in: the same numbers with less memory."""
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] = 0
    learning_rate: Annotated[Number, Field(gt=0, le=1)] = 2e-3
    decay_from: Share = 0.5
    """From this share of the steps on, the alpha network's learning rate falls; 1: never."""
    psi: Psi = 1.0
    """Truncation of the foreground; the background is never truncated in training."""
    reals: Literal[
        "generator", "folder", "zip", "lmdb", "hf", "toy-cars", "toy-fish", "toy-portraits"
    ] = "generator"
    """What the discriminator takes for real."""
    reals_folder: Named | None = None
    """Folder, zip file, LMDB or Hugging Face dataset, for ``reals`` of that kind."""
    reals_psi: Psi = 1.0
    """Truncation of the stand-in reals for ``reals: generator``."""
    mirror: bool = True
    """Show the discriminator mirrored images too; off where left and right differ (digits)."""
    balance: Literal["two-sided", "auto", "fixed"] = "two-sided"
    """two-sided: a second discriminator requires that what is left without the object looks like
    bare background, and weights are relative to both discriminators' gradients; auto: one
    discriminator, and coverage limits come from the generator; fixed: all numbers are taken as they
    stand, as the paper's."""
    rest_weight: Weight = 1.0
    """Weight of the second discriminator, for ``two-sided`` alone."""
    adversarial_weight: Weight = 1.0
    binarization_weight: Weight = 0.6
    """Weight of mean min(alpha, 1 - alpha)."""
    binarization_ramp: Whole = 100
    """Steps in which that weight grows from nothing; 0: whole from the start."""
    area_weight: Weight = 0.1
    """Weight of mean alpha; with ``auto`` up to 20 times that while alpha is too large."""
    fg_coverage_weight: Weight | None = None
    """Of the foreground-coverage hinge; None: 3, with ``two-sided`` 1.2, with ``fixed`` the
    binarisation weight."""
    min_fg_coverage: Share | None = None
    """None: 0.05 with ``two-sided``, with ``auto`` found from the generator, with ``fixed`` the
    paper's 0.25."""
    bg_coverage_weight: Weight | None = None
    """Of the background-coverage hinge; None: 3, with ``two-sided`` 6, with ``fixed`` 0."""
    min_bg_coverage: Share | None = None
    r1_gamma: Weight | None = None
    """Of R1. None: the authors' 10; with ``two-sided`` 1 at 64 px, growing with the area to 10."""
    d_reg_interval: Positive = 16
    real_score_weight: Weight = 0.0
    """The authors' code adds 1.0 x D(real[0]) to every R1 step; 1.0 reproduces it."""
    ema_steps: Weight = 20.0
    """Half-life of an average over alpha weights; 0 keeps the live weights, as the authors."""
    discriminator: Literal["scratch", "pretrained"] = "scratch"
    attempts: Positive = 3
    """How often a collapsed training may start again with a changed setting, the first included."""
    keep: Literal["best", "last"] = "last"
    """Which snapshot: the best by a score that needs no label, or the last."""
    snapshot_interval: Positive = 25
    self_training: Annotated[Whole, Field(le=20)] = 8
    """Rounds in which the network learns from its own masks, corrected by each image's colours; 0:
    none, as the paper. With 4, toy-fish lose .03 mIoU, skin lesions .008."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the forward passes; weights, their average, losses and R1 are fp32 in any case."""

    @model_validator(mode="after")
    def _store_named(self) -> "TrainingPart":
        stored = self.reals in ("folder", "zip", "lmdb", "hf")
        if stored != (self.reals_folder is not None):
            raise ValueError(
                f"reals: {self.reals if stored else 'folder'} and reals_folder go together"
            )
        return self

    @model_validator(mode="after")
    def _batch_divides(self) -> "TrainingPart":
        if self.batch % self.accumulate:
            raise ValueError(
                f"accumulate {self.accumulate} does not divide the batch of {self.batch}"
            )
        return self


class AlphaPart(Part):
    """Which alpha network."""

    weights: Named | None = None
    """``builtin:NAME`` or a file; None: trained on the spot and kept in the cache."""
    background: Literal["conv1", "const", "pictures", "generator"] = "conv1"
    """The generator with the output of its first 4x4 layer muted, or its constant input; images
    of a store; or a second generator."""
    background_path: Named | None = None
    """Folder, zip, LMDB or dataset for ``pictures``; weights for ``generator``."""
    fit: Literal["crop", "pad"] = "crop"
    """Photographs on the generator's canvas: the middle is cut to the aspect of its images, or the
    whole is padded with black."""
    background_shuffled: bool = False
    """Mute the next sample's w instead of the foreground's own."""
    lowest_resolution: Positive | None = None
    """None: size / 32, at least 8. The image size itself gives the last-layer ablation."""
    training: TrainingPart = TrainingPart()

    @model_validator(mode="after")
    def _path_named(self) -> "AlphaPart":
        if (self.background in ("pictures", "generator")) != (self.background_path is not None):
            raise ValueError("background: pictures or generator and background_path go together")
        return self
