"""Rank correlation of scores with true IoU: the order counts, and which end is the good one."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from l4f_datagen.benchmark import truth as follows
from l4f_datagen.benchmark.alphas import open_given
from l4f_datagen.benchmark.run import open_bench, run_benchmark
from l4f_datagen.benchmark.truth import correlations, open_truth


def test_signs_order_and_constants():
    ious = np.array([0.1, 0.9, 0.5, 0.7])
    scores = {"refine_iou": ious**3, "alpha_uncertainty": 1 - ious, "num_components": np.ones(4)}
    found = correlations(scores | {"coverage": np.array([0.4, 0.1, 0.3, 0.2])}, ious)
    assert found == {"refine_iou": 1.0, "alpha_uncertainty": 1.0, "coverage": -1.0}
    assert correlations({"coverage": ious}, np.ones(4)) == {}


def test_agrees_with_ranks_by_hand():
    rng = np.random.RandomState(0)
    one, other = rng.rand(50), rng.rand(50)
    ranks = [values.argsort().argsort() for values in (one, other)]
    wanted = np.corrcoef(*ranks)[0, 1]
    assert correlations({"coverage": one}, other)["coverage"] == pytest.approx(wanted, abs=1e-4)


def test_snapshots_are_ordered_by_scores_and_truth(make_config, monkeypatch):
    monkeypatch.setattr(follows, "SNAPSHOT_IMAGES", 2)
    config = make_config(methods=("full",), training={"steps": 6, "snapshot_interval": 1})
    head = "Scores of snapshots against true mIoU (Spearman, mean over seeds, 6 snapshots)"
    assert head in run_benchmark(config)
    # Fewer say nothing, and the samples' part stays.
    monkeypatch.setattr(follows, "FEWEST_SNAPSHOTS", 7)
    text = run_benchmark(config)
    assert head not in text
    assert "Scores without labels against true IoU (Spearman, 3 samples, psi 1)" in text


def test_true_miou_is_that_of_scikit_learn(make_config, monkeypatch):
    monkeypatch.setattr(follows, "SNAPSHOT_IMAGES", 2)
    bench = open_bench(make_config())
    bench.config.out.mkdir()
    bench.write_images()
    truth = open_truth(bench)
    renderer = replace(bench.renderer, alpha=open_given(bench), refine="none", mask_threshold=0.5)
    draws = bench.eval_draws(1.0)[:2]
    true, ignored = truth.masks.block(draws)
    found = np.stack([sample.mask for sample in renderer.render(draws)])
    assert not ignored.any()
    wanted = jaccard_score(true.ravel(), found.ravel(), average="macro", zero_division=1.0)
    assert follows.true_miou(renderer, bench, truth) == pytest.approx(wanted)
