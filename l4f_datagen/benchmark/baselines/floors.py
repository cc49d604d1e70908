"""Floors: what a picture's colours alone give, with no generator and no training.

Both say which of two groups is the background by the picture's border: the group that holds more
of it. scikit-image and scikit-learn do the work.
"""

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.benchmark.baselines.border import border


def otsu_masks(images: NDArray[np.uint8], seed: int = 0) -> NDArray[np.bool_]:
    """Threshold saliency (Otsu 1979) in each picture.

    The saliency of a pixel is its colour's distance to the median colour of the border.

    Args:
        images: ``n h w 3``.
        seed: not used; nothing here is random.

    Returns:
        Masks ``n h w``.
    """
    from skimage.filters import threshold_otsu

    masks = np.zeros(images.shape[:3], bool)
    for mask, image in zip(masks, images.astype(np.float32), strict=True):
        ground = np.median(image[border(image.shape[:2])], axis=0)  # 3
        saliency = np.linalg.norm(image - ground, axis=2)  # h w
        if saliency.min() < saliency.max():
            # The library's, as a user of Otsu would take it. Our own (`alpha.object_size`) parts
            # the same histogram at the same bin, for a core that does without scikit-image.
            mask[:] = saliency > threshold_otsu(saliency)
    return masks


def colour_gmm_masks(images: NDArray[np.uint8], seed: int = 0) -> NDArray[np.bool_]:
    """Fit two Gaussians to the colours of each picture; the one less seen at the border is object.

    Args:
        images: ``n h w 3``.
        seed: of the mixture's start.

    Returns:
        Masks ``n h w``.
    """
    from sklearn.mixture import GaussianMixture

    masks = np.zeros(images.shape[:3], bool)
    edge = border(images.shape[1:3])
    for mask, image in zip(masks, images, strict=True):
        colours = image.reshape(-1, 3) / 255
        if len(np.unique(colours, axis=0)) < 2:
            continue
        mixture = GaussianMixture(2, random_state=seed, reg_covar=1e-4, max_iter=50)
        groups = mixture.fit_predict(colours).reshape(mask.shape)
        mask[:] = groups != (groups[edge].mean() > 0.5)
    return masks
