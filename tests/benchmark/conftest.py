"""A toy domain whose generator is tiny and untrained, and a benchmark whose trainings are short."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.benchmark import alphas, baselines, supervised
from l4f_datagen.benchmark.bench import BenchmarkConfig
from l4f_datagen.benchmark.redo import RedoPlan
from l4f_datagen.benchmark.run import open_bench
from l4f_datagen.checkpoints.native import save_alpha, save_generator
from l4f_datagen.checkpoints.open import open_generator
from l4f_datagen.recipe import Recipe

TRAINING = {"steps": 2, "batch": 2, "snapshot_interval": 2}
TRAINING |= {"reals": "toy-cars", "balance": "fixed", "keep": "last", "self_training": 1}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(supervised, "UNETS", supervised.UNetSizes(6, 5, 2, 4))
    monkeypatch.setattr(supervised, "TAUGHT", supervised.TaughtPlan(2, 2))
    monkeypatch.setattr(baselines, "REDO", RedoPlan(steps=2, batch=2, width=4))
    monkeypatch.setattr(baselines, "REDO_IMAGES", 4)
    monkeypatch.setattr(baselines, "FITTED_SAMPLES", 3)
    monkeypatch.setattr(alphas, "EMPTY_GROUNDS", 3)


@pytest.fixture
def make_config(tmp_path, make_generator, make_alpha):
    """Factory: (folder, recipe's domain, **fields) -> BenchmarkConfig on the CPU."""

    def make(folder=None, domain="toy-cars", training=None, alpha=None, **fields):
        home = folder or tmp_path
        weights, given = home / "generator.safetensors", home / "alpha.safetensors"
        if not weights.exists():
            generator = make_generator(32)
            save_generator(weights, generator.spec, generator.state_dict())
            fingerprint = open_generator(weights).fingerprint
            save_alpha(given, make_alpha(generator), generator_fingerprint=fingerprint)
        part = {"weights": str(given), "training": TRAINING | (training or {})} | (alpha or {})
        own = {"generator": {"weights": str(weights)}, "output": {"mask_threshold": 0.5}}
        recipe = Recipe.model_validate({"domain": domain, "alpha": part} | own)
        few = {"training_seeds": (0,), "num_images": 3, "device": "cpu"}
        return replace(BenchmarkConfig(recipe, home / "out", **few), **fields)

    return make


@pytest.fixture
def make_bench(make_config):
    """Factory: an opened benchmark whose folder is there and whose images are written."""

    def make(**fields):
        bench = open_bench(make_config(**fields))
        bench.config.out.mkdir()
        bench.write_images()
        return bench

    return make


@pytest.fixture
def write_masks(tmp_path):
    """Factory: a folder of masks of the first images, all of one rectangle."""

    def write(name, count=3, size=32, level=255):
        folder = tmp_path / name
        folder.mkdir()
        mask = np.zeros((size, size), np.uint8)
        mask[4:12, 6:20] = level
        for k in range(count):
            Image.fromarray(mask).save(folder / f"psi1000-seed050000{k}.png")
        return folder

    return write
