"""Compositing: an object cut out of its picture, or laid over another one."""

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.core.sample import Sample, alpha_to_uint8


def cutout_rgba(sample: Sample) -> NDArray[np.uint8]:
    """Return the picture with its matte as fourth channel, uint8 ``h w 4``.

    Straight alpha: the colours are those of the image, not multiplied by alpha.
    """
    return np.dstack([sample.image, alpha_to_uint8(sample.alpha)])


def composite_rgb(sample: Sample, background: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay the object over a background: ``alpha * image + (1 - alpha) * background``.

    The composite of Labels4Free (sec. 3.1), here of bytes, with the soft matte.

    Args:
        sample: image and matte.
        background: uint8 ``h w 3``.

    Returns:
        uint8 ``h w 3``, rounded half to even.

    Raises:
        ValueError: a background of another dtype or size.
    """
    image = sample.image
    if background.dtype != np.uint8 or background.shape != image.shape:
        raise ValueError(
            f"{sample.key}: expected background uint8 {image.shape}, "
            f"got {background.dtype} {background.shape}"
        )
    alpha = sample.alpha[:, :, None]
    mixed: NDArray[np.uint8] = np.rint(alpha * image + (1 - alpha) * background).astype(np.uint8)
    return mixed
