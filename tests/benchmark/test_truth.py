"""Masks of tools and people, read as truth or scored; and rank correlation with the true IoU."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import jaccard_score

from l4f_datagen.benchmark import truth as truth_module
from l4f_datagen.benchmark.alphas import open_given
from l4f_datagen.benchmark.run import run_benchmark
from l4f_datagen.benchmark.truth import correlations, open_truth, true_miou
from l4f_datagen.core.errors import AnnotationRefused, InputRefused

KEYS = [f"psi1000-seed050000{k}" for k in range(3)]
REMEDY = "write masks as images, the object 255, the rest 0"


def test_masks_of_a_tool_are_scored_and_read_again(make_config, write_masks):
    truth, soft = write_masks("truth"), write_masks("soft")
    for path in soft.iterdir():  # grey levels, cut at the middle
        levels = np.where(np.asarray(Image.open(path)), 128, 0) + np.arange(32) * 3
        Image.fromarray(levels.astype(np.uint8)).save(path)
    config = make_config(domain="custom", methods=(), truth=truth, external={"rembg": soft})
    assert "rembg, psi 1  1.0000/1.0000  1.0000" in run_benchmark(config)
    for path in soft.iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    assert "rembg, psi 1  0.0000/0.0000  0.0000" in run_benchmark(config)


def cut_outs(folder):
    for path in folder.iterdir():
        image = Image.new("RGB", (32, 32), (200, 30, 40))
        image.putalpha(Image.open(path))
        image.save(path)


def broken(folder):
    path = folder / f"{KEYS[2]}.png"
    path.write_bytes(path.read_bytes()[:60])


def twice(folder):
    Image.open(folder / f"{KEYS[0]}.png").save(folder / f"{KEYS[0]}.bmp")


@pytest.mark.parametrize(
    ("shape", "spoil", "kind", "match"),
    [
        ({}, cut_outs, AnnotationRefused, f"a coloured .*; {REMEDY} " r"\(rembg: -om\)$"),
        ({}, broken, AnnotationRefused, f"{KEYS[2]}.png: is damaged"),
        ({}, twice, InputRefused, f"tool: holds two masks of {KEYS[0]}"),
        ({"count": 1}, None, InputRefused,
         f"tool: lacks 2 of 3 masks, the first {KEYS[1]}.png; make one for every image"),
        ({"size": 30}, None, InputRefused,
         f"tool: {KEYS[0]}: is 30 x 30 pixels, its image 32 x 32"),
        ({"level": 1}, None, InputRefused,
         "none of 3 masks has an object; write the object as 255, the rest as 0"),
        (None, None, AnnotationRefused, f"holds objects, not levels; {REMEDY}"),
    ],
)  # fmt: skip
def test_masks_of_a_tool_that_cannot_be_used(
    make_config, write_masks, tmp_path, shape, spoil, kind, match
):
    given = tmp_path / "coco.json"
    given.write_text('{"images": [], "annotations": [], "categories": []}')
    if shape is not None:
        given = write_masks("tool", **shape)
    if spoil:
        spoil(given)
    config = make_config(external={"rembg": given})
    with pytest.raises(kind, match=match):
        run_benchmark(config)
    assert not (config.out / "networks").exists()


def test_grey_levels_in_a_truth(make_config, write_masks, caplog):
    truth = write_masks("truth")
    path = truth / f"{KEYS[0]}.png"
    stray = np.array(Image.open(path))
    stray[0, 0] = 90
    Image.fromarray(stray).save(path)
    config = make_config(domain="custom", methods=(), truth=truth)
    with caplog.at_level("INFO", "l4f_datagen"):
        run_benchmark(config)
    assert "truth: 1 stray pixels neither 0 nor 255 cut at 127" in caplog.text
    Image.fromarray(np.arange(32, dtype=np.uint8) * np.ones((32, 1), np.uint8)).save(path)
    with pytest.raises(AnnotationRefused, match=f"32 grey levels .* in a mask; {REMEDY}$"):
        run_benchmark(config)


def test_correlations_have_signs_and_leave_out_constants():
    ious = np.array([0.1, 0.9, 0.5, 0.7])
    scores = {"refine_iou": ious**3, "alpha_uncertainty": 1 - ious, "num_components": np.ones(4)}
    found = correlations(scores | {"coverage": np.array([0.4, 0.1, 0.3, 0.2])}, ious)
    assert found == {"refine_iou": 1.0, "alpha_uncertainty": 1.0, "coverage": -1.0}
    assert correlations({"coverage": ious}, np.ones(4)) == {}
    one, other = np.random.RandomState(0).rand(2, 50)
    wanted = np.corrcoef(one.argsort().argsort(), other.argsort().argsort())[0, 1]
    assert correlations({"coverage": one}, other)["coverage"] == pytest.approx(wanted, abs=1e-4)


def test_snapshots_are_ordered_by_scores_and_truth(make_config, monkeypatch):
    monkeypatch.setattr(truth_module, "SNAPSHOT_IMAGES", 2)
    config = make_config(methods=("full",), training={"steps": 6, "snapshot_interval": 1})
    head = "Scores of snapshots against true mIoU (Spearman, mean over seeds, 6 snapshots)\n"
    listed = run_benchmark(config).partition(head)[2].splitlines()
    numbers = [float(line.split()[-1]) for line in listed]
    assert numbers
    assert numbers == sorted(numbers, reverse=True)
    # Fewer say nothing, and the samples' part stays.
    monkeypatch.setattr(truth_module, "FEWEST_SNAPSHOTS", 7)
    text = run_benchmark(config)
    assert head not in text
    assert "Scores without labels against true IoU (Spearman, 3 samples, psi 1)" in text


def test_true_miou_is_that_of_scikit_learn(make_bench, monkeypatch):
    monkeypatch.setattr(truth_module, "SNAPSHOT_IMAGES", 2)
    bench = make_bench()
    truth = open_truth(bench)
    renderer = replace(bench.renderer, alpha=open_given(bench), refine="none", mask_threshold=0.5)
    draws = bench.eval_draws(1.0)[:2]
    true, ignored = truth.masks.block(draws)
    found = np.stack([sample.mask for sample in renderer.render(draws)])
    assert not ignored.any()
    wanted = jaccard_score(true.ravel(), found.ravel(), average="macro", zero_division=1.0)
    assert true_miou(renderer, bench, truth) == pytest.approx(wanted)
