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
            images.append(rng.randint(0, 60, (size, size, 3)) + 180 * mask[:, :, None])
            alphas.append(mask)
        return Arrays(np.stack(images).astype(np.uint8), np.stack(alphas).astype(np.float32))

    return make


@pytest.fixture
def make_segmenter():
    """A network with drawn weights and used batch norms, so that nothing is at its default."""

    def make(width=3, depth=3, size=24):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = UNet(width, depth)
            network(3 * torch.randn(4, 3, 16, 16) + 1)
        network.eval().requires_grad_(False)
        licence = Licence("some-licence", "https://example.org/licence", False)
        return Segmenter(network, size, 0.5, "disc", licence, {"plan": {"seed": 0}})

    return make


@pytest.fixture
def brightness_segmenter():
    """Finds what is brighter than mid-grey, exactly, at the image's own size of 16 px."""
    network = UNet(2, 2)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.zero_()
        network.down[0][0].weight[0, :, 1, 1] = 1 / 3
        network.down[0][3].weight[0, 0, 1, 1] = 1
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


@pytest.fixture
def make_real_set(tmp_path, encode):
    """Factory: photographs of a light on black, of a size each, and their masks."""

    def make(**sizes_hw):
        root = tmp_path / "real"
        for folder in ("images", "masks"):
            (root / folder).mkdir(parents=True)
        for name, (height, width) in sizes_hw.items():
            light = np.zeros((height, width), np.uint8)
            light[height // 4 : height // 2, width // 4 : 3 * width // 4] = 255
            image = np.repeat(light[:, :, None], 3, axis=2)
            (root / "images" / f"{name}.png").write_bytes(encode(image))
            (root / "masks" / f"{name}.png").write_bytes(encode(light))
        return root

    return make
