"""Threads of the CPU, of which no byte may depend on how many there are."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread inside the block, in the thread that enters it.

    How a sum is shared out among threads changes its last bits, and so now and then a pixel.
    Several pieces of a block rendered at once, a thread each, use the cores as well or better.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
