"""Recipe part: the alpha network and its training."""

from typing import Annotated, Literal

from pydantic import Field

from l4f_datagen.io.stores import STORES
from l4f_datagen.recipe.parts import Named, Number, Part, Positive, Psi, Share, Weight, Whole


class TrainingPart(Part):
    """How the alpha network is trained (Labels4Free, sec. 3.3; names of the losses there)."""

    steps: Positive = 75
    """Of one attempt: with ``two-sided`` a small object takes two of them, a large one three. The
    object is found after 50 to 75 steps; then it grows beyond the outline."""
    batch: Annotated[Positive, Field(le=2**16)] = 16  # joint, over all shares and ranks
    accumulate: Positive = 1  # shares a batch is walked through in: the same with less memory
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] = 0
    learning_rate: Annotated[Number, Field(gt=0, le=1)] = 2e-3
    decay_from: Share = 0.5  # of the steps: from there on the learning rate falls; 1: never
    psi: Psi = 1.0  # truncation of the foreground; the background is never truncated in training
    reals: Literal[
        "generator", "folder", "zip", "lmdb", "hf", "toy-cars", "toy-fish", "toy-portraits"
    ] = "generator"  # what the discriminator takes for real
    reals_folder: Named | None = None  # folder, zip, LMDB or dataset, for ``reals`` of that kind
    reals_psi: Psi = 1.0  # truncation of the stand-in reals for ``reals: generator``
    mirror: bool = True  # show reals mirrored too; off where left and right differ (digits)
    balance: Literal["two-sided", "auto", "fixed"] = "two-sided"
    """two-sided: a second discriminator requires that what is left without the object looks like
    bare background, and weights are relative to both discriminators' gradients; auto: one
    discriminator, and coverage limits come from the generator; fixed: all numbers are taken as they
    stand, as the paper's."""
    rest_weight: Weight = 1.0  # of the second discriminator, for ``two-sided`` alone
    adversarial_weight: Weight = 1.0
    binarization_weight: Weight = 0.6  # of mean min(alpha, 1 - alpha)
    binarization_ramp: Whole = 100  # steps in which it grows from nothing; 0: whole at once
    area_weight: Weight = 0.1  # of mean alpha; ``auto``: up to 20 times that where it is too large
    # Hinges of coverage; None: 3, with ``two-sided`` 1.2 and 6, with ``fixed`` the binarisation
    # weight and 0. The least foreground, None: .05 with ``two-sided``, the paper's .25 with
    # ``fixed``, found from the generator with ``auto``.
    fg_coverage_weight: Weight | None = None
    min_fg_coverage: Share | None = None
    bg_coverage_weight: Weight | None = None
    min_bg_coverage: Share | None = None
    r1_gamma: Weight | None = None
    """Of R1. None: the authors' 10; with ``two-sided`` 1 at 64 px, growing with the area to 10."""
    d_reg_interval: Positive = 16
    real_score_weight: Weight = 0.0  # 1.0 as the authors, who add D(real[0]) to every R1 step
    ema_steps: Weight = 20.0  # half-life of averaged alpha weights; 0: live ones, as the authors
    discriminator: Literal["scratch", "pretrained"] = "scratch"
    attempts: Positive = 3  # the first, and those with a changed setting where it collapsed
    keep: Literal["best", "last"] = "last"  # snapshot; best: by a score that needs no label
    snapshot_interval: Positive = 25
    self_training: Annotated[Whole, Field(le=20)] = 8
    """Rounds in which the network learns from its own masks, corrected by each image's colours; 0:
    none, as the paper. With 4, toy-fish lose .03 mIoU, skin lesions .008."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # of forward passes; all else is fp32

    def _problems(self) -> dict[str, bool]:
        stored = self.reals in STORES
        kind = self.reals if stored else "folder"
        parts = f"accumulate {self.accumulate} does not divide the batch of {self.batch}"
        return {
            f"reals: {kind} and reals_folder go together": stored == (self.reals_folder is None),
            parts: self.batch % self.accumulate != 0,
        }


class AlphaPart(Part):
    """Which alpha network."""

    weights: Named | None = None
    """``builtin:NAME`` or a file; None: trained on the spot and kept in the cache."""
    background: Literal["conv1", "const", "pictures", "generator"] = "conv1"
    """The generator with the output of its first 4x4 layer muted, or its constant input; images
    of a store; or a second generator."""
    background_path: Named | None = None  # of ``pictures``, or weights for ``generator``
    fit: Literal["crop", "pad"] = "crop"
    """Photographs on the generator's canvas: the middle is cut to the aspect of its images, or the
    whole is padded with black."""
    background_shuffled: bool = False  # mute the next sample's w instead of the foreground's own
    lowest_resolution: Positive | None = None
    """None: size / 32, at least 8. The image size itself gives the last-layer ablation."""
    training: TrainingPart = TrainingPart()

    def _problems(self) -> dict[str, bool]:
        needs_path = self.background in ("pictures", "generator")
        together = "background: pictures or generator and background_path go together"
        return {together: needs_path == (self.background_path is None)}
