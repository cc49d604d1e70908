import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from l4f_datagen.benchmark import alphas, tables
from l4f_datagen.benchmark.methods import METHODS
from l4f_datagen.benchmark.run import run_benchmark
from l4f_datagen.checkpoints.native import save_alpha
from l4f_datagen.core.errors import UsageError
from l4f_datagen.io.training_folder import claim_folder
from l4f_datagen.training import loop as training_module
from l4f_datagen.training.collapse import Collapsed
from l4f_datagen.training.state import new_state


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One folder for the whole module: its truth is trained once."""
    return tmp_path_factory.mktemp("benchmark")


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_runs(home, make_config, name, caplog):
    config = make_config(home, methods=(name,))
    text = run_benchmark(config)
    start = "Truth: a U-Net trained on 6 renders with exact masks; on 4 others"
    assert any(line.startswith(start) for line in caplog.messages)
    row = json.loads((config.out / "rows" / f"{name}-seed0-psi1000.json").read_text())
    assert np.asarray(row["counts"]).shape == (3, 4)
    assert np.asarray(row["counts"]).sum(axis=1).tolist() == [32 * 32] * 3
    assert f"\n{name}, psi 1  " in text
    renders = config.out / "rows" / f"{name}-seed0-renders.json"
    assert renders.exists() == METHODS[name].takes_renders


@pytest.mark.parametrize("name", ["redo", "taught", "full"])
def test_a_network_that_was_trained_otherwise_is_not_reused(make_config, name, monkeypatch):
    """Killed between training and scoring, then run with other settings."""

    def collapse(recipe, checkpoint, folder, *, generator, offline):
        """Stand in for a training that collapses for good and leaves its network."""
        claim_folder(folder, alphas.training_id(recipe.alpha, checkpoint), other="")
        network = new_state(recipe.alpha, generator).average
        save_alpha(folder / alphas.COLLAPSED, network, generator_fingerprint=checkpoint.fingerprint)
        raise Collapsed("alpha training", "all white", "try other settings")

    config = make_config(methods=(name,), steps=2)
    if name == "full":
        monkeypatch.setattr(alphas, "train_alpha", collapse)
    run_benchmark(config)
    for row in (config.out / "rows").glob(f"{name}-*"):
        row.unlink()
    with pytest.raises(UsageError, match=f"{name}-seed0: holds a network that was trained in anot"):
        run_benchmark(replace(config, steps=1))


def test_all_methods_see_the_same_images_and_a_rerun_computes_nothing(
    home, make_config, monkeypatch
):
    names = ("full", "otsu", "redo")
    config = make_config(home, methods=names)
    text = run_benchmark(config)
    before = bytes_of(config.out / "rows")

    def fails(*_, **__):
        raise AssertionError("nothing was missing")

    monkeypatch.setattr(alphas, "train_alpha", fails)
    monkeypatch.setattr(alphas, "open_sources", fails)
    monkeypatch.setattr("l4f_datagen.benchmark.baselines.otsu_masks", fails)
    monkeypatch.setattr("l4f_datagen.benchmark.redo.train_redo", fails)
    assert run_benchmark(config) == text == (config.out / "tables.txt").read_text()[:-1]
    assert bytes_of(config.out / "rows") == before
    counts = [json.loads(before[f"{name}-seed0-psi1000.json"])["counts"] for name in names]
    objects = [[tp + fn for tp, _, fn, _ in images] for images in counts]
    assert objects[0] == objects[1] == objects[2]


def test_what_is_missing_is_measured_again_and_other_settings_are_refused(
    home, make_config, monkeypatch
):
    config = make_config(home, methods=("full",))
    run_benchmark(config)
    path = config.out / "rows" / "full-seed0-psi1000.json"
    first = json.loads(path.read_text())
    path.unlink()
    monkeypatch.delattr("l4f_datagen.training.run.AlphaTrainer.run")  # it is trained already
    run_benchmark(config)
    again = json.loads(path.read_text())
    assert [again[name] for name in ("counts", "shown")] == [first["counts"], first["shown"]]
    with pytest.raises(UsageError, match="was measured with other settings; name another --out"):
        run_benchmark(replace(config, steps=1))
    with pytest.raises(UsageError, match="holds a benchmark of another generator, number of im"):
        run_benchmark(replace(config, num_images=2))


def test_files_can_be_opened(home, make_config):
    config = make_config(home, methods=("full", "otsu"), psis=(0.7, 1.0))
    text = run_benchmark(config)
    lines = list(csv.DictReader(io.StringIO((config.out / "tables.csv").read_text())))
    of_psi = [(line["method"], line["psi"]) for line in lines if line["table"] == "6"]
    assert of_psi == [("full", "0.7"), ("full", "1"), ("otsu", "0.7"), ("otsu", "1")]
    assert {line["psi"] for line in lines if line["table"] == "3"} == {"1"}
    assert {line["images"] for line in lines if line["table"] == "5"} == {"renders"}
    for line in lines:
        low, miou, high, *pair = (
            float(line[name])
            for name in ("miou_low", "miou", "miou_high", "iou_object", "iou_background")
        )
        assert low <= miou <= high
        assert miou == pytest.approx(sum(pair) / 2, abs=1e-6)
    assert all(f"Table {number}. " in text for number in range(1, 7))
    with Image.open(config.out / "figure.png") as image:
        # Images, truth, two methods; three images a row.
        assert (image.height // tables.TILE_PX, image.width // tables.TILE_PX) == (4, 3)


def test_a_collapsed_training_is_scored_as_it_ended(make_config, monkeypatch):
    real = training_module.train_step

    def white(training, setting):
        facts = replace(real(training, setting), alpha_coverage=1.0)
        with torch.no_grad():
            training.average.out.weight.zero_()
            training.average.out.bias.fill_(40.0)
        training.recent[-1] = facts
        return facts

    monkeypatch.setattr(training_module, "train_step", white)
    config = make_config(methods=("full",), training={"attempts": 1})
    text = run_benchmark(config)
    assert "full, psi 1: training seed 0: alpha training: collapsed: the matte is all wh" in text
    assert "full, psi 1: training seed 0: masks are almost all white" in text
    monkeypatch.setattr(training_module, "train_step", lambda *_: pytest.fail("trained again"))
    (config.out / "rows" / "full-seed0-psi1000.json").unlink()
    assert run_benchmark(config) == text


def test_a_network_of_nan_masks_nothing(make_config, monkeypatch):
    real = training_module.train_step

    def spoiled(training, setting):
        with torch.no_grad():
            training.alpha.out.bias.fill_(math.nan)
        return real(training, setting)

    monkeypatch.setattr(training_module, "train_step", spoiled)
    text = run_benchmark(make_config(methods=("full",), training={"attempts": 1}))
    assert "masks are almost all black" in text


def test_images_first_then_the_rest(make_config):
    config = make_config(methods=("otsu",), psis=(0.5, 1.0), num_images=2)
    images = config.out / "images"
    assert run_benchmark(replace(config, images_only=True)) == str(images)
    before = bytes_of(images)
    keys = (f"psi{psi}-seed050000{k}" for psi in ("0500", "1000") for k in (0, 1))
    assert set(before) == {f"{key}.png" for key in keys}
    run_benchmark(config)
    assert bytes_of(images) == before


def test_default_methods_say_what_is_left_out(make_config, write_masks, monkeypatch, caplog):
    wanted = {name: METHODS[name] for name in ("reals-generator", "unrelated-backgrounds", "otsu")}
    monkeypatch.setattr("l4f_datagen.benchmark.methods.METHODS", wanted)
    masks = write_masks("masks", 1)
    training = {"reals": "generator"}
    config = make_config(domain="custom", training=training, truth=masks, num_images=1)
    text = run_benchmark(config)
    assert "left out: reals-generator is what full does in this recipe" in caplog.messages
    assert "unrelated-backgrounds needs unrelated images: give --unre" in caplog.text
    assert "Table 5" in text
    assert f"Truth: masks in {masks}" in text
