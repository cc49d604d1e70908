"""Devices, and the settings of torch that hold for a whole process or thread: all of them here."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from l4f_datagen.core.errors import UsageError


def flush_denormals() -> None:
    """Make this thread treat denormals as zero.

    Vanishing activations slow the CPU down many times, and no pixel depends on them.
    """
    torch.set_flush_denormal(True)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread inside the block, in the thread that enters it.

    How a sum is divided among threads changes its last bits, and so now and then a pixel. Pieces
    of a block rendered at once, a thread each, use the cores as well or better.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_device(name: str) -> torch.device:
    """Return the device; "auto" takes CUDA, then MPS, then the CPU. Denormals are flushed.

    UsageError: unknown or absent.
    """
    flush_denormals()
    if name == "auto":
        mps = "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device("cuda" if torch.cuda.is_available() else mps)
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        problem = f"cannot be used here ({' '.join(str(error).split())[:120]})"
        raise UsageError(f"--device {name}", problem, "use cpu, cuda, cuda:0 or mps") from error
    return device


def choose_devices(names: Sequence[str]) -> list[torch.device]:
    """Return the devices of one run, see `choose_device`; UsageError where their kinds differ."""
    devices = [choose_device(name) for name in names]
    kinds = sorted({device.type for device in devices})
    if len(kinds) > 1:
        problem = f"names {' and '.join(kinds)}, whose images differ in their last bits"
        raise UsageError("--devices", problem, "name devices of one kind")
    return devices
