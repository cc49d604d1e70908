"""The resampling filter that files carry as a constant, and that our networks have built in."""

import torch

from .storage import ByteSource, StoredTensor

ROW = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
KERNEL = torch.outer(ROW, ROW)
TOLERANCE = 1e-3


def check_filter(source: ByteSource, name: str, stored: StoredTensor) -> None:
    """Check that a filter is the standard [1, 3, 3, 1], whatever its gain.

    Raises:
        CheckpointRefused: another filter, which our networks do not have.
    """
    stored.check(name)
    matches = stored.shape == (4, 4)
    if matches:
        kernel = stored.read()
        matches = torch.allclose(kernel / kernel.sum(), KERNEL, atol=TOLERANCE)
    if not matches:
        raise source.refuse(
            f"{name} is another resampling filter than [1, 3, 3, 1]",
            "only networks with the standard filter can be opened",
        )
