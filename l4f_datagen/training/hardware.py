"""How a training uses its hardware: half precision, and several processes that train together.

Weights, their average, losses and the R1 penalty are float32 in any case; autocast takes the
forward passes of generator, alpha network and discriminator. Gradients below 6e-8 are zero in
float16, so losses are scaled up before they are walked back through; a scale under which one
passes 65504 is halved, and the step it spoilt left out (Micikevicius et al. 2018, sec. 3.2).
"""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

FIRST_SCALE, SCALE_STEPS = 2.0**10, 100
"""A training of 300 steps has none to waste on finding the scale from torch's 65536 down."""
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Context for forward passes of alpha network or discriminator.

    One for passes with a gradient, another for those without: autocast keeps the weights it casts.
    """
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, DTYPES[precision])


def new_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Return the loss scaler of one optimiser; only with fp16 does it do anything."""
    fp16, kind = precision == "fp16", device.type
    return torch.amp.GradScaler(kind, FIRST_SCALE, growth_interval=SCALE_STEPS, enabled=fp16)


@dataclass(frozen=True)
class Ranks:
    """The processes of one training."""

    own: int = 0  # this process
    count: int = 1  # of all processes

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
    """Return the device of this process: under ``torchrun`` each has a GPU of its own.

    A device that the user gave with a number stays as it is.
    """
    shared = int(os.environ.get("WORLD_SIZE", "1")) > 1 and torch.cuda.is_available()
    if shared and name in ("auto", "cuda"):
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return name
