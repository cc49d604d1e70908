"""Colours alone: what each image gives without a generator and without training.

A group of pixels that is more frequent at the border than in the image is background.
scikit-image and scikit-learn do the work.
"""

import numpy as np
from numpy.typing import NDArray


def border(size: tuple[int, ...], width_px: int = 2) -> NDArray[np.bool_]:
    """Mark the outermost pixels of an image ``h w``."""
    edge = np.ones(size, bool)
    edge[width_px:-width_px, width_px:-width_px] = False
    return edge


def background_groups(labels: NDArray[np.integer], groups: int) -> NDArray[np.bool_]:
    """Say for each group ``groups`` whether it is background.

    Args:
        labels: ``n h w``, each pixel's group.
        groups: how many there are.
    """
    edge = border(labels.shape[1:])
    everywhere = np.bincount(labels.ravel(), minlength=groups) / labels.size
    at_border = np.bincount(labels[:, edge].ravel(), minlength=groups) / labels[:, edge].size
    found: NDArray[np.bool_] = at_border > everywhere
    return found


def otsu_masks(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Threshold (Otsu 1979) each pixel's distance to the median colour of the border.

    Images are ``n h w 3``, masks ``n h w``.
    """
    from skimage.filters import threshold_otsu

    masks = np.zeros(images.shape[:3], bool)
    for mask, image in zip(masks, images.astype(np.float32), strict=True):
        ground = np.median(image[border(image.shape[:2])], axis=0)  # 3
        distance = np.linalg.norm(image - ground, axis=2)  # h w
        if distance.min() < distance.max():
            mask[:] = distance > threshold_otsu(distance)
    return masks


def gmm_masks(images: NDArray[np.uint8], seed: int = 0) -> NDArray[np.bool_]:
    """Fit two Gaussians to the colours of each image; the one rarer at the border is the object.

    Images are ``n h w 3``, masks ``n h w``; ``seed`` is that of the mixture's start.
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
