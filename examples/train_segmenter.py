"""Train a PyTorch segmenter on a dataset of `l4f-datagen make`, without torchvision.

    l4f-datagen make --domain toy-cars --n 2000 --out cars
    python examples/train_segmenter.py cars --steps 300

The column ``label`` holds class indices, 0 background and 1 object, as cross-entropy wants them.
``mask`` holds 0 and 255 for the eye; many losses take 255 for "ignore".
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from datasets import load_dataset
from torch import Tensor, nn


def network(width: int = 24) -> nn.Sequential:
    """Return a fully convolutional net: ``batch 3 h w`` to logits ``batch 2 h w``."""
    layers: list[nn.Module] = []
    channels = 3
    for dilation in (1, 1, 2, 4, 8, 1):
        layers += [nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation)]
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.Conv2d(width, 2, 1))


def tensors(rows: dict[str, list]) -> tuple[Tensor, Tensor]:
    """Turn rows of the dataset into images in [0, 1] and class indices."""
    images = np.stack([np.asarray(image.convert("RGB")) for image in rows["image"]])
    labels = np.stack([np.asarray(label) for label in rows["label"]])
    images = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return images, torch.from_numpy(labels).long()


@torch.no_grad()
def object_iou(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the IoU of class 1 over all pixels."""
    net.eval()
    found = torch.cat([net(part).argmax(1) for part in images.split(64)])
    both = ((found == 1) & (labels == 1)).sum()
    either = ((found == 1) | (labels == 1)).sum()
    return float(both / either.clamp(min=1))


def train(folder: Path, steps: int, batch: int = 32, seed: int = 0) -> float:
    """Train on the split ``train``, print losses, and return the IoU on ``validation``."""
    dataset = load_dataset(str(folder))
    held_out = dataset["validation" if "validation" in dataset else "train"]
    torch.manual_seed(seed)
    order = np.random.RandomState(seed)
    net = network()
    optim = torch.optim.AdamW(net.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, 3e-3, total_steps=steps)
    for step in range(steps):
        picked = order.choice(len(dataset["train"]), min(batch, len(dataset["train"])), False)
        images, labels = tensors(dataset["train"][picked])
        loss = F.cross_entropy(net.train()(images), labels)
        optim.zero_grad()
        loss.backward()
        optim.step()
        schedule.step()
        if step % 20 == 0 or step == steps - 1:
            print(f"step {step}, loss {loss.item():.4f}")
    iou = object_iou(net, *tensors(held_out[:]))
    print(f"object IoU {iou:.3f} on {len(held_out)} held-out samples")
    return iou


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args()
    train(given.dataset, given.steps)
