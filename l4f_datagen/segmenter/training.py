"""Train a U-Net on images with known masks, and apply it."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from l4f_datagen.segmenter.network import UNet

MAX_LEARNING_RATE = 4e-3


def augment(
    image: Float[Tensor, "batch 3 h w"],
    alpha: Float[Tensor, "batch 1 h w"],
    stream: np.random.RandomState,
) -> tuple[Tensor, Tensor]:
    """Mirror, shift, and change brightness, contrast, sharpness and grain at random."""
    if stream.rand() < 0.5:
        image, alpha = image.flip(3), alpha.flip(3)
    shifts = (int(stream.randint(-4, 5)), int(stream.randint(-4, 5)))
    image, alpha = image.roll(shifts, (2, 3)), alpha.roll(shifts, (2, 3))
    batch = len(image)
    gain = torch.from_numpy(stream.uniform(0.8, 1.2, (batch, 3, 1, 1))).float()
    lift = torch.from_numpy(stream.uniform(-0.15, 0.15, (batch, 3, 1, 1))).float()
    image = image * gain + lift
    if stream.rand() < 0.3:
        image = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    draw = torch.Generator().manual_seed(int(stream.randint(2**31)))
    grain = float(stream.uniform(0, 0.08))
    return image + grain * torch.randn(image.shape, generator=draw), alpha


def train_segmenter(
    images: NDArray[np.uint8],
    alphas: NDArray[np.float32],
    *,
    seed: int,
    steps: int,
    batch: int = 32,
    width: int = 16,
) -> UNet:
    """Return a U-Net trained with cross-entropy against soft masks.

    Args:
        images: ``n h w 3``.
        alphas: ``n h w`` in [0, 1].
        seed: of weights, order and augmentation.
        steps: optimiser steps (AdamW, one-cycle learning rate).
        batch: images a step.
        width: channels at full resolution.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = UNet(width=width)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optim = torch.optim.AdamW(net.parameters(), MAX_LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, MAX_LEARNING_RATE, total_steps=steps)
    stream = np.random.RandomState(seed)
    for _ in range(steps):
        picked = stream.randint(0, len(images), batch)
        alpha = torch.from_numpy(alphas[picked])[:, None]
        image, alpha = augment(to_tensor(images[picked]), alpha, stream)
        image = image.contiguous(memory_format=torch.channels_last)
        loss = F.binary_cross_entropy_with_logits(net(image), alpha)
        optim.zero_grad()
        loss.backward()
        optim.step()
        schedule.step()
    return net.eval()


def to_tensor(images: NDArray[np.uint8]) -> Float[Tensor, "batch 3 h w"]:
    """Turn ``n h w 3`` bytes into ``n 3 h w`` floats in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.inference_mode()
def predict(net: UNet, images: NDArray[np.uint8], batch: int = 100) -> NDArray[np.float32]:
    """Return foreground probabilities ``n h w`` for images ``n h w 3``."""
    parts = []
    for start in range(0, len(images), batch):
        logits = net(to_tensor(images[start : start + batch]))
        parts.append(torch.sigmoid(logits[:, 0]).numpy())
    return np.concatenate(parts)
