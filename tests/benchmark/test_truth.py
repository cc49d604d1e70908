"""Rank correlation of scores with true IoU: the order counts, and which end is the good one."""

import numpy as np
import pytest

from l4f_datagen.benchmark.truth import correlations


def test_signs_order_and_constants():
    ious = np.array([0.1, 0.9, 0.5, 0.7])
    found = correlations(
        {
            "refine_iou": ious**3,
            "alpha_uncertainty": 1 - ious,
            "coverage": np.array([0.4, 0.1, 0.3, 0.2]),
            "num_components": np.ones(4),
        },
        ious,
    )
    assert found == {"refine_iou": 1.0, "alpha_uncertainty": 1.0, "coverage": -1.0}
    assert list(found)[-1] == "coverage"
    assert correlations({"coverage": ious}, np.ones(4)) == {}


def test_agrees_with_ranks_by_hand():
    rng = np.random.RandomState(0)
    one, other = rng.rand(50), rng.rand(50)
    ranks = [values.argsort().argsort() for values in (one, other)]
    wanted = np.corrcoef(*ranks)[0, 1]
    assert correlations({"coverage": one}, other)["coverage"] == pytest.approx(wanted, abs=1e-4)
