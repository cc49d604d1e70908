"""ReDO (Chen, Artieres, Denoyer, NeurIPS 2019): segment by painting one region at a time.

A mask network splits an image into two regions. One of them is redrawn by a generator from a
latent, and the result must fool a discriminator. A recovery network must find the latent in the
redrawn image, which keeps a region from being empty. The networks are small ones for 64 px; the
hinge loss and the recovery loss are the paper's.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from l4f_datagen.models.unet import UNet, to_tensor

REGIONS = 2
LATENT = 32
MASKED_AT_ONCE = 50


@dataclass(frozen=True)
class RedoPlan:
    """Everything that decides the trained mask network, except the images."""

    seed: int = 0  # of weights, latents and order
    steps: int = 600  # of both sides
    batch: int = 16
    mask_learning_rate: float = 2e-4  # the paper's 1e-5 is for a far longer training
    learning_rate: float = 4e-4  # of the other networks
    recovery_weight: float = 5.0  # of the latent recovery loss (lambda_z, 5 in the paper)
    width: int = 32  # channels


class Painter(nn.Module):
    """Paints one region: mask and latent in, image out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(1 + LATENT, width, 3, padding=1)
        self.middle = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.leave = nn.Conv2d(width, 3, 3, padding=1)

    def forward(
        self, mask: Float[Tensor, "batch 1 h w"], z: Float[Tensor, "batch latent"]
    ) -> Float[Tensor, "batch 3 h w"]:
        """Return an image in [-1, 1]."""
        spread = z[:, :, None, None].expand(-1, -1, *mask.shape[2:])
        x = F.leaky_relu(self.enter(torch.cat([mask, spread], dim=1)), 0.2)
        for layer in self.middle:
            x = F.leaky_relu(layer(x), 0.2) + x
        return torch.tanh(self.leave(x))


def critic(width: int, outputs: int) -> nn.Sequential:
    """Strided convolutions to ``outputs`` numbers per image, with spectral norm as in the paper."""
    layers: list[nn.Module] = []
    c_in = 3
    for level in range(4):
        c_out = width * 2 ** min(level, 2)
        norm = nn.utils.parametrizations.spectral_norm(nn.Conv2d(c_in, c_out, 4, 2, 1))
        layers += [norm, nn.LeakyReLU(0.2)]
        c_in = c_out
    pooled = [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(c_in * 16, outputs)]
    return nn.Sequential(*layers, *pooled)


class Redo(nn.Module):
    """The four networks; the mask network is the one that is kept."""

    def __init__(self, plan: RedoPlan) -> None:
        super().__init__()
        self.masker = UNet(plan.width // 2)
        self.painters = nn.ModuleList(Painter(plan.width) for _ in range(REGIONS))
        self.discriminator = critic(plan.width, 1)
        self.recovery = nn.ModuleList(critic(plan.width, LATENT) for _ in range(REGIONS))

    def redraw(
        self, image: Float[Tensor, "batch 3 h w"], z: Float[Tensor, "batch latent"], region: int
    ) -> Float[Tensor, "batch 3 h w"]:
        """Replace one region of an image by a painted one."""
        object_ = torch.sigmoid(self.masker(image))
        mask = object_ if region else 1 - object_
        painted: Tensor = mask * self.painters[region](mask, z) + (1 - mask) * image
        return painted


def train_redo(images: NDArray[np.uint8], plan: RedoPlan) -> Redo:
    """Train on images ``n h w 3`` without labels; a function of images and plan alone."""
    torch.manual_seed(plan.seed)
    net = Redo(plan)
    betas = (0.0, 0.9)
    painter_groups: list[dict[str, Any]] = [
        {"params": net.masker.parameters(), "lr": plan.mask_learning_rate},
        {"params": [*net.painters.parameters(), *net.recovery.parameters()]},
    ]
    painter_optimizer = torch.optim.Adam(painter_groups, plan.learning_rate, betas)
    critic_optimizer = torch.optim.Adam(net.discriminator.parameters(), plan.learning_rate, betas)
    for step in range(plan.steps):
        stream = np.random.RandomState(np.array([plan.seed, step], dtype=np.uint32))
        real, other = (take(images, stream, plan.batch) for _ in range(2))
        z = torch.from_numpy(stream.randn(plan.batch, LATENT).astype(np.float32))
        region = step % REGIONS  # alternating, not random: both are trained equally

        net.discriminator.requires_grad_(True)
        with torch.no_grad():
            fake = net.redraw(real, z, region)
        loss = (
            F.relu(1 - net.discriminator(other)).mean() + F.relu(1 + net.discriminator(fake)).mean()
        )
        critic_optimizer.zero_grad()
        loss.backward()
        critic_optimizer.step()

        net.discriminator.requires_grad_(False)
        fake = net.redraw(real, z, region)
        missed = (net.recovery[region](fake) - z).square().mean()
        loss = plan.recovery_weight * missed - net.discriminator(fake).mean()
        painter_optimizer.zero_grad()
        loss.backward()
        painter_optimizer.step()
    return net.eval()


def take(
    images: NDArray[np.uint8], stream: np.random.RandomState, batch: int
) -> Float[Tensor, "batch 3 h w"]:
    """Draw a batch in [-1, 1], half of it mirrored."""
    picked = images[stream.randint(0, len(images), batch)]
    mirrored = stream.rand(batch) < 0.5
    picked[mirrored] = picked[mirrored, :, ::-1]
    return to_tensor(picked)


@torch.inference_mode()
def redo_masks(
    masker: UNet, images: NDArray[np.uint8], *, inverted: bool = False
) -> NDArray[np.bool_]:
    """Mask images ``n h w 3``; ``inverted``: the network marks the background."""
    parts = []
    for start in range(0, len(images), MASKED_AT_ONCE):
        x = to_tensor(images[start : start + MASKED_AT_ONCE])
        parts.append(torch.sigmoid(masker(x))[:, 0] > 0.5)
    masks: NDArray[np.bool_] = torch.cat(parts).numpy()
    return masks ^ inverted
