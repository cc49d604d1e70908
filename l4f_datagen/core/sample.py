"""Sample: the one record that travels from the renderer to the writers; names of formats."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "val", "test")


def image_to_uint8(image: Any) -> Any:
    """Turn floats in [-1, 1] into bytes: clamp, ``(x + 1) * 127.5``, round half to even.

    The only place where an image becomes bytes; NumPy or torch in, the same kind out.
    """
    levels = ((image.clip(-1, 1) + 1) * 127.5).round()
    return levels.byte() if hasattr(levels, "byte") else levels.astype(np.uint8)


def alpha_to_uint8(alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Turn alpha in [0, 1] into 8-bit levels, ``round(alpha * 255)``; any shape."""
    return np.rint(alpha * 255).astype(np.uint8)


def sample_key(psi: float, seed: int) -> str:
    """Name a sample: ``psi0700-seed0000123`` (psi in thousandths).

    >>> sample_key(0.7, 123)
    'psi0700-seed0000123'
    """
    return f"psi{round(psi * 1000):04d}-seed{seed:07d}"


@dataclass(frozen=True)
class Sample:
    """One rendered image with its labels.

    Attributes:
        image_id: 1-based position in the full plan; no filter, shard or restart renumbers it.
        key: file stem, unique in the dataset.
        psi: truncation.
        seed: names the one z of this sample.
        image: uint8 ``h w 3``, RGB.
        alpha: float32 ``h w`` in [0, 1], the soft matte.
        mask: bool ``h w``, ``alpha > mask_threshold``, then ``sampling.mask_cleanup``.
        scores: numbers the filters measured, kept for accepted and rejected alike.
        reason: why a filter rejected the sample, None when accepted.
        split: part of the dataset it belongs to, a function of the key alone.
        background: uint8 ``h w 3``, the muted generator's image of the same z, for composites.
    """

    image_id: int
    key: str
    psi: float
    seed: int
    image: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    mask: NDArray[np.bool_]
    scores: dict[str, float] = field(default_factory=dict)
    reason: str | None = None
    split: str = "train"
    background: NDArray[np.uint8] | None = None

    @property
    def status(self) -> str:
        """``accepted`` or ``rejected``."""
        return "accepted" if self.reason is None else "rejected"


FORMATS = ("png", "coco", "hf", "imagefolder", "webdataset", "yolo")


def order_formats(names: Sequence[str]) -> tuple[str, ...]:
    """Sort names of formats, each once; ValueError for none, a wrong one, or coco without png."""
    known = ", ".join(FORMATS)
    if not names:
        raise ValueError(f"expected at least one format of {known}")
    for name in names:
        if name not in FORMATS:
            near = difflib.get_close_matches(name, FORMATS, n=1, cutoff=0.4)
            hint = f", did you mean {near[0]}?" if near else ";"
            raise ValueError(f"{name!r} is not a format{hint} known are {known}")
    if "coco" in names and "png" not in names:
        raise ValueError("coco lists files that png writes, add png")
    return tuple(name for name in FORMATS if name in names)
