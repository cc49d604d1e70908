"""Tiny segmenters and images by factory."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from l4f_datagen.models.unet import UNet
from l4f_datagen.recipe.catalogue import Licence
from l4f_datagen.segmenter.model import Segmenter
from l4f_datagen.segmenter.training import Arrays

LICENCE = Licence("some-licence", "https://example.org/licence", False)


@pytest.fixture
def make_arrays():
    """Bright discs on dark ground with their masks: easy to learn."""

    def make(count=8, size=16):
        rng = np.random.RandomState(3)
        rows, columns = np.mgrid[:size, :size] + 0.5
        images, alphas = [], []
        for _ in range(count):
            x, y = rng.uniform(0.3, 0.7, 2) * size
            mask = np.hypot(rows - y, columns - x) < rng.uniform(0.2, 0.3) * size
            image = rng.randint(0, 60, (size, size, 3)) + 180 * mask[:, :, None]
            images.append(image.astype(np.uint8))
            alphas.append(mask.astype(np.float32))
        return Arrays(np.stack(images), np.stack(alphas))

    return make


@pytest.fixture
def make_segmenter():
    """A network with drawn weights and used batch norms, so that nothing is at its default."""

    def make(width=3, depth=3, size=24, seed=0):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = UNet(width, depth)
            network(3 * torch.randn(4, 3, 16, 16) + 1)
        network.eval().requires_grad_(False)
        return Segmenter(network, size, 0.5, "disc", LICENCE, {"plan": {"seed": seed}})

    return make


@pytest.fixture
def brightness_segmenter():
    """Finds what is brighter than mid-grey, exactly, at the image's own size of 16 px."""
    network = UNet(2, 2)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.zero_()
        first, second = network.down[0][0], network.down[0][3]
        first.weight[0, :, 1, 1] = 1 / 3
        second.weight[0, 0, 1, 1] = 1
        network.up[0][0].weight[0, 4, 1, 1] = 1  # the first channel beside, after 4 from below
        network.up[0][3].weight[0, 0, 1, 1] = 1
        network.out.weight[0, 0] = 1000
        network.out.bias.fill_(-5.0)
    return Segmenter(network.eval().requires_grad_(False), 16, 0.5, "light", None, {})


@pytest.fixture
def encode():
    """Bytes of an image file."""

    def make(pixels, format="PNG", **options):
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        buffer = io.BytesIO()
        image.save(buffer, format, **options)
        return buffer.getvalue()

    return make
