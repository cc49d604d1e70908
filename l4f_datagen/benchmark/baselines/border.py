"""Which group of pixels is the background, without a label: the one that lies at the border."""

import numpy as np
from numpy.typing import NDArray


def border(size: tuple[int, ...], width_px: int = 2) -> NDArray[np.bool_]:
    """Mark the outermost pixels of a picture ``h w``."""
    edge = np.ones(size, bool)
    edge[width_px:-width_px, width_px:-width_px] = False
    return edge


def background_groups(labels: NDArray[np.integer], groups: int) -> NDArray[np.bool_]:
    """Say for each group whether it is background.

    Args:
        labels: ``n h w``, each pixel's group.
        groups: how many there are.

    Returns:
        ``groups``: True where the share of the border is above the share of the picture.
    """
    edge = border(labels.shape[1:])
    everywhere = np.bincount(labels.ravel(), minlength=groups) / labels.size
    at_border = np.bincount(labels[:, edge].ravel(), minlength=groups) / labels[:, edge].size
    found: NDArray[np.bool_] = at_border > everywhere
    return found
