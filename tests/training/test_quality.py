"""A short training on the shipped toy cars finds the cars: it fails if the balance breaks."""

import numpy as np
import pytest
import torch

from l4f_datagen.checkpoints.open import open_alpha, open_generator
from l4f_datagen.models.generator import draw_z
from l4f_datagen.recipe.domains import load_recipe
from l4f_datagen.training.run import train_alpha
from l4f_datagen.training.selection import mean_iou

LEAST_MIOU = 0.85
"""Agreement of two seeds' masks; each is .93 to .94 against the truth of the benchmark."""


@pytest.mark.slow  # three minutes of one core
@pytest.mark.timeout(1800)
def test_a_short_training_agrees_with_the_shipped_network(tmp_path):
    recipe = load_recipe(
        "toy-cars",
        alpha__weights=None,
        alpha__training__reals="generator",
        alpha__training__steps=120,
        alpha__training__seed=5,
    )
    checkpoint = open_generator("toy-cars")
    trained = train_alpha(recipe, checkpoint, tmp_path / "run", device="cpu")
    assert trained.verdict.grade != "unusable"
    generator = checkpoint.build()
    z = torch.from_numpy(draw_z(range(64), generator.spec.z_dim))
    with torch.no_grad():
        features = generator(z).features
        masks = [open_alpha(name).build()(features) > 0.5 for name in (trained.path, "toy-cars")]
    assert np.isfinite(trained.verdict.uncertainty)
    assert mean_iou(*masks) > LEAST_MIOU
