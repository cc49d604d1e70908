import csv
import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from l4f_datagen.benchmark import alphas, tables
from l4f_datagen.benchmark.methods import METHODS
from l4f_datagen.benchmark.run import run_benchmark
from l4f_datagen.checkpoints.native import save_alpha
from l4f_datagen.core.errors import InputRefused, UsageError
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


@pytest.fixture
def given(make_config, write_masks):
    """A benchmark of ``otsu`` alone, against given masks."""
    return make_config(domain="custom", methods=("otsu",), truth=write_masks("truth"))


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"methods": ("ful",)}, r"--methods ful: no such method; did you mean full\?"),
        ({"methods": ("xyz",)}, "--methods xyz: no such method; choose from given-weights, full, "),
        ({"methods": ("otsu", "otsu")}, "--methods otsu: is given twice"),
        ({"psis": (0.7, 0.7001)}, "two of them agree to three decimals; keep psi at least 0.001"),
        ({"external": {"full": "x"}}, "--pred full: is the name of a method; choose another name"),
        ({"truth": None}, "nothing says where the object is in images of custom; give --tr"),
        ({"methods": ("supervised",)}, "needs renders with exact masks, which toy domains alone"),
        ({"methods": ("unrelated-backgrounds",)}, "needs unrelated images: give --unrelated DIR"),
        ({"methods": ("otsu",)}, "needs skimage: pip install scikit-image scikit-learn"),
    ],
)
def test_settings_that_cannot_be(given, monkeypatch, fields, match):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=match):
        run_benchmark(replace(given, **fields))
    assert not given.out.exists()


def test_another_truth_is_refused(given):
    run_benchmark(given)
    for path in given.truth.iterdir():
        Image.fromarray(np.eye(32, dtype=np.uint8) * 255).save(path)
    with pytest.raises(UsageError, match="was measured with other settings"):
        run_benchmark(given)


def test_a_damaged_image(given):
    run_benchmark(replace(given, images_only=True))
    path = given.out / "images" / "psi1000-seed0500000.png"
    whole = path.read_bytes()
    Image.open(path).resize((16, 16)).save(path)
    with pytest.raises(InputRefused, match="is 16 x 16 pixels, expected 32 x 32"):
        run_benchmark(given)
    path.write_bytes(whole[:50])
    with pytest.raises(InputRefused, match=r"0500000.png: is damaged .*; remove or replace it"):
        run_benchmark(given)


def test_a_damaged_row(given):
    run_benchmark(given)
    path = given.out / "rows" / "otsu-seed0-psi1000.json"
    row = json.loads(path.read_text())
    fewer = json.dumps(row | {"counts": row["counts"][:2]})
    broken = dict.fromkeys(("{}", "null", "[1"), "is not a row of a benchmark")
    for text, problem in (broken | {fewer: "counts 2 of 3 images"}).items():
        path.write_text(text)
        with pytest.raises(UsageError, match=f"psi1000.json: {problem}; remove it"):
            run_benchmark(given)


def test_the_command_line(make_config, write_masks, tmp_path, cli_run):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(make_config(domain="custom").recipe.dump())
    truth, bad = write_masks("truth"), write_masks("bad", 1)

    def run(*more):
        flags = ("--recipe", recipe, "--out", tmp_path / "out", "--images", 3, "--psi", "1.0")
        flags += ("--device", "cpu", "--methods", "otsu, colour-gmm", "--truth", truth)
        return cli_run("benchmark", *flags, *more)

    result = run("--pred", f"same={truth}")
    assert result.exit_code == 0, result.output
    assert re.search("same, psi 1 +1.0000/1.0000  1.0000", result.stdout)
    assert "otsu, training seed 0, psi1000: mIoU" in result.stderr
    assert (tmp_path / "out" / "tables.csv").is_file()
    expected = "expected name=DIR with a name such as rembg"
    too_many = "--training-seeds: got {}; give 1 to 1,000 seeds below 1,000,000, as 0-2"
    for code, more, said in (
        (4, ("--pred", f"rembg={bad}"), "lacks 2 of 3 masks"),
        (4, ("--unrelated", tmp_path / "none"), "none"),
        (2, ("--training-seeds", "0-"), too_many.format("0-")),
        (2, ("--training-seeds", "999999-1000000"), too_many.format("999999-1000000")),
        (2, ("--training-seeds", "3-1"), "--training-seeds: 3-1 runs backwards; write for exam"),
        (2, ("--pred", "rembg"), expected),
        (2, ("--pred", "=x"), expected),
        (2, ("--pred", "Re mbg=x"), expected),
        (2, ("--pred", "a=x", "--pred", "a=y"), "a is given twice"),
    ):
        refusal = run(*more)
        assert refusal.exit_code == code, refusal.output
        assert said in refusal.stderr
