"""The 64 px reference in the repository: today's code against numbers that were frozen once.

The expected values are float64 NumPy's (``tests/data/reference_64/make.py``), so that numerics are
checked in every clone, and a change that moves package and reference together is still seen.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from l4f_datagen.checkpoints.open import open_alpha, open_generator
from l4f_datagen.models.generator import draw_z

FOLDER = Path(__file__).parents[1] / "data" / "reference_64"


@pytest.fixture(scope="module")
def expected():
    return dict(np.load(FOLDER / "expected.npz"))


def test_w_image_features_and_alpha(expected):
    generator = open_generator(FOLDER / "generator.safetensors").build()
    alpha = open_alpha(FOLDER / "alpha.safetensors").build()
    seeds = [int(seed) for seed in expected["seeds"]]
    w = generator.mapping(torch.from_numpy(draw_z(seeds, generator.spec.z_dim)))
    ws = generator.truncate(w, float(expected["psi"]))
    out = generator.synthesis(ws, generator.noise("const"))
    matte = alpha(out.features)
    for k, seed in enumerate(seeds):
        np.testing.assert_allclose(w[k].numpy(), expected[f"w_{seed}"], atol=1e-5)
        np.testing.assert_allclose(out.image[k].numpy(), expected[f"image_{seed}"], atol=5e-5)
        np.testing.assert_allclose(matte[k].numpy(), expected[f"alpha_{seed}"], atol=5e-6)
        for side, maps in out.features.items():
            rows = np.stack([m[k, 0, :: side // 4].numpy() for m in maps])
            np.testing.assert_allclose(rows, expected[f"features_{seed}_{side}"], atol=5e-5)


def test_the_reference_is_no_trivial_one(expected):
    """Images, clipping and alpha vary: an error in any part would show."""
    first, second = (expected[f"image_{seed}"] for seed in expected["seeds"])
    assert np.abs(first - second).mean() > 0.1
    assert first.std() > 0.3
    assert np.abs(expected["features_0_64"]).max() == 4.0, "the clamp is reached"
    for seed in expected["seeds"]:
        assert np.ptp(expected[f"alpha_{seed}"]) > 0.3


def test_it_is_a_small_part_of_the_repository():
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 300_000
