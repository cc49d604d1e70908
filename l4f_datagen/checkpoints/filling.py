"""Networks without memory of their own: a checkpoint's tensors are put in their place at once."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Network = TypeVar("Network", bound=nn.Module)
SCALING = (torch.Tensor.div, torch.Tensor.__truediv__)


class Unfilled(TorchFunctionMode):
    """Builds networks without the numbers they would start with.

    On the meta device random numbers and arithmetic go through torch's reference implementations,
    whose import takes over a second, and all for values that nobody looks at.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run a torch function; a random tensor stays empty, and scaling leaves it as it is."""
        if func in SCALING:
            return args[0]
        return (torch.empty if func is torch.randn else func)(*args, **(kwargs or {}))


def filled(make: Callable[[], Network], state: Mapping[str, Tensor]) -> Network:
    """Build a network around tensors, frozen and in evaluation mode."""
    with torch.device("meta"), Unfilled():
        network = make()
    network.load_state_dict(dict(state), assign=True)
    network.eval().requires_grad_(False)
    return network
