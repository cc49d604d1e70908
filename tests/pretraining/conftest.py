"""A generator of few channels that learns from noise, for tests of pretraining and release."""

from types import SimpleNamespace

import numpy as np
import pytest

from l4f_datagen.pretraining import pretrain, release, state

WIDTHS = {4: 4, 8: 4, 16: 4, 32: 3, 64: 2}


@pytest.fixture
def tiny_pretraining(monkeypatch):
    """Few channels, scenes of plain noise, and a gauge that four pictures are enough for."""

    def scenes(seeds, workers=1, domain="toy-cars"):
        for seed in seeds:
            seed += 1000 * (domain != "toy-cars")
            pixels = np.random.RandomState(seed).randint(0, 256, (64, 64, 3)).astype(np.uint8)
            yield SimpleNamespace(image=pixels)

    def gap(first, second):
        return float(((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum())

    monkeypatch.setattr(state, "CHANNELS", WIDTHS)
    monkeypatch.setattr(pretrain, "render_scenes", scenes)
    monkeypatch.setattr(pretrain, "frechet_distance", gap)
    monkeypatch.setattr(release, "frechet_distance", gap)
