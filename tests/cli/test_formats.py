"""Every checkpoint format through the command line: pictures, datasets, and refusals."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.core.sample import image_to_uint8

GENERATORS = {
    "ada_64.pkl": "ada_64_expected.npz",
    "sg3repo_32.pkl": "sg3repo_32_expected.npz",
    "rosinality_64_converted.pt": "rosinality_64_expected.npz",
    "rosinality_64_trained.pt": "rosinality_64_expected.npz",
    "tf_64.pkl": "ada_64_expected.npz",
}


@pytest.fixture
def folder():
    root = os.environ.get("L4F_SHARED")
    if not root:
        pytest.skip("L4F_SHARED is not set: no reference checkpoints here")
    return Path(root) / "fixtures" / "checkpoints"


def refused():
    root = os.environ.get("L4F_SHARED")
    if not root:
        return []
    manifest = json.loads((Path(root) / "fixtures/checkpoints/manifest.json").read_text())
    bad = [f["file"] for f in manifest["files"] if f.get("expect", {}).get("result") == "refuse"]
    # Without an averaged generator the one last trained is used, and said.
    return [name for name in bad if not name.startswith("no_g_ema")]


@pytest.mark.parametrize("name", GENERATORS)
def test_sample_draws_the_reference_pictures(cli_run, folder, tmp_path, name):
    words = ("--seeds", "0-3", "--psi", "1", "--out", tmp_path / "out")
    result = cli_run("sample", "--generator", folder / name, *words)
    assert result.exit_code == 0, result.output
    wanted = image_to_uint8(np.load(folder / GENERATORS[name])["img_psi1.0"])
    for seed, picture in enumerate(wanted):
        with Image.open(tmp_path / "out" / f"psi1000-seed{seed:07d}.png") as drawn:
            gap = np.abs(np.int16(drawn) - np.int16(picture.transpose(1, 2, 0)))
        assert gap.max() <= 1


@pytest.mark.parametrize("name", GENERATORS)
def test_make_labels_what_any_format_draws(cli_run, folder, tmp_path, monkeypatch, name):
    monkeypatch.setenv("L4F_CACHE", str(tmp_path / "cache"))
    words = ["--n", 2, "--out", tmp_path / "out", "--set", "alpha.training.steps=1"]
    words += ["--set", "alpha.training.batch=1", "--set", "filters.coverage=null"]
    words += ["--accept-doubtful-alpha"]  # one step trains nothing
    result = cli_run("make", "--generator", folder / name, *words)
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out" / "masks").rglob("*.png"))) == 2


@pytest.mark.parametrize("name", refused())
def test_bad_files_are_one_line_and_exit_4(cli_run, folder, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    result = cli_run("make", "--generator", folder / name, "--n", 2, "--out", tmp_path / "out")
    assert result.exit_code == 4
    assert result.output.startswith(f"Error: {folder / name}: ")
    assert result.output.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_convert_keeps_every_bit_and_inspect_tells_both(cli_run, folder, tmp_path):
    target = tmp_path / "g.safetensors"
    assert cli_run("convert", folder / "ada_64.pkl", target).exit_code == 0
    for source, out in ((folder / "ada_64.pkl", "a"), (target, "b")):
        words = ("--seeds", "0-1", "--psi", "0.7", "--out", tmp_path / out)
        assert cli_run("sample", "--generator", source, *words).exit_code == 0
    names = [path.name for path in (tmp_path / "a").glob("*.png")]
    assert len(names) == 2
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    facts = [
        json.loads(cli_run("inspect", "checkpoint", path, "--json").output)
        for path in (folder / "ada_64.pkl", target)
    ]
    assert facts[0]["resolution"] == facts[1]["resolution"] == 64
    assert facts[0]["format"] != facts[1]["format"]
    again = cli_run("convert", folder / "ada_64.pkl", target)
    assert again.exit_code != 0
    assert str(target) in again.output
