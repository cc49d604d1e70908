"""``l4f-datagen segmenter`` through the door: words, files and exit codes."""

import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.segmenter.model import save_segmenter

SMALL = ("--steps", 3, "--batch", 2, "--width", 2, "--device", "cpu")


@pytest.fixture
def run(cli_run):
    return partial(cli_run, "segmenter")


@pytest.fixture
def dataset(discs, tmp_path):
    discs.make_dataset(tmp_path / "data", 12, formats=("png",))
    return tmp_path / "data"


@pytest.fixture
def model(brightness_segmenter, tmp_path):
    save_segmenter(tmp_path / "model.safetensors", brightness_segmenter)
    return tmp_path / "model.safetensors"


@pytest.fixture
def real_set(make_real_set):
    return make_real_set(one=(16, 16), two=(16, 16))


@pytest.mark.parametrize("formats", ["png", "hf"])
def test_train_on_a_dataset_then_again(run, discs, tmp_path, formats):
    discs.make_dataset(tmp_path / "data", 12, formats=(formats,))
    model = tmp_path / "run" / "segmenter.safetensors"
    flags = ("train", tmp_path / "data", "--out", tmp_path / "run", *SMALL)
    result = run(*flags)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{model}\n"
    assert "held out, 16 px, 3 steps of 2 on cpu" in result.stderr
    assert "no sample was held out, so there is no score" in result.stderr
    assert f"next: l4f-datagen segmenter predict {model} PHOTOS --out masks" in result.stderr
    facts = json.loads((tmp_path / "run" / "segmenter.json").read_text())
    assert facts["licence"]["name"] == "Apache-2.0"
    assert facts["dataset"]["recipe"] == discs.RUN["recipe"]
    assert facts["category"] == "disc"
    assert "is trained already" in run(*flags).stderr
    assert run(*flags, "--seed", 4).exit_code == 2


def test_train_in_epochs_at_another_size(run, dataset, tmp_path):
    flags = ("--epochs", 2, "--size", 8, "--batch", 4, "--width", 2, "--device", "cpu")
    result = run("train", dataset, "--out", tmp_path / "run", *flags)
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "run" / "segmenter.json").read_text())
    learnt = facts["dataset"]["samples"] - facts["dataset"]["held_out"]
    assert facts["plan"]["steps"] == -(-2 * learnt // 4)
    assert facts["size"] == 8


def test_train_refuses_a_damaged_dataset(run, dataset, tmp_path):
    image = sorted((dataset / "images").rglob("*.png"))[0]
    data = bytearray(image.read_bytes())
    data[-1] ^= 1  # of the last checksum: decoders still read it
    image.write_bytes(data)
    flags = ("train", dataset, "--out", tmp_path / "run", *SMALL)
    refused = run(*flags)
    assert (refused.exit_code, refused.output.count("\n")) == (4, 1)
    assert f"{image.name}: its content has changed" in refused.output
    assert "--no-verify skips this" in refused.output
    assert not (tmp_path / "run").exists()
    assert run(*flags, "--no-verify").exit_code == 0


@pytest.mark.parametrize(
    ("manifest", "flags", "code", "words"),
    [
        (..., ("--steps", 3, "--epochs", 1), 2, "given together with --epochs"),
        (..., ("--out", "DATASET/run", *SMALL), 2, "lies inside the dataset"),
        ("{}", (), 4, "is no manifest of a dataset"),
        (None, (), 2, "is not finished"),
    ],
)
def test_train_refuses_what_it_cannot_do(run, dataset, tmp_path, manifest, flags, code, words):
    if manifest is None:
        (dataset / "manifest.json").unlink()
    elif manifest is not ...:
        (dataset / "manifest.json").write_text(manifest)
    flags = [str(flag).replace("DATASET", str(dataset)) for flag in flags]
    result = run("train", dataset, "--out", tmp_path / "run", *flags)
    assert (result.exit_code, result.output.count("\n")) == (code, 1)
    assert words in result.output
    assert not (tmp_path / "run").exists()


def test_score_prints_the_table_and_keeps_the_asked_score(run, model, real_set, encode):
    words = ("score", model, "--truth", real_set / "masks", "--images", real_set / "images")
    result = run(*words, "--min-miou", 0.99)
    assert result.exit_code == 0, result.output
    assert "paper columns" in result.output
    assert "2 pairs by stem" in result.output
    (real_set / "images" / "two.png").write_bytes(encode(np.zeros((16, 16, 3), np.uint8)))
    below = run(*words, "--min-miou", 0.99, "--json")
    assert below.exit_code == 3
    assert "is below the asked 0.99" in below.stderr
    assert 0.5 < json.loads(below.stdout)["scores"]["miou"] < 0.99


def test_score_finds_the_images_beside_the_masks(run, model, real_set):
    result = run("score", model, "--truth", real_set, "--paper-compat", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["scores"]["paper_compat"]
    result = run("score", model, "--truth", real_set / "masks")
    assert result.exit_code == 2
    assert "--images: not given, and no images/ in --truth" in result.output
    result = run("score", real_set / "masks" / "one.png", "--truth", real_set)
    assert (result.exit_code, result.output.count("\n")) == (4, 1)
    assert "is a PNG" in result.output


def test_predict_writes_masks_and_names_what_it_refused(run, model, real_set, tmp_path):
    out = tmp_path / "out"
    (real_set / "images" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    result = run("predict", model, real_set / "images", "--out", out, "--alpha")
    assert result.exit_code == 4
    assert result.stdout == f"2 masks in {out}\n"
    assert "broken.jpg: is damaged" in result.stderr
    assert "1 of 3 were refused; see the lines above" in result.stderr
    with Image.open(out / "masks" / "one.png") as mask:
        assert np.asarray(mask)[5, 5] == 255
    assert run("predict", model, real_set / "images" / "one.png", "--out", out).exit_code == 2


def test_export_says_how_well_it_fits(run, model, tmp_path, monkeypatch):
    """The exporter itself takes many seconds: ``test_export`` runs it."""
    asked = []

    def written(segmenter, path, *, overwrite):
        asked.append((segmenter.category, path, overwrite))
        return 2.5e-7

    monkeypatch.setattr("l4f_datagen.segmenter.export.export_onnx", written)
    result = run("export", model, tmp_path / "model.onnx", "--overwrite")
    assert result.exit_code == 0, result.output
    assert asked == [("light", tmp_path / "model.onnx", True)]
    assert "differ by 2.5e-07 at most" in result.stderr
    assert result.stdout == f"{tmp_path / 'model.onnx'}\n"
