"""Photographs of plain noise, and a network small enough to train in a test."""

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.pretraining import distance
from l4f_datagen.pretraining import state as state_module
from l4f_datagen.pretraining.plan import PretrainPlan


@pytest.fixture
def write_photos(tmp_path):
    def write(count=18, sizes=((40, 40),)):
        target = tmp_path / f"photos-{count}"
        target.mkdir()
        for k in range(count):
            shape = (*sizes[k % len(sizes)][::-1], 3)
            pixels = np.random.RandomState(k).randint(0, 256, shape).astype(np.uint8)
            Image.fromarray(pixels).save(target / f"{k:03d}.png")
        return target

    return write


@pytest.fixture
def small(monkeypatch):
    """A plan of a few steps at 32 px with networks of few channels."""

    def gap(first, second):
        return float(((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum())

    monkeypatch.setattr(state_module, "SMALL_CHANNELS", {4: 4, 8: 4, 16: 4, 32: 3, 64: 2})
    monkeypatch.setattr(state_module, "Z_DIM", 8)
    monkeypatch.setattr(state_module, "W_DIM", 8)
    # Four images are enough for a mean, not for a covariance of 256 features.
    monkeypatch.setattr(distance, "frechet_distance", gap)
    tiny = {"images": "noise", "resolution": 32, "kimg": 0.024, "decay_kimg": 0.008, "batch": 4}
    tiny |= {"r1_interval": 2, "ema_kimg": 0.01, "ada_kimg": 0.05}
    tiny |= {"snapshot_kimg": 0.008, "distance_samples": 4}
    return lambda **changes: PretrainPlan(**(tiny | changes))


@pytest.fixture
def noise_images():
    return np.random.RandomState(3).randint(0, 256, (18, 32, 32, 3)).astype(np.uint8)


@pytest.fixture
def keep(noise_images):
    """The images of a run, as it gathers them."""
    return lambda cache: noise_images
