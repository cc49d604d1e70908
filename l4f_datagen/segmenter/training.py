"""Train a U-Net on images with known masks, and apply it.

What a step sees and how it is changed are functions of (seed, step), and so is the learning rate:
a resumed training goes on bit for bit on the CPU.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.io.training_folder import save_state
from l4f_datagen.models.unet import UNet, to_tensor
from l4f_datagen.pretraining.plan import Symmetry

WARM_UP = 0.2  # share of the steps in which the learning rate rises
# Turns by no, one, two and three right angles.
QUARTERS = np.array([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]])
ORDER = 1  # keeps the stream of an epoch apart from that of a step


@dataclass(frozen=True)
class Augmentation:
    """How far an image may be changed. All values were chosen once and never tuned."""

    symmetry: Symmetry = "mirror"  # half of the images are mirrored, or all turned and flipped too
    moved: float = 0.5  # share zoomed and shifted; the others stay as sharp as they are
    zoom: tuple[float, float] = (0.75, 1.35)  # below 1 the image is smaller than its frame
    shift: float = 0.08  # largest, a share of the side
    gain: tuple[float, float] = (0.8, 1.2)  # factor of a colour, about mid-grey
    lift: float = 0.15  # largest brightness added to a colour, of the range [-1, 1]
    blurred: float = 0.3  # share of images blurred a little
    grain: float = 0.08  # largest standard deviation of the noise, of the range [-1, 1]


def augment(
    image: Float[Tensor, "batch 3 h w"],
    alpha: Float[Tensor, "batch 1 h w"],
    stream: np.random.RandomState,
    how: Augmentation,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return image ``batch 3 h w``, alpha and weight ``batch 1 h w``, each image changed by itself.

    Images are in [-1, 1], the result may leave the range a little; ``stream`` is that of the step.
    Beyond the image its edge is repeated, with weight 0.
    """
    batch = len(image)
    mirrored = (stream.rand(batch) < 0.5) & (how.symmetry != "none")
    moved = stream.rand(batch) < how.moved
    low, high = np.log(how.zoom)
    zoom = np.where(moved, np.exp(stream.uniform(low, high, batch)), 1.0)
    # The grid runs from -1 to 1 over the side: a share of the side is twice as much of it.
    shift = np.where(moved, stream.uniform(-2 * how.shift, 2 * how.shift, (2, batch)), 0.0)
    theta = np.zeros((batch, 2, 3), np.float32)
    theta[:, 0, 0] = np.where(mirrored, -1, 1) / zoom
    theta[:, 1, 1] = 1 / zoom
    if how.symmetry == "square":
        # Images that are not square stay upright or stand on their head.
        quarters = stream.randint(4, size=batch) * (1 if image.shape[2] == image.shape[3] else 2)
        theta[:, :, :2] = QUARTERS[quarters % 4] @ theta[:, :, :2]
    theta[:, :, 2] = shift.T
    placed = torch.from_numpy(theta).to(image.device)
    grid = F.affine_grid(placed, list(image.shape), align_corners=False)
    planes = torch.cat([image, alpha], dim=1)
    planes = F.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    weight = (grid.abs() <= 1).all(dim=3)[:, None].to(image.dtype)

    # Contrast and brightness, each colour by itself.
    gain = stream.uniform(*how.gain, (batch, 3, 1, 1)).astype(np.float32)
    lift = stream.uniform(-how.lift, how.lift, (batch, 3, 1, 1)).astype(np.float32)
    image = planes[:, :3] * torch.from_numpy(gain).to(image) + torch.from_numpy(lift).to(image)
    # Some are blurred by a mean over 3 x 3 pixels.
    blurred = torch.from_numpy(stream.rand(batch, 1, 1, 1) < how.blurred).to(image.device)
    soft = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    image = torch.where(blurred, soft, image)
    # Grain of another strength in each; drawn on the CPU: the same numbers on every device.
    strength = stream.uniform(0, how.grain, (batch, 1, 1, 1)).astype(np.float32)
    draw = torch.Generator().manual_seed(int(stream.randint(2**31)))
    noise = torch.randn(image.shape, generator=draw)
    image = image + (torch.from_numpy(strength) * noise).to(image)
    return image, planes[:, 3:].clamp(0, 1), weight


Batch = tuple[NDArray[np.uint8], NDArray[np.float32]]
"""Images ``n h w 3`` and alphas ``n h w`` in [0, 1]."""


class Source(Protocol):
    """Where batches come from."""

    def __len__(self) -> int:
        """Number of samples."""

    def batch(self, picked: NDArray[np.int64], /) -> Batch:
        """Return the samples at these places."""


@dataclass(frozen=True)
class Arrays:
    """Samples in memory, as in ``Batch``."""

    images: NDArray[np.uint8]
    alphas: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, picked: NDArray[np.int64]) -> Batch:
        """Return the samples at these places."""
        return self.images[picked], self.alphas[picked]


@dataclass(frozen=True)
class Samples:
    """``count`` samples that are a part of others, or made when a batch is asked for."""

    count: int
    batch: Callable[[NDArray[np.int64]], Batch]

    def __len__(self) -> int:
        return self.count


@dataclass(frozen=True)
class Plan:
    """All that decides the trained weights, but for the samples."""

    seed: int = 0  # of weights, order and augmentation
    steps: int = 1000  # of AdamW
    batch: int = 32  # images a step
    width: int = 16  # channels of the U-Net at full resolution
    depth: int = 4  # levels of the U-Net
    learning_rate: float = 4e-3  # the highest; it rises in the first fifth and falls as a cosine
    weight_decay: float = 1e-4
    augmentation: Augmentation = field(default_factory=Augmentation)

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, 0 being the first."""
        done, rise = (step + 1) / self.steps, WARM_UP
        if done < rise:
            return self.learning_rate * done / rise
        return self.learning_rate * (1 + math.cos(math.pi * (done - rise) / (1 - rise))) / 2 + 1e-6


@dataclass
class Training:
    """Network, optimiser, step: all that a resumed training needs."""

    network: UNet
    optim: torch.optim.AdamW
    step: int = 0

    def save(self, path: Path) -> None:
        """Write the state; errors as ``save_state``."""
        payload = {"network": self.network.state_dict(), "optim": self.optim.state_dict()}
        save_state(path, payload | {"step": self.step})

    def load(self, path: Path) -> None:
        """Continue from a state that ``save`` wrote; refuse any other."""
        try:
            payload = torch.load(path, weights_only=True, map_location="cpu")
            self.network.load_state_dict(payload["network"])
            self.optim.load_state_dict(payload["optim"])
            self.step = int(payload["step"])
        except Exception as error:  # torch raises many kinds on a damaged file
            problem = f"is not a training state of this segmenter ({type(error).__name__})"
            raise UsageError(str(path), problem, "use another --out or remove the file") from error


def new_training(plan: Plan, device: torch.device | str = "cpu") -> Training:
    """Build network and optimiser from the plan's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        network = UNet(plan.width, plan.depth)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    # Every step sets its own learning rate.
    optim = torch.optim.AdamW(network.parameters(), weight_decay=plan.weight_decay)
    return Training(network, optim)


def places_of(plan: Plan, step: int, count: int) -> NDArray[np.int64]:
    """Return which of ``count`` samples a step sees: epochs in an order of their own each."""
    at = np.arange(step * plan.batch, (step + 1) * plan.batch)
    picked = np.empty(plan.batch, np.int64)
    for epoch in np.unique(at // count):
        stream = np.random.RandomState(np.array([plan.seed, epoch, ORDER], dtype=np.uint32))
        chosen = at // count == epoch
        picked[chosen] = stream.permutation(count)[at[chosen] % count]
    return picked


def train_step(training: Training, plan: Plan, samples: Batch) -> float:
    """One step on a batch; return the cross-entropy against soft masks, in nats a pixel."""
    device = training.network.out.weight.device
    images, alphas = samples
    alpha = torch.from_numpy(alphas)[:, None].to(device)
    stream = np.random.RandomState(np.array([plan.seed, training.step], dtype=np.uint32))
    image, alpha, weight = augment(to_tensor(images).to(device), alpha, stream, plan.augmentation)
    for group in training.optim.param_groups:
        group["lr"] = plan.learning_rate_at(training.step)
    training.network.train()
    logits = training.network(image.contiguous(memory_format=torch.channels_last))
    loss = F.binary_cross_entropy_with_logits(logits, alpha, weight, reduction="sum")
    loss = loss / weight.sum().clamp(min=1)
    if not torch.isfinite(loss):
        problem = f"the loss is {loss.detach().item()} at step {training.step + 1}"
        raise L4FError("segmenter training", problem, "give another --seed")
    training.optim.zero_grad()
    loss.backward()
    training.optim.step()
    training.step += 1
    return float(loss.detach())


def train(
    training: Training,
    plan: Plan,
    source: Source,
    watch: Callable[[Training, float], None] = lambda training, loss: None,
) -> UNet:
    """Train to ``plan.steps`` from wherever ``training`` stands and return the network.

    The next batch is read while one is trained on; ``watch`` is called with the loss of every step.
    """
    with ThreadPoolExecutor(max_workers=1) as ahead:
        waiting = ahead.submit(source.batch, places_of(plan, training.step, len(source)))
        while training.step < plan.steps:
            samples = waiting.result()
            waiting = ahead.submit(source.batch, places_of(plan, training.step + 1, len(source)))
            watch(training, train_step(training, plan, samples))
    return training.network.eval()


@torch.inference_mode()
def predict(net: UNet, images: NDArray[np.uint8], batch: int = 100) -> NDArray[np.float32]:
    """Return foreground probabilities ``n h w`` for images ``n h w 3``, sides as the net asks."""
    device = net.out.weight.device
    parts = []
    for start in range(0, len(images), batch):
        logits = net(to_tensor(images[start : start + batch]).to(device))
        parts.append(torch.sigmoid(logits[:, 0]).cpu().numpy())
    return np.concatenate(parts)
