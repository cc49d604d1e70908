"""Several processes that train together: who is who, and sums over all of them."""

import os
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Ranks:
    """The processes of one training.

    Attributes:
        own: this process, from 0.
        count: of all processes.
    """

    own: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and messages."""
        return self.own == 0

    def add_up(self, numbers: Tensor) -> None:
        """Replace float64 ``numbers`` by their sum over all processes."""
        if self.count > 1:
            torch.distributed.all_reduce(numbers)

    def add_up_gradients(self, network: nn.Module) -> None:
        """Replace every gradient by its sum over all processes, in one exchange."""
        if self.count == 1:
            return
        grads = [p.grad for p in network.parameters() if p.grad is not None]
        flat = torch.cat([grad.flatten() for grad in grads])
        torch.distributed.all_reduce(flat)
        for grad, summed in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
            grad.copy_(summed.reshape(grad.shape))

    def any(self, value: bool) -> bool:
        """Return whether ``value`` holds in any process."""
        found = torch.tensor([float(value)], dtype=torch.float64)
        self.add_up(found)
        return bool(found > 0)

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.count > 1:
            torch.distributed.barrier()


ALONE = Ranks()


def join_ranks(device: torch.device) -> Ranks:
    """Join the processes that ``torchrun`` started; ``ALONE`` without it."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return ALONE
    if not torch.distributed.is_initialized():
        # Gradients are summed where they lie, measures on the CPU.
        cuda = device.type == "cuda"
        torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    return Ranks(torch.distributed.get_rank(), count)


def leave_ranks() -> None:
    """Leave the other processes of a training that is done."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def own_device(name: str) -> str:
    """Return the device of this process: under ``torchrun`` every one has a GPU of its own.

    Args:
        name: as the user gave it; a device with a number stays as it is.
    """
    shared = int(os.environ.get("WORLD_SIZE", "1")) > 1 and torch.cuda.is_available()
    if shared and name in ("auto", "cuda"):
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return name
